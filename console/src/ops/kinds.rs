//! Every kind with its policy, its schedule, how it does, and what is said of it.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use queue::{Policy, Schedule, controls::Scope, roll_up::Counts};
use sqlx::PgConnection;

use crate::ops::{
    controls::{self, Control},
    counts,
    history::{self, Span},
};

/// How a kind does.
#[derive(Debug, Clone)]
pub struct KindStatus {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What it asks of the engine.
    pub policy: Policy,
    /// When it fires by itself.
    pub schedule: Option<Schedule>,
    /// Jobs that run.
    pub running: i64,
    /// Jobs that are ready or delayed.
    pub waiting: i64,
    /// Dead letters.
    pub dead: i64,
    /// What ended in the last 24 hours.
    pub day: Counts,
    /// What is paused, limited and weighted about it.
    pub controls: Vec<Control>,
}

impl KindStatus {
    /// How long this share of its runs of the day took at most.
    #[must_use]
    pub fn took(&self, share: f64) -> Option<Duration> {
        self.day.runs.percentile(share)
    }
}

/// All kinds of the catalog, by name.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<KindStatus>, sqlx::Error> {
    let unfinished = unfinished(connection).await?;
    let dead = counts::dead_by_kind(connection).await?;
    let mut day = history::read(connection, Span::Day, now).await?.kinds;
    let controls = controls::list(connection, None).await?;
    let mut kinds: Vec<_> = CATALOG
        .iter()
        .map(|kind| {
            let about = |control: &&Control| {
                matches!(&control.scope, Scope::Kind(name) if name == kind.name)
                    && control.queue == kind.policy.queue
            };
            let (waiting, running) = unfinished.get(kind.name).copied().unwrap_or_default();
            KindStatus {
                name: kind.name,
                summary: kind.summary,
                policy: kind.policy,
                schedule: kind.schedule,
                running,
                waiting,
                dead: dead.get(kind.name).copied().unwrap_or(0),
                day: day.remove(kind.name).unwrap_or_default(),
                controls: controls.iter().filter(about).cloned().collect(),
            }
        })
        .collect();
    kinds.sort_by_key(|kind| kind.name);
    Ok(kinds)
}

/// How many jobs of each kind wait, and how many run.
async fn unfinished(connection: &mut PgConnection) -> Result<BTreeMap<String, (i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select kind, count(*) filter (where state <> 'running') as "waiting!",
            count(*) filter (where state = 'running') as "running!"
        from jobs where finished_at is null group by kind
        "#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, (row.waiting, row.running))).collect())
}
