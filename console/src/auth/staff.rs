//! Members of staff.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::auth::Roles;

runtime::id_type!(
    /// A member of staff.
    StaffId
);

/// An id that nobody has: what is asked about it takes as long as about somebody, and finds nothing.
pub const NOBODY: StaffId = StaffId(runtime::ids::Uuid::nil());

/// Adds a person who cannot sign in yet.
///
/// # Errors
/// When the name is taken or badly formed, or the database fails.
pub async fn add(
    connection: &mut PgConnection,
    name: &str,
    roles: &Roles,
    now: DateTime<Utc>,
) -> Result<StaffId, sqlx::Error> {
    let id = StaffId::new();
    sqlx::query!(
        "insert into staff (id, name, roles, created_at) values ($1, $2, $3, $4)",
        id.0,
        name,
        &roles.names(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(id)
}

/// Whether a text may be somebody's handle, as the table says it too: `ann.lee`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_table_takes() {
        for good in ["ann", "ann.lee", "a-1_b", &"a".repeat(40)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Ann", "1a", ".a", "ann lee", "änn", "a\0b", &"a".repeat(41)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
