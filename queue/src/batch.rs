//! Batches: many jobs that belong together, and one that follows when all of them have ended.
//!
//! Open one, enqueue jobs into it ([`NewJob::batch`]) in as many transactions as it takes, seal it. What became of it is
//! read from its jobs, so that no count can drift. Whoever finds a sealed batch without an unfinished job finishes it: its
//! row says so in the transaction that enqueues the follow-up, so that there is one, whoever finds it at the same moment and
//! whatever dies in between. A dead letter has ended; requeued after the follow-up, it runs again and causes no second one.
//!
//! A batch must be sealed before its first ended jobs are pruned; of an older one they are no longer counted.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::{
    JobId,
    outbox::{self, Cause, EnqueueError, NewJob},
};

runtime::id_type!(
    /// A batch's id.
    BatchId
);

/// What has become of a batch's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The batch.
    pub id: BatchId,
    /// Jobs in it.
    pub total: i64,
    /// Of these, ended well.
    pub done: i64,
    /// Ended in failure.
    pub dead: i64,
    /// Ended because somebody or something said so: discarded, expired, of a retired kind.
    pub cancelled: i64,
    /// Not yet ended.
    pub unfinished: i64,
    /// Since when no job may join.
    pub sealed_at: Option<DateTime<Utc>>,
    /// When all had ended; the counts are those of that moment.
    pub finished_at: Option<DateTime<Utc>>,
    /// The job that follows, once it is enqueued.
    pub follow_up: Option<JobId>,
}

