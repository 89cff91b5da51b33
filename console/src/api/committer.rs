//! Commits what arrives together in one transaction: each caller is answered when its jobs are committed, and many callers
//! pay for one commit.
//!
//! One caller's refusal never fails another's jobs: what the door refuses is found by halves and left out. The queue before
//! it is bounded; what does not fit is refused at once, and nothing of it was done. Repeating a request is safe where it has
//! an idempotency key: it is remembered by the job that it made, and answered with it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use queue::{
    BatchId, JobId,
    outbox::{self, EnqueueError, Enqueued, NewJob},
};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

use crate::console::Console;

/// Most jobs that a transaction is filled up to.
const MOST_TOGETHER: usize = 1_000;
/// Most requests that wait.
const MOST_WAITING: usize = 4_096;
/// Most jobs that wait.
const MOST_JOBS_WAITING: u32 = 50_000;
/// Transactions at once.
const LANES: usize = 2;
/// How often a transaction that met another one is tried.
const TRIES: usize = 3;

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Became {
    /// It is enqueued.
    Created(JobId),
    /// The same request made this job before.
    Replayed(JobId),
    /// Another one with its unique key is there already.
    Existing(JobId),
    /// Its idempotency key belongs to a job of another kind or payload.
    KeyReused,
    /// Its batch takes no more jobs.
    BatchNotOpen,
    /// Postgres cannot store it.
    Unstorable,
}

/// Why nothing is known of what became of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitError {
    /// Too much waits.
    Full,
    /// The database failed.
    Unavailable,
}

struct Piece {
    jobs: Vec<NewJob>,
    answer: oneshot::Sender<Result<Vec<Became>, CommitError>>,
}

/// The way to it. Cloning is cheap; it ends when all clones are gone.
#[derive(Clone)]
pub(super) struct Committer {
    pieces: mpsc::Sender<Piece>,
    room: Arc<Semaphore>,
}

impl Committer {
    /// Starts it.
    pub(super) fn start(console: &Console) -> Self {
        let (pieces, waiting) = mpsc::channel(MOST_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..LANES {
            tokio::spawn(lane(console.clone(), Arc::clone(&waiting)));
        }
        Self { pieces, room: Arc::new(Semaphore::new(MOST_JOBS_WAITING as usize)) }
    }

    /// Enqueues jobs; they are committed when this returns. The answers come in the order of `jobs`.
    pub(super) async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Became>, CommitError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let _room = self.room.try_acquire_many(count).map_err(|_| CommitError::Full)?;
        let (answer, answered) = oneshot::channel();
        self.pieces.try_send(Piece { jobs, answer }).map_err(|_| CommitError::Full)?;
        answered.await.unwrap_or(Err(CommitError::Unavailable))
    }
}

async fn lane(console: Console, waiting: Arc<Mutex<mpsc::Receiver<Piece>>>) {
    loop {
        let Some(pieces) = gather(&mut *waiting.lock().await).await else { return };
        commit(&console, pieces).await;
    }
}

/// What waits, up to a full transaction; `None` when nobody can send any more.
async fn gather(waiting: &mut mpsc::Receiver<Piece>) -> Option<Vec<Piece>> {
    let mut pieces = vec![waiting.recv().await?];
    let mut jobs = pieces.iter().map(|piece| piece.jobs.len()).sum::<usize>();
    while jobs < MOST_TOGETHER {
        let Ok(piece) = waiting.try_recv() else { break };
        jobs += piece.jobs.len();
        pieces.push(piece);
    }
    Some(pieces)
}

async fn commit(console: &Console, pieces: Vec<Piece>) {
    let (jobs, answers): (Vec<_>, Vec<_>) =
        pieces.into_iter().map(|piece| (piece.jobs, piece.answer)).unzip();
    let counts: Vec<_> = jobs.iter().map(Vec::len).collect();
    let jobs: Vec<_> = jobs.into_iter().flatten().collect();
    let became = write(&console.pool, &jobs, console.now()).await;
    let mut first = 0;
    for (count, answer) in counts.into_iter().zip(answers) {
        let part = became.as_ref().map(|all| all[first..first + count].to_vec()).map_err(|error| *error);
        first += count;
        // Who has hung up hears nothing; the jobs are there all the same.
        answer.send(part).ok();
    }
}

