//! How much waits, runs and lies dead: the numbers behind the overview and the metrics.
//!
//! Every number comes from a partial index of unfinished or dead jobs, so that what is done long ago costs nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use queue::{Queue, State};
use sqlx::PgConnection;

/// The states that are counted: those in which a job waits for something.
pub const COUNTED: [State; 4] = [State::Ready, State::Delayed, State::Running, State::Dead];

/// The jobs of one queue that are not at a good end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueCounts {
    /// The queue.
    pub queue: Queue,
    /// Wait for a worker.
    pub ready: i64,
    /// Wait for their moment.
    pub delayed: i64,
    /// Run.
    pub running: i64,
    /// Ended in failure.
    pub dead: i64,
    /// Since when the longest waiting ready job could have run.
    pub oldest_ready_since: Option<DateTime<Utc>>,
}

impl QueueCounts {
    /// How many are in `state`; zero for states that are not [`COUNTED`].
    #[must_use]
    pub const fn of(&self, state: State) -> i64 {
        match state {
            State::Ready => self.ready,
            State::Delayed => self.delayed,
            State::Running => self.running,
            State::Dead => self.dead,
            State::Done | State::Cancelled => 0,
        }
    }
}

/// What waits to be told to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbox {
    /// How many jobs.
    pub depth: i64,
    /// Since when the first of them could have been told.
    pub oldest_since: Option<DateTime<Utc>>,
}

/// The counts of every queue, most urgent first; a queue without jobs has zeros.
///
/// # Errors
/// When the database fails.
pub async fn by_queue(connection: &mut PgConnection) -> Result<Vec<QueueCounts>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select queue, count(*) filter (where state = 'ready') as "ready!",
            count(*) filter (where state = 'delayed') as "delayed!",
            count(*) filter (where state = 'running') as "running!", 0::bigint as "dead!",
            min(due_at) filter (where state = 'ready') as oldest_ready_since
        from jobs where finished_at is null group by queue
        union all
        select queue, 0, 0, 0, count(*), null from jobs where is_dead group by queue
        "#
    )
    .fetch_all(connection)
    .await?;
    Ok(Queue::ALL
        .into_iter()
        .map(|queue| {
            let mut sum =
                QueueCounts { queue, ready: 0, delayed: 0, running: 0, dead: 0, oldest_ready_since: None };
            for row in rows.iter().filter(|row| row.queue.as_deref() == Some(queue.name())) {
                sum.ready += row.ready;
                sum.delayed += row.delayed;
                sum.running += row.running;
                sum.dead += row.dead;
                sum.oldest_ready_since = sum.oldest_ready_since.or(row.oldest_ready_since);
            }
            sum
        })
        .collect())
}

/// What ended on a queue within some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedCounts {
    /// The queue.
    pub queue: Queue,
    /// Done, or cancelled.
    pub done: i64,
    /// Ended in failure.
    pub died: i64,
}

/// What has ended since a moment, by queue; queues on which nothing did are not named.
///
/// # Errors
/// When the database fails.
pub async fn ended_since(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<Vec<EndedCounts>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select queue, count(*) as "done!", 0::bigint as "died!"
        from jobs where finished_at > $1 and not is_dead group by queue
        union all
        select queue, 0, count(*) from jobs where finished_at > $1 and is_dead group by queue
        "#,
        since,
    )
    .fetch_all(connection)
    .await?;
    Ok(Queue::ALL
        .into_iter()
        .filter_map(|queue| {
            let of = rows.iter().filter(|row| row.queue.as_deref() == Some(queue.name()));
            let (done, died) = of.fold((0, 0), |(done, died), row| (done + row.done, died + row.died));
            (done + died > 0).then_some(EndedCounts { queue, done, died })
        })
        .collect())
}

/// What waits in the outbox.
///
/// # Errors
/// When the database fails.
pub async fn outbox(connection: &mut PgConnection) -> Result<Outbox, sqlx::Error> {
    sqlx::query_as!(
        Outbox,
        r#"
        select count(*) as "depth!",
            (select touched_at from jobs where id = (select job_id from outbox order by job_id limit 1)) as oldest_since
        from outbox
        "#
    )
    .fetch_one(connection)
    .await
}

/// How many dead letters each kind has; kinds without any are not named.
///
/// # Errors
/// When the database fails.
pub async fn dead_by_kind(connection: &mut PgConnection) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let rows = sqlx::query!(r#"select kind, count(*) as "count!" from jobs where is_dead group by kind"#)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.count)).collect())
}
