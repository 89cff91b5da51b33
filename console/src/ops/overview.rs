//! The state of everything at a glance, what is wrong first.
//!
//! Redis may be away: the overview then says so and shows what the ledger knows, because that is when ops look at it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Engine, JobId, Queue, WorkerId, dead::DeadLetter, ready::Depth};
use sqlx::PgConnection;

use crate::ops::{
    counts::{self, Outbox, QueueCounts},
    dead,
};

/// Something that a person should look at. Shown in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Redis does not answer: nothing starts.
    RedisAway,
    /// No scheduler leads: nothing is relayed, promoted or fired.
    NoScheduler,
    /// The outbox is not being emptied.
    NotRelayed {
        /// How many wait.
        depth: i64,
        /// Since when the first one.
        since: DateTime<Utc>,
    },
    /// Jobs are ready on a queue that no worker is on.
    NoWorker {
        /// Which queue.
        queue: Queue,
        /// How many.
        ready: i64,
    },
    /// A ready job has waited for long, although a worker is on its queue.
    Waiting {
        /// Which queue.
        queue: Queue,
        /// Since when.
        since: DateTime<Utc>,
    },
    /// Jobs ended in failure, and nobody has decided about them.
    Dead {
        /// How many.
        letters: i64,
    },
}

/// A job that runs now.
#[derive(Debug, Clone)]
pub struct RunningJob {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Whom it is for.
    pub group: String,
    /// Who runs it.
    pub worker: WorkerId,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Which attempt this is, from 1.
    pub attempt: i32,
}

/// A job that ended lately.
#[derive(Debug, Clone)]
pub struct FinishedJob {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Whom it is for.
    pub group: String,
    /// done, dead or cancelled.
    pub state: String,
    /// When its last run began, if one did.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// Everything at a glance.
#[derive(Debug, Clone)]
pub struct Overview {
    /// When it was read.
    pub now: DateTime<Utc>,
    /// What is wrong, the worst first; empty when all is well.
    pub problems: Vec<Problem>,
    /// Jobs by queue and state.
    pub queues: Vec<QueueCounts>,
    /// What each queue holds in Redis; `None` when Redis does not answer.
    pub depths: Option<Vec<(Queue, Depth)>>,
    /// What waits to be told to Redis.
    pub outbox: Outbox,
    /// What runs now, the longest first; at most [`SHOWN`].
    pub running: Vec<RunningJob>,
    /// What ended lately, the last first; at most [`SHOWN`].
    pub finished: Vec<FinishedJob>,
    /// The last dead letters; at most [`SHOWN`].
    pub dead: Vec<DeadLetter>,
}

/// Most jobs of each list.
pub const SHOWN: u16 = 10;
/// Longest wait for Redis before the page is shown without it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The relay empties the outbox within milliseconds; after this it does not.
const RELAYED_WITHIN: TimeDelta = TimeDelta::seconds(30);
/// A ready job that waits longer than this needs more workers, or an eye on those there are.
const STARTED_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// Reads the overview.
///
/// # Errors
/// When the database fails. Redis may be away.
pub async fn read(
    connection: &mut PgConnection,
    engine: &Engine,
    now: DateTime<Utc>,
) -> Result<Overview, sqlx::Error> {
    let queues = counts::by_queue(connection).await?;
    let outbox = counts::outbox(connection).await?;
    let leads = scheduler_leads(connection).await?;
    let depths = tokio::time::timeout(PATIENCE, depths(engine)).await.unwrap_or_else(|_| {
        tracing::warn!("the overview is shown without Redis, which did not answer in time");
        None
    });
    Ok(Overview {
        now,
        problems: problems(&queues, &outbox, leads, depths.as_deref(), now),
        running: running(connection).await?,
        finished: finished(connection).await?,
        dead: dead::list(connection, &dead::Filter::default(), SHOWN).await?,
        queues,
        depths,
        outbox,
    })
}

fn problems(
    queues: &[QueueCounts],
    outbox: &Outbox,
    scheduler_leads: bool,
    depths: Option<&[(Queue, Depth)]>,
    now: DateTime<Utc>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if depths.is_none() {
        problems.push(Problem::RedisAway);
    }
    if !scheduler_leads {
        problems.push(Problem::NoScheduler);
    }
    if let Some(since) = outbox.oldest_since
        && now - since > RELAYED_WITHIN
    {
        problems.push(Problem::NotRelayed { depth: outbox.depth, since });
    }
    for counts in queues.iter().filter(|counts| counts.ready > 0) {
        let queue = counts.queue;
        let workers = depths.and_then(|depths| depths.iter().find(|(of, _)| *of == queue));
        match (workers, counts.oldest_ready_since) {
            (Some((_, depth)), _) if depth.workers == 0 => {
                problems.push(Problem::NoWorker { queue, ready: counts.ready });
            }
            (_, Some(since)) if now - since > STARTED_WITHIN => {
                problems.push(Problem::Waiting { queue, since });
            }
            _ => {}
        }
    }
    let letters = queues.iter().map(|counts| counts.dead).sum();
    if letters > 0 {
        problems.push(Problem::Dead { letters });
    }
    problems
}

async fn depths(engine: &Engine) -> Option<Vec<(Queue, Depth)>> {
    let mut depths = Vec::with_capacity(Queue::ALL.len());
    for queue in Queue::ALL {
        match engine.depth(queue).await {
            Ok(depth) => depths.push((queue, depth)),
            Err(error) => {
                tracing::warn!(%error, "the overview is shown without Redis");
                return None;
            }
        }
    }
    Some(depths)
}

/// By the database's clock, which is the one that the leaders' leases are written by.
async fn scheduler_leads(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from leaders where expires_at > clock_timestamp()) as "leads!""#
    )
    .fetch_one(connection)
    .await
}