/// Why a batch was not sealed, or its follow-up not enqueued.
#[derive(Debug, Error)]
pub enum BatchError {
    /// Somebody sealed it before, or there is none.
    #[error("batch {0} is sealed already, or there is none with this id")]
    NotOpen(BatchId),
    /// The door refuses the follow-up.
    #[error("the job that should follow batch {batch} was refused")]
    Refused {
        /// The batch.
        batch: BatchId,
        /// Why.
        #[source]
        source: EnqueueError,
    },
    /// The follow-up was written by a release that writes it differently.
    #[error(
        "the job that should follow batch {batch} cannot be read; let a scheduler of the release that sealed it finish it"
    )]
    Unreadable {
        /// The batch.
        batch: BatchId,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The database failed.
    #[error("could not read or change a batch")]
    Database(#[from] sqlx::Error),
}

/// Opens a batch.
///
/// # Errors
/// When the database fails.
pub async fn open(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<BatchId, sqlx::Error> {
    let id = BatchId::new();
    sqlx::query!("insert into batches (id, created_at) values ($1, $2)", id.0, now)
        .execute(connection)
        .await?;
    Ok(id)
}

/// Seals a batch: no job joins it any more, and when all have ended, `follow_up` is enqueued. Waits for transactions that
/// enqueue into it.
///
/// # Errors
/// When it is not open, the door would refuse the follow-up, or the database fails.
pub async fn seal(
    connection: &mut PgConnection,
    id: BatchId,
    follow_up: Option<&NewJob>,
    now: DateTime<Utc>,
) -> Result<(), BatchError> {
    if let Some(job) = follow_up {
        outbox::checked_payload(job).map_err(|source| BatchError::Refused { batch: id, source })?;
    }
    let follow_up = follow_up
        .map(serde_json::to_value)
        .transpose()
        .map_err(|source| BatchError::Unreadable { batch: id, source })?;
    let sealed = sqlx::query!(
        "update batches set sealed_at = $2, follow_up = $3 where id = $1 and sealed_at is null",
        id.0,
        now,
        follow_up,
    )
    .execute(connection)
    .await?;
    if sealed.rows_affected() == 1 { Ok(()) } else { Err(BatchError::NotOpen(id)) }
}

/// What has become of a batch's jobs so far; `None` for an unknown one.
///
/// # Errors
/// When the database fails.
pub async fn progress(connection: &mut PgConnection, id: BatchId) -> Result<Option<Progress>, sqlx::Error> {
    sqlx::query_as!(
        Progress,
        r#"
        select batches.id as "id: BatchId", sealed_at, batches.finished_at, follow_up_id as "follow_up: JobId",
            coalesce(batches.done + batches.dead + batches.cancelled, counted.total) as "total!",
            coalesce(batches.done, counted.done) as "done!",
            coalesce(batches.dead, counted.dead) as "dead!",
            coalesce(batches.cancelled, counted.cancelled) as "cancelled!",
            case when batches.finished_at is null then counted.unfinished else 0 end as "unfinished!"
        from batches left join lateral (
            select count(*) as total,
                count(*) filter (where state = 'done') as done,
                count(*) filter (where state = 'dead') as dead,
                count(*) filter (where state = 'cancelled') as cancelled,
                count(*) filter (where jobs.finished_at is null) as unfinished
            from jobs where batch_id = batches.id and batches.finished_at is null
        ) as counted on true
        where batches.id = $1
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await
}

/// What became of the batch that this job follows: what a follow-up's run asks for. `None` where it follows none.
///
/// # Errors
/// When the database fails.
pub async fn followed_by(connection: &mut PgConnection, job: JobId) -> Result<Option<Progress>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        r#"select id as "id: BatchId" from batches where follow_up_id = $1 order by id desc limit 1"#,
        job.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    match id {
        Some(id) => progress(connection, id).await,
        None => Ok(None),
    }
}

/// Finishes up to `most` sealed batches whose jobs have all ended. Returns what became of them. A batch that cannot be
/// finished does not hold up the others.
///
/// # Errors
/// When the follow-up of one is refused or the database fails; the others are finished all the same.
pub async fn finish_ended(pool: &PgPool, now: DateTime<Utc>, most: i64) -> Result<Vec<BatchId>, BatchError> {
    let ended = sqlx::query_scalar!(
        r#"
        select id as "id: BatchId" from batches
        where finished_at is null and sealed_at is not null
            and not exists (select from jobs where batch_id = batches.id and jobs.finished_at is null)
        order by sealed_at limit $1
        "#,
        most,
    )
    .fetch_all(pool)
    .await?;
    let mut finished = Vec::new();
    let mut failed = None;
    for id in ended {
        match finish(pool, id, now).await {
            Ok(true) => finished.push(id),
            Ok(false) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(finished), Err)
}

async fn finish(pool: &PgPool, id: BatchId, now: DateTime<Utc>) -> Result<bool, BatchError> {
    let mut transaction = pool.begin().await?;
    let row = sqlx::query!(
        r#"
        with counted as (
            select count(*) filter (where state = 'done') as done,
                count(*) filter (where state = 'dead') as dead,
                count(*) filter (where state = 'cancelled') as cancelled,
                count(*) filter (where finished_at is null) as unfinished
            from jobs where batch_id = $1
        )
        update batches set finished_at = $2, done = counted.done, dead = counted.dead, cancelled = counted.cancelled
        from counted
        where id = $1 and batches.finished_at is null and sealed_at is not null and unfinished = 0
        returning follow_up
        "#,
        id.0,
        now,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    // Another scheduler was faster, or a dead letter runs again.
    let Some(row) = row else { return Ok(false) };
    if let Some(follow_up) = row.follow_up {
        let follow_up: NewJob = serde_json::from_value(follow_up)
            .map_err(|source| BatchError::Unreadable { batch: id, source })?;
        let follow_up = NewJob { cause: Cause::Batch, batch: None, ..follow_up };
        let answers = outbox::enqueue(&mut transaction, std::slice::from_ref(&follow_up), now)
            .await
            .map_err(|source| BatchError::Refused { batch: id, source })?;
        let follows = answers.first().map_or(follow_up.id, |answer| answer.id());
        sqlx::query!("update batches set follow_up_id = $2 where id = $1", id.0, follows.0)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Keeps batches open until the caller's transaction ends, so that no job joins one that has been sealed.
pub(crate) async fn keep_open(
    connection: &mut PgConnection,
    batches: impl Iterator<Item = BatchId>,
) -> Result<(), EnqueueError> {
    let wanted: BTreeSet<_> = batches.collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = wanted.iter().map(|id| id.0).collect();
    let open = sqlx::query_scalar!(
        r#"select id as "id: BatchId" from batches where id = any($1) and sealed_at is null order by id for share"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    match wanted.into_iter().find(|id| !open.contains(id)) {
        Some(batch) => Err(EnqueueError::BatchNotOpen { batch }),
        None => Ok(()),
    }
}
