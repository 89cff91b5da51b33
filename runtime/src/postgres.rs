//! Postgres: the pool, and the migrations that are part of every binary.

use std::time::Duration;

use sqlx::{
    ConnectOptions, PgPool,
    migrate::{Migrate, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use thiserror::Error;

use crate::{
    env::{self, EnvError, Environment},
    retry::{Decision, Limits, retry},
};

/// What every connection is told, in one message; as a start-up option a pooler in between might refuse it.
///
/// A row lock that a lost worker left behind must not hold others up for ever. And a statement is planned for the table as it
/// is: one that was planned while the ledger was nearly empty reads all of it for each batch, until statistics come.
pub(crate) const SESSION: &str = "set lock_timeout = '10s'; set idle_in_transaction_session_timeout = '60s'; \
                                  set plan_cache_mode = 'force_custom_plan'";

/// The schema's history, from `migrations/`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// The newest migration that this program knows: of two releases the newer one knows the later migration.
#[must_use]
pub fn newest_migration() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Why Postgres could not be used.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// No connection.
    #[error("could not connect to Postgres; check DATABASE_URL and that the server is up")]
    Connect(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("could not migrate the database")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema is older than this program.
    #[error("the database lacks {missing} migration(s), the first is `{first}`; run `amzigo migrate`")]
    Behind {
        /// How many are missing.
        missing: usize,
        /// The words of the first one.
        first: String,
    },
}

/// Opens the pool, waiting up to half a minute for a server that is still starting.
///
/// # Errors
/// When a setting is wrong or no connection can be made.
pub async fn connect(environment: &dyn Environment, process: &str) -> Result<PgPool, PostgresError> {
    let url = env::DATABASE_URL.read(environment)?;
    let connections = env::DATABASE_CONNECTIONS.parse(environment)?;
    let options: PgConnectOptions =
        url.parse().map_err(|error: sqlx::Error| env::DATABASE_URL.invalid(&url, error))?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(|_| ()) })
        })
        .connect_lazy_with(
            options.application_name(&format!("amzigo-{process}")).disable_statement_logging(),
        );
    let limits = Limits { attempts: 60, total: Duration::from_secs(30), ..Limits::default() };
    retry(limits, |_: &sqlx::Error| Decision::Again, || async { pool.acquire().await.map(drop) })
        .await
        .map_err(PostgresError::Connect)?;
    Ok(pool)
}

/// Brings the schema up to date; safe to run from several processes at once (an advisory lock lets one at a time).
///
/// # Errors
/// When a migration fails; those before it stay applied.
pub async fn migrate(pool: &PgPool) -> Result<(), PostgresError> {
    Ok(MIGRATOR.run(pool).await?)
}

/// Refuses a database whose schema is older than this program.
///
/// # Errors
/// [`PostgresError::Behind`] when migrations are missing.
pub async fn check_migrated(pool: &PgPool) -> Result<(), PostgresError> {
    let mut connection = pool.acquire().await.map_err(PostgresError::Connect)?;
    connection.ensure_migrations_table("_sqlx_migrations").await?;
    let applied = connection.list_applied_migrations("_sqlx_migrations").await?;
    let missing: Vec<_> =
        MIGRATOR.iter().filter(|known| !applied.iter().any(|done| done.version == known.version)).collect();
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            Err(PostgresError::Behind { missing: missing.len(), first: first.description.to_string() })
        }
    }
}
