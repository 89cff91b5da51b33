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
