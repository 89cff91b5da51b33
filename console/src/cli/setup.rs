//! Setting up: the schema, keys, and which kinds there are.

use clap::Args;
use jobs::{catalog::CATALOG, keyring::Keyring};
use queue::kinds::{self, Written};
use runtime::postgres::{self, PostgresError};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
};

/// Bring the database's schema, and what SQL knows of the kinds, up to date; safe to repeat, and from several hosts at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo migrate")]
pub(super) struct Migrate {}

impl Migrate {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::pool().await?;
        let missing = match postgres::check_migrated(&pool).await {
            Ok(()) => 0,
            Err(PostgresError::Behind { missing, .. }) => missing,
            Err(error) => return Err(database::from_postgres(error)),
        };
        postgres::migrate(&pool).await.map_err(database::from_postgres)?;
        let mut connection = pool.acquire().await?;
        let written = kinds::write(&mut connection, &CATALOG, postgres::newest_migration()).await?;
        let changed = match &written {
            Written::Now { changed } => changed.clone(),
            Written::ByANewer { .. } => Vec::new(),
        };
        answers.give(&json!({ "applied": missing, "kinds_changed": changed }), |_| {
            let database = match missing {
                0 => "The database was up to date.".to_owned(),
                count => format!("Applied {count} migration(s); the database is up to date."),
            };
            match written {
                Written::Now { changed } if changed.is_empty() => database,
                Written::Now { changed } => {
                    format!("{database}\nSQL now knows these kinds: {}.", changed.join(", "))
                }
                Written::ByANewer { .. } => format!(
                    "{database}\nWhat SQL knows of the kinds was written by a newer release and left alone."
                ),
            }
        })
    }
}

/// Make a key for data at rest, as a line for AMZIGO_KEYS. Nothing is stored.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo new-key --id 2026-11\n  export AMZIGO_KEYS=\"$(amzigo new-key --id 2027-05),$AMZIGO_KEYS\"   # rotate: the first encrypts"
)]
pub(super) struct NewKey {
    /// Name of the key, kept beside everything it encrypts; the month it was made in is a good one.
    #[arg(long, default_value = "key-1", value_parser = key_id)]
    id: String,
}

/// Colons and commas separate ids and keys in a ring.
fn key_id(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("an id has 1 to 64 letters, digits, dots, dashes and underscores".to_owned())
    }
}

impl NewKey {
    pub(super) fn run(self, answers: Answers) -> Result<(), Stop> {
        let line = Keyring::generate(&self.id)?;
        answers.give(&json!({ "AMZIGO_KEYS": line }), |_| line.clone())
    }
}

/// List the kinds of jobs, with their queues and schedules; with --json, also what their payloads must look like.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo kinds\n  amzigo kinds --json | jq '.kinds[] | {kind, payload_schema}'"
)]
pub(super) struct Kinds {}

#[derive(Serialize)]
struct KindLine {
    kind: &'static str,
    queue: &'static str,
    schedule: Option<&'static str>,
    time_zone: Option<&'static str>,
    max_attempts: i32,
    timeout_seconds: u64,
    unique: Option<String>,
    expires_after_seconds: Option<u64>,
    payload_version: u8,
    summary: &'static str,
    payload_schema: &'static Value,
}

impl Kinds {
    pub(super) fn run(self, answers: Answers) -> Result<(), Stop> {
        let kinds: Vec<_> = CATALOG
            .iter()
            .map(|kind| KindLine {
                kind: kind.name,
                queue: kind.policy.queue.name(),
                schedule: kind.schedule.map(|schedule| schedule.expression),
                time_zone: kind.schedule.map(|schedule| schedule.time_zone),
                max_attempts: kind.policy.max_attempts,
                timeout_seconds: kind.policy.timeout.as_secs(),
                unique: kind.policy.unique.map(|unique| unique.to_string()),
                expires_after_seconds: kind.policy.expires_after.map(|wait| wait.as_secs()),
                payload_version: kind.version,
                summary: kind.summary,
                payload_schema: kind.schema(),
            })
            .collect();
        answers.give(&json!({ "kinds": kinds }), |_| {
            let mut table = answer::table(&["kind", "queue", "schedule", "attempts", "what it does"]);
            for kind in &kinds {
                table.add_row([
                    answer::text(kind.kind),
                    answer::text(kind.queue),
                    answer::text(kind.schedule.unwrap_or("on request")),
                    answer::text(&kind.max_attempts.to_string()),
                    answer::text(kind.summary),
                ]);
            }
            table.trim_fmt()
        })
    }
}
