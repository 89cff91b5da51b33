//! Fires the schedules of kinds.
//!
//! The next tick of each is stored, so that one missed while no scheduler ran is known. A tick enqueues its jobs and moves
//! on in one transaction, and each job carries `kind@moment/group` as its idempotency key: two schedulers make one job.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use jobs::{catalog::CATALOG, context::Context};
use queue::{
    Kind, Schedule,
    job::Catalog,
    outbox,
    schedule::Missed,
    stepping::{Stepper, SteppingError},
};
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);
/// Most jobs written by one statement.
const BATCH: usize = 1_000;
/// A tick that is later than this was missed.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// Why schedules could not fire.
#[derive(Debug, Error)]
pub enum CronError {
    /// The database failed.
    #[error("could not read or move schedules")]
    Database(#[from] sqlx::Error),
    /// The jobs of a tick were refused.
    #[error("could not enqueue the jobs of a tick of `{kind}`")]
    Enqueue {
        /// Whose tick.
        kind: &'static str,
        /// Why.
        #[source]
        source: outbox::EnqueueError,
    },
    /// A schedule in the catalog is wrong.
    #[error("the schedule of `{kind}` is wrong")]
    Schedule {
        /// Whose.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: SteppingError,
    },
}

pub(super) struct Cron {
    services: Services,
}

impl Cron {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for Cron {
    const NAME: &'static str = "cron";
    type Error = CronError;

    async fn pass(&mut self) -> Result<Duration, CronError> {
        fire_due(&self.services.pool, &CATALOG, self.services.engine.clock().now()).await?;
        Ok(TURN)
    }
}

/// Fires every schedule that is due at `now`. Returns how many jobs were enqueued.
///
/// # Errors
/// When a schedule is wrong, or the database fails; what fired before stays fired.
pub async fn fire_due(
    pool: &PgPool,
    catalog: &Catalog<Context>,
    now: DateTime<Utc>,
) -> Result<usize, CronError> {
    let mut fired = 0;
    for kind in catalog.iter() {
        if let Some(schedule) = kind.schedule {
            fired += fire(pool, kind, &schedule, now).await?;
        }
    }
    Ok(fired)
}

async fn fire(
    pool: &PgPool,
    kind: &Kind<Context>,
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<usize, CronError> {
    let wrong = |source| CronError::Schedule { kind: kind.name, source };
    let stepper = Stepper::new(schedule).map_err(wrong)?;
    let next = |after| stepper.next_after(after).ok_or(SteppingError::Never).map_err(wrong);
    let expression = format!("{} {}", schedule.expression, schedule.time_zone);

    let mut transaction = pool.begin().await?;
    let row = sqlx::query!(
        "select expression, next_fire_at, paused_at from schedules where kind = $1 for update",
        kind.name
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let due_at = match row {
        // New, or changed by a release: its first tick lies ahead.
        None => None,
        Some(row) if row.expression != expression => None,
        Some(row) if row.next_fire_at > now || row.paused_at.is_some() => return Ok(0),
        Some(row) => Some(row.next_fire_at),
    };
    let upcoming = next(now)?;
    let fires = due_at.filter(|at| schedule.missed == Missed::Once || now - *at <= LATE);
    let mut count = 0;
    if let Some(at) = fires {
        count = enqueue_tick(&mut transaction, kind, schedule, at, now).await?;
    }
    sqlx::query!(
        r#"
        insert into schedules as s (kind, expression, next_fire_at) values ($1, $2, $3)
        on conflict (kind) do update set expression = $2, next_fire_at = $3, last_fire_at = coalesce($4::timestamptz, s.last_fire_at),
            last_made = case when $4::timestamptz is null then s.last_made else $5 end
        "#,
        kind.name,
        expression,
        upcoming,
        fires,
        i32::try_from(count).unwrap_or(i32::MAX),
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if let Some(at) = fires {
        tracing::info!(job.kind = kind.name, tick.at = %at, jobs.enqueued = count, "fired");
    }
    Ok(count)
}

async fn enqueue_tick(
    connection: &mut PgConnection,
    kind: &Kind<Context>,
    schedule: &Schedule,
    at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<usize, CronError> {
    let tick = format!("{}@{}", kind.name, at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let jobs: Vec<_> = kind
        .tick(connection)
        .await?
        .into_iter()
        .map(|job| {
            let key = format!("{tick}/{}", job.group);
            // A tick that was missed is spread as well, from now on.
            let place = schedule.place(kind.name, &job.group);
            let job = if place.is_zero() { job } else { job.due_at(at.max(now - LATE) + place) };
            job.idempotency_key(key)
        })
        .collect();
    let mut count = 0;
    for some in jobs.chunks(BATCH) {
        let answers = outbox::enqueue(connection, some, now)
            .await
            .map_err(|source| CronError::Enqueue { kind: kind.name, source })?;
        count += answers.iter().filter(|answer| matches!(answer, outbox::Enqueued::New(_))).count();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_of_the_catalog_can_be_stepped() {
        for kind in CATALOG.iter() {
            if let Some(schedule) = &kind.schedule {
                let stepper = Stepper::new(schedule).expect(kind.name);
                assert!(stepper.next_after("2026-11-23T00:00:00Z".parse().expect("a moment")).is_some());
            }
        }
    }
}