/// Writes jobs in as few transactions as it takes.
fn write<'j>(
    pool: &'j PgPool,
    jobs: &'j [NewJob],
    now: DateTime<Utc>,
) -> BoxFuture<'j, Result<Vec<Became>, CommitError>> {
    Box::pin(async move {
        let mut tries = 0;
        let refused = loop {
            tries += 1;
            match transaction(pool, jobs, now).await {
                Ok(became) => return Ok(became),
                Err(EnqueueError::Database(error)) if met_another(&error) && tries < TRIES => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(EnqueueError::Database(error)) if !cannot_be_stored(&error) => {
                    tracing::warn!(error = %kind_of(&error), "the API could not enqueue jobs");
                    return Err(CommitError::Unavailable);
                }
                Err(refused) => break refused,
            }
        };
        match (jobs, refused) {
            ([_], EnqueueError::BatchNotOpen { .. }) => Ok(vec![Became::BatchNotOpen]),
            ([_], _) => Ok(vec![Became::Unstorable]),
            (many, _) => {
                let (one, other) = many.split_at(many.len() / 2);
                let mut became = write(pool, one, now).await?;
                became.extend(write(pool, other, now).await?);
                Ok(became)
            }
        }
    })
}

async fn transaction(
    pool: &PgPool,
    jobs: &[NewJob],
    now: DateTime<Utc>,
) -> Result<Vec<Became>, EnqueueError> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let mut became: HashMap<JobId, Became> = HashMap::new();
    let closed = not_open(&mut transaction, jobs).await?;
    for job in jobs.iter().filter(|job| job.batch.is_some_and(|batch| closed.contains(&batch))) {
        became.insert(job.id, Became::BatchNotOpen);
    }
    // A repeated request changes nothing, so it is answered before it comes to the door.
    let asked: Vec<_> = jobs.iter().collect();
    answer_repeated(&mut transaction, &asked, &mut became).await?;
    let new: Vec<_> = jobs.iter().filter(|job| !became.contains_key(&job.id)).cloned().collect();
    let enqueued = outbox::enqueue(&mut transaction, &new, now).await?;
    let mut met = Vec::new();
    for (job, enqueued) in new.iter().zip(enqueued) {
        match enqueued {
            Enqueued::New(id) => became.insert(job.id, Became::Created(id)),
            Enqueued::Exists(id) => {
                met.push(job);
                became.insert(job.id, Became::Existing(id))
            }
        };
    }
    // Two equal requests at the same moment: the second met what the first has just made.
    answer_repeated(&mut transaction, &met, &mut became).await?;
    transaction.commit().await?;
    Ok(jobs.iter().map(|job| became.remove(&job.id).unwrap_or(Became::Unstorable)).collect())
}

/// Answers jobs whose idempotency key is a job's already.
async fn answer_repeated(
    connection: &mut PgConnection,
    jobs: &[&NewJob],
    became: &mut HashMap<JobId, Became>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = jobs.iter().filter_map(|job| job.idempotency_key.clone()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select id as "id: JobId", idempotency_key as "key!", kind, payload_version, payload
        from jobs where idempotency_key = any($1)"#,
        &keys,
    )
    .fetch_all(connection)
    .await?;
    let made: HashMap<_, _> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    for job in jobs {
        let Some(row) = job.idempotency_key.as_deref().and_then(|key| made.get(key)) else { continue };
        let other_version = row.payload_version != i16::from(job.version);
        let same = row.kind == job.kind && (other_version || same_payload(&row.payload, &job.payload));
        became.entry(job.id).and_modify(|now| {
            if *now == Became::Existing(row.id) {
                *now = if same { Became::Replayed(row.id) } else { Became::KeyReused };
            }
        });
        became.entry(job.id).or_insert(if same { Became::Replayed(row.id) } else { Became::KeyReused });
    }
    Ok(())
}

fn same_payload(stored: &Value, asked: &Value) -> bool {
    stored == asked
}

/// The batches of these jobs that take no more, or that there are not.
async fn not_open(connection: &mut PgConnection, jobs: &[NewJob]) -> Result<HashSet<BatchId>, sqlx::Error> {
    let wanted: HashSet<_> = jobs.iter().filter_map(|job| job.batch).collect();
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<_> = wanted.iter().map(|id| id.0).collect();
    let open = sqlx::query_scalar!(
        r#"select id as "id: BatchId" from batches where id = any($1) and sealed_at is null"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(wanted.into_iter().filter(|id| !open.contains(id)).collect())
}

/// Whether another transaction was in the way: nothing is wrong with the jobs.
fn met_another(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refused| refused.code());
    code.is_some_and(|code| matches!(code.as_ref(), "40001" | "40P01" | "55P03"))
}

/// Whether Postgres refuses the values: data that do not fit, or a constraint.
fn cannot_be_stored(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refused| refused.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// What failed, without the values that Postgres quotes.
fn kind_of(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(refused) => format!("Postgres says {}", refused.code().unwrap_or_else(|| "no code".into())),
        None => error.to_string(),
    }
}