async fn running(connection: &mut PgConnection) -> Result<Vec<RunningJob>, sqlx::Error> {
    sqlx::query_as!(
        RunningJob,
        r#"
        select id as "id: JobId", kind, group_name as "group", worker as "worker!: WorkerId",
            started_at as "since!", attempts + 1 as "attempt!"
        from jobs where state = 'running' and finished_at is null order by started_at, id limit $1
        "#,
        i64::from(SHOWN),
    )
    .fetch_all(connection)
    .await
}

async fn finished(connection: &mut PgConnection) -> Result<Vec<FinishedJob>, sqlx::Error> {
    sqlx::query_as!(
        FinishedJob,
        r#"
        select id as "id!: JobId", kind as "kind!", group_name as "group!", state as "state!", started_at,
            finished_at as "finished_at!"
        from (
            (select * from jobs where finished_at is not null and not is_dead order by finished_at desc, id desc limit $1)
            union all
            (select * from jobs where is_dead order by finished_at desc, id desc limit $1)
        ) as ended
        order by finished_at desc, id desc limit $1
        "#,
        i64::from(SHOWN),
    )
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a moment")
    }

    fn ready(queue: Queue, waited: TimeDelta) -> QueueCounts {
        QueueCounts {
            queue,
            ready: 3,
            delayed: 0,
            running: 0,
            dead: 0,
            oldest_ready_since: Some(now() - waited),
        }
    }

    const EMPTY: Outbox = Outbox { depth: 0, oldest_since: None };

    fn workers(count: u64) -> Vec<(Queue, Depth)> {
        Queue::ALL.into_iter().map(|queue| (queue, Depth { workers: count, ..Depth::default() })).collect()
    }

    #[test]
    fn all_is_well_while_ready_jobs_have_workers_and_wait_shortly() {
        let queues = [ready(Queue::Sync, STARTED_WITHIN)];
        assert_eq!(problems(&queues, &EMPTY, true, Some(&workers(1)), now()), []);
    }

    #[test]
    fn the_worst_comes_first_and_each_queue_is_named() {
        let mut sync = ready(Queue::Sync, TimeDelta::hours(1));
        sync.dead = 2;
        let since = now() - TimeDelta::seconds(31);
        let outbox = Outbox { depth: 7, oldest_since: Some(since) };
        assert_eq!(
            problems(&[ready(Queue::Mail, TimeDelta::zero()), sync], &outbox, false, None, now()),
            [
                Problem::RedisAway,
                Problem::NoScheduler,
                Problem::NotRelayed { depth: 7, since },
                Problem::Waiting { queue: Queue::Sync, since: now() - TimeDelta::hours(1) },
                Problem::Dead { letters: 2 },
            ]
        );
    }

    #[test]
    fn a_queue_without_a_worker_is_named_once() {
        let queues = [ready(Queue::Sync, TimeDelta::hours(1))];
        assert_eq!(
            problems(&queues, &EMPTY, true, Some(&workers(0)), now()),
            [Problem::NoWorker { queue: Queue::Sync, ready: 3 }]
        );
    }
}
