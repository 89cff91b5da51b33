//! A connection to Postgres for one command, which says so when it has to wait for the server.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::{
    env::ProcessEnvironment,
    postgres::{self, PostgresError},
};
use sqlx::{PgConnection, PgPool};

use super::stop::Stop;

const SILENCE: Duration = Duration::from_secs(2);

/// The pool, whatever the schema.
pub(super) async fn pool() -> Result<PgPool, Stop> {
    let connecting = postgres::connect(&ProcessEnvironment, "cli");
    tokio::pin!(connecting);
    let connected = match tokio::time::timeout(SILENCE, &mut connecting).await {
        Ok(connected) => connected,
        Err(_) => {
            eprintln!("waiting for Postgres at DATABASE_URL …");
            connecting.await
        }
    };
    connected.map_err(from_postgres)
}

/// The pool of a database whose schema this program knows.
pub(super) async fn migrated_pool() -> Result<PgPool, Stop> {
    let pool = pool().await?;
    postgres::check_migrated(&pool).await.map_err(from_postgres)?;
    Ok(pool)
}

/// The database's time: the clock of the laptop that a command is typed on may be wrong, and moments in the ledger are
/// compared with those that servers wrote.
pub(super) async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(connection).await
}

pub(super) fn from_postgres(error: PostgresError) -> Stop {
    match error {
        PostgresError::Setting(error) => Stop::usage(error),
        behind @ PostgresError::Behind { .. } => Stop::refused(behind),
        failed => failed.into(),
    }
}
