//! The workers: who they are, when each was last heard of, and what each runs now.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use queue::{
    Engine, JobId, Queue, WorkerId,
    workers::{self, Worker},
};
use sqlx::PgConnection;
use thiserror::Error;

/// A worker on a queue's list in Redis.
#[derive(Debug, Clone)]
pub struct LivingWorker {
    /// Its id.
    pub id: WorkerId,
    /// The queue that it works on.
    pub queue: Queue,
    /// When it renewed its lease for the last time.
    pub last_seen_at: DateTime<Utc>,
    /// Who it is; `None` until it has introduced itself.
    pub who: Option<Worker>,
    /// What it runs, the longest first; at most [`MOST_RUNS`].
    pub runs: Vec<WorkersRun>,
    /// How many jobs it runs.
    pub running: usize,
}

/// A run of a worker.
#[derive(Debug, Clone)]
pub struct WorkersRun {
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Whom it is for.
    pub group: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Most runs that are named of one worker.
pub const MOST_RUNS: usize = 8;
/// Most running jobs that are read.
const MOST_READ: i64 = 2_000;

/// Why the workers are not known.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// The database failed.
    #[error("could not read who the workers are")]
    Database(#[from] sqlx::Error),
    /// Redis failed.
    #[error("could not ask Redis which workers live")]
    Redis(#[from] redis::RedisError),
}

/// All workers, the most urgent queue first, and of a queue the longest at work first.
///
/// # Errors
/// When Redis or the database fails.
pub async fn list(connection: &mut PgConnection, engine: &Engine) -> Result<Vec<LivingWorker>, WorkersError> {
    let asked = Queue::ALL.map(|queue| async move { Ok((queue, engine.workers(queue).await?)) });
    let found: Vec<_> = futures::future::try_join_all(asked).await.map_err(WorkersError::Redis)?;
    let living: Vec<_> = found
        .into_iter()
        .flat_map(|(queue, workers)| workers.into_iter().map(move |(id, at)| (queue, id, at)))
        .collect();
    let ids: Vec<_> = living.iter().map(|(_, id, _)| *id).collect();
    let mut who: HashMap<_, _> =
        workers::known(connection, &ids).await?.into_iter().map(|worker| (worker.id, worker)).collect();
    let mut runs: HashMap<WorkerId, Vec<WorkersRun>> = HashMap::new();
    for (worker, run) in running(connection).await? {
        runs.entry(worker).or_default().push(run);
    }
    let mut list: Vec<_> = living
        .into_iter()
        .map(|(queue, id, last_seen_at)| {
            let mut runs = runs.remove(&id).unwrap_or_default();
            let running = runs.len();
            runs.truncate(MOST_RUNS);
            LivingWorker { id, queue, last_seen_at, who: who.remove(&id), runs, running }
        })
        .collect();
    // Ids sort by birth.
    list.sort_by_key(|worker| (worker.queue, worker.id));
    Ok(list)
}

/// What the ledger says runs, by its worker, the longest first.
async fn running(connection: &mut PgConnection) -> Result<Vec<(WorkerId, WorkersRun)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id as "id: JobId", kind, group_name, worker as "worker!: WorkerId", started_at as "since!"
        from jobs where state = 'running' and finished_at is null order by started_at, id limit $1
        "#,
        MOST_READ,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let run = WorkersRun { id: row.id, kind: row.kind, group: row.group_name, since: row.since };
            (row.worker, run)
        })
        .collect())
}
