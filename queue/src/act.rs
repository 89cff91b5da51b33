//! Who does something, and why. Written to `audit_log`, which nothing updates or deletes, and chained to the act before it when
//! the transaction is committed: the database does both, see `migrations/20261125042000_audit_chain.sql`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;

/// A person's or service's reason to change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    actor: String,
    reason: String,
    via: Via,
}

/// Through which door somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// The pages.
    Console,
    /// The command line.
    Cli,
    /// The HTTP API.
    Api,
    /// One of our own services.
    System,
}

impl Via {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Console, Self::Cli, Self::Api, Self::System];

    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Cli => "cli",
            Self::Api => "api",
            Self::System => "system",
        }
    }
}

/// Why an act was refused. Nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ActError {
    /// Nobody.
    #[error("the audit log needs to know who you are: pass --as NAME, or set USER")]
    NoActor,
    /// For nothing.
    #[error("the audit log needs a reason: pass --reason \"why you do this\"")]
    NoReason,
    /// Too much to read later.
    #[error("{what} must have at most {most} characters")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it may be.
        most: usize,
    },
}

const MAX_ACTOR: usize = 100;
const MAX_REASON: usize = 1_000;

impl Act {
    /// The act of `actor` for `reason`; neither may be blank. As long as nobody says otherwise, one of our services acts.
    ///
    /// # Errors
    /// When one of them is blank or too long.
    pub fn new(actor: &str, reason: &str) -> Result<Self, ActError> {
        let (actor, reason) = (actor.trim(), reason.trim());
        if actor.is_empty() {
            return Err(ActError::NoActor);
        }
        if reason.is_empty() {
            return Err(ActError::NoReason);
        }
        for (what, text, most) in [("the name", actor, MAX_ACTOR), ("the reason", reason, MAX_REASON)] {
            if text.chars().count() > most {
                return Err(ActError::TooLong { what, most });
            }
        }
        Ok(Self { actor: actor.to_owned(), reason: reason.to_owned(), via: Via::System })
    }

    /// The same act, through this door.
    #[must_use]
    pub fn via(self, via: Via) -> Self {
        Self { via, ..self }
    }

    /// An act that was accepted before, as it was stored: nothing is asked of its reason again.
    #[must_use]
    pub fn stored(actor: &str, reason: &str, via: Via) -> Self {
        Self { actor: actor.to_owned(), reason: reason.to_owned(), via }
    }

    /// Through which door.
    #[must_use]
    pub const fn door(&self) -> Via {
        self.via
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Writes that `action` was done to `target`. Belongs into the transaction of the change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(
        &self,
        connection: &mut PgConnection,
        action: &str,
        target: &str,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into audit_log (at, actor, action, target, reason, via) values ($1, $2, $3, $4, $5, $6)",
            now,
            self.actor,
            action,
            target,
            self.reason,
            self.via.name(),
        )
        .execute(connection)
        .await
        .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_has_a_name_and_a_reason() {
        assert_eq!(Act::new(" ", "why"), Err(ActError::NoActor));
        assert_eq!(Act::new("ops", "\n"), Err(ActError::NoReason));
        let long = "é".repeat(MAX_REASON + 1);
        assert!(matches!(Act::new("ops", &long), Err(ActError::TooLong { what: "the reason", .. })));
        assert!(Act::new("ops", &long[..MAX_REASON]).is_ok());
    }
}
