//! How fast work came back whose worker was lost, and what was delivered twice.
//!
//! The scheduler notes a lost worker when it rescues what it held, with its last sign of life; the ledger notes each run that
//! is taken over as a crash, when the next run begins: the time between the two is how long the work was away. A settler notes
//! runs that another run of the same job has overtaken. Noting twice changes nothing. A note that the database refuses is not
//! repeated: these tables count what happened, and nothing is decided by them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{JobId, Queue, WorkerId, lease::Rescued};

/// How long the notes are kept.
const KEPT: TimeDelta = TimeDelta::days(92);

/// A run that ended after another run of its job had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overtaken {
    /// The job.
    pub job: JobId,
    /// Token of the run.
    pub fence: i64,
    /// Whether it came to its own end; else it was stopped.
    pub finished: bool,
}

/// Notes a worker that was lost. A worker that held more than one call rescues adds up.
///
/// # Errors
/// When the database fails.
pub async fn note_lost(
    pool: &PgPool,
    queue: Queue,
    rescued: &Rescued,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into lost_workers (id, queue, last_seen_at, rescued_at, jobs) values ($1, $2, $3, $4, $5)
        on conflict (id) do update set jobs = lost_workers.jobs + excluded.jobs,
            last_seen_at = excluded.last_seen_at, rescued_at = excluded.rescued_at
        "#,
        rescued.worker.0,
        queue.name(),
        rescued.last_seen_at,
        now,
        i64::try_from(rescued.jobs).unwrap_or(i64::MAX),
    )
    .execute(pool)
    .await
    .map(|_| ())
}

/// Notes runs whose result the ledger refused, those of them that were overtaken.
pub(crate) async fn note_overtaken(
    pool: &PgPool,
    worker: WorkerId,
    refused: &[Overtaken],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let jobs: Vec<_> = refused.iter().map(|run| run.job.0).collect();
    let fences: Vec<_> = refused.iter().map(|run| run.fence).collect();
    let finished: Vec<_> = refused.iter().map(|run| run.finished).collect();
    let noted = sqlx::query!(
        r#"
        insert into overtaken_runs (job_id, fence, at, queue, kind, worker, finished)
        select jobs.id, given.fence, $5, jobs.queue, jobs.kind, $4, given.finished
        from jobs join unnest($1::uuid[], $2::bigint[], $3::bool[]) as given (id, fence, finished) on given.id = jobs.id
        where jobs.fence > given.fence
        on conflict do nothing
        "#,
        &jobs,
        &fences,
        &finished,
        worker.0,
        now,
    )
    .execute(pool)
    .await?;
    Ok(noted.rows_affected())
}

/// A run whose worker was lost, and how long its job was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comeback {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// The worker that was lost.
    pub worker: WorkerId,
    /// When the next run began, or the job was given up because it had lost too many workers.
    pub back_at: DateTime<Utc>,
    /// The worker's last sign of life; `None` when nobody noted its loss.
    pub last_seen_at: Option<DateTime<Utc>>,
}

impl Comeback {
    /// From the last sign of life to the next run.
    #[must_use]
    pub fn away(&self) -> Option<TimeDelta> {
        Some((self.back_at - self.last_seen_at?).max(TimeDelta::zero()))
    }
}

/// Work that came back since then, the last first; at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn comebacks(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    most: u16,
) -> Result<Vec<Comeback>, sqlx::Error> {
    sqlx::query_as!(
        Comeback,
        r#"
        select job_id as "job: JobId", jobs.kind, failures.worker as "worker: WorkerId", at as back_at,
            lost_workers.last_seen_at as "last_seen_at?"
        from failures join jobs on jobs.id = job_id
        left join lost_workers on lost_workers.id = failures.worker
        where at >= $1 and decision = 'crash' order by at desc, job_id limit $2
        "#,
        since,
        i64::from(most),
    )
    .fetch_all(connection)
    .await
}

/// A run that was overtaken, as noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedOvertaken {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Who ran it.
    pub worker: WorkerId,
    /// When that run ended.
    pub at: DateTime<Utc>,
    /// Whether it came to its own end; else it was stopped.
    pub finished: bool,
}

/// Runs that were overtaken since then, the last first; at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn overtaken(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    most: u16,
) -> Result<Vec<NotedOvertaken>, sqlx::Error> {
    sqlx::query_as!(
        NotedOvertaken,
        r#"
        select job_id as "job: JobId", kind, worker as "worker: WorkerId", at, finished
        from overtaken_runs where at >= $1 order by at desc, job_id limit $2
        "#,
        since,
        i64::from(most),
    )
    .fetch_all(connection)
    .await
}

/// A worker that was lost, as noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWorker {
    /// The worker.
    pub id: WorkerId,
    /// The queue it worked on.
    pub queue: String,
    /// Its last sign of life.
    pub last_seen_at: DateTime<Utc>,
    /// When what it held was made ready again.
    pub rescued_at: DateTime<Utc>,
    /// How many entries it held.
    pub jobs: i64,
    /// Where it ran, if it introduced itself.
    pub host: Option<String>,
    /// Its release, if it introduced itself.
    pub version: Option<String>,
}

/// Workers that were lost since then, the last first; at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn lost_workers(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    most: u16,
) -> Result<Vec<LostWorker>, sqlx::Error> {
    sqlx::query_as!(
        LostWorker,
        r#"
        select lost.id as "id: WorkerId", lost.queue, lost.last_seen_at, lost.rescued_at, lost.jobs,
            workers.host as "host?", workers.version as "version?"
        from lost_workers as lost left join workers on workers.id = lost.id
        where lost.rescued_at >= $1 order by lost.rescued_at desc, lost.id limit $2
        "#,
        since,
        i64::from(most),
    )
    .fetch_all(connection)
    .await
}

/// Deletes notes that are older than a quarter of a year, also of workers that ended or were lost before.
///
/// # Errors
/// When the database fails.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let before = now - KEPT;
    sqlx::query!("delete from overtaken_runs where at < $1", before).execute(pool).await?;
    sqlx::query!(
        r#"
        delete from workers where started_at < $1
            and (ended_at < $1 or exists (select from lost_workers where lost_workers.id = workers.id))
        "#,
        before
    )
    .execute(pool)
    .await?;
    sqlx::query!("delete from lost_workers where rescued_at < $1", before).execute(pool).await?;
    Ok(())
}
