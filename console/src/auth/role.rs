//! Roles and what each may do: least privilege, and no two duties in one hand that must watch each other.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What somebody does for us. A person may have several that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Steers queues and jobs.
    Operator,
    /// Steers, and handles incidents.
    Oncall,
    /// Approves what others have prepared.
    Approver,
    /// Reads everything, the audit log too, and changes nothing.
    Auditor,
    /// Manages people and keys.
    Admin,
}

/// What a role lets a person do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See queues, jobs and sellers.
    View,
    /// Requeue, discard, cancel, pause, limit, enqueue, run a schedule now.
    Operate,
    /// Open an incident and send its notices.
    Incident,
    /// Approve what others have prepared.
    Approve,
    /// Read the audit log.
    ReadAudit,
    /// Invite and disable people, change roles, make and revoke API keys.
    Administer,
}

impl Role {
    /// All, from the least.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Operator, Self::Oncall, Self::Approver, Self::Auditor, Self::Admin];

    /// As in the table and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Oncall => "oncall",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// What it lets a person do.
    #[must_use]
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission::{Administer, Approve, Incident, Operate, ReadAudit, View};
        match self {
            Self::Viewer => &[View],
            Self::Operator => &[View, Operate],
            Self::Oncall => &[View, Operate, Incident],
            Self::Approver => &[View, Approve, ReadAudit],
            Self::Auditor => &[View, ReadAudit],
            Self::Admin => &[View, ReadAudit, Administer],
        }
    }

    /// Whether one person may have both: nobody approves what they did, audits it, or gives themselves the right to it.
    #[must_use]
    pub const fn goes_with(self, other: Self) -> bool {
        use Role::{Admin, Approver, Auditor, Oncall, Operator, Viewer};
        matches!(
            (self, other),
            (Viewer, _)
                | (_, Viewer)
                | (Operator | Oncall, Operator | Oncall)
                | (Approver, Approver)
                | (Auditor, Auditor)
                | (Admin, Admin)
        )
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no role `{text}`; the roles are {known}")
        })
    }
}

/// The roles of one person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// These roles, each once.
    ///
    /// # Errors
    /// In words, when there is none, or two do not go together.
    pub fn new(roles: &[Role]) -> Result<Self, String> {
        if roles.is_empty() {
            return Err("a person needs a role; `viewer` is the least".to_owned());
        }
        for (n, one) in roles.iter().enumerate() {
            if let Some(other) = roles[..n].iter().find(|other| !one.goes_with(**other)) {
                return Err(format!("{other} and {one} must be different people"));
            }
        }
        Ok(Self::stored(roles.iter().copied()))
    }

    /// As they were stored once.
    #[must_use]
    pub fn stored(roles: impl IntoIterator<Item = Role>) -> Self {
        let mut roles: Vec<_> = roles.into_iter().collect();
        roles.sort_unstable();
        roles.dedup();
        Self(roles)
    }

    /// Whether one of them lets a person do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.0.iter().any(|role| role.permissions().contains(&permission))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }

    /// As in the table.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.iter().map(|role| role.name().to_owned()).collect()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_that_watch_each_other_are_in_different_hands() {
        use Role::{Admin, Approver, Auditor, Oncall, Operator, Viewer};
        for pair in
            [[Admin, Oncall], [Approver, Operator], [Auditor, Admin], [Approver, Oncall], [Auditor, Operator]]
        {
            assert!(Roles::new(&pair).is_err(), "{pair:?}");
        }
        assert_eq!(
            Roles::new(&[Oncall, Viewer, Operator, Viewer]).expect("they go together").to_string(),
            "viewer, operator, oncall"
        );
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert!(role.permissions().contains(&Permission::View), "everybody sees");
        }
        assert!("boss".parse::<Role>().is_err_and(|error| error.contains("viewer, operator")));
    }

    #[test]
    fn who_manages_people_handles_no_incident() {
        for role in Role::ALL {
            let may = |permission| role.permissions().contains(&permission);
            assert!(
                !(may(Permission::Administer) && (may(Permission::Incident) || may(Permission::Approve)))
            );
            assert!(!(may(Permission::Operate) && may(Permission::Approve)));
        }
    }
}
