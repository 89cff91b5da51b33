//! The state of everything at a glance, what is wrong first.
//!
//! Redis may be away: the overview then says so and shows what the ledger knows, because that is when ops look at it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Engine, JobId, Queue, WorkerId, bulk::Filter, controls::Scope, dead::DeadLetter, deadline::Level,
    ready::Depth,
};
use sqlx::PgConnection;

use crate::ops::{
    batches::{self, OpenBatch},
    controls::{self, Control, Setting},
    counts::{self, Outbox, QueueCounts},
    dead, deadlines,
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
    /// Jobs will miss what somebody promised, or have.
    Deadlines {
        /// How near they are, from "must start now" on.
        level: Level,
        /// How many.
        jobs: i64,
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
        /// Whether a kind or a group on it is paused, which may be why.
        partly_paused: bool,
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
    /// What is paused, limited and weighted.
    pub controls: Vec<Control>,
    /// How many jobs have reached which level on the way to their deadlines, the worst first.
    pub deadlines: Vec<(Level, i64)>,
    /// Batches that have not finished, the first opened first; at most five.
    pub batches: Vec<OpenBatch>,
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
const BATCHES_SHOWN: u16 = 5;
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
    let controls = controls::list(connection, None).await?;
    let deadlines = deadlines::at_risk(connection).await?;
    let depths = depths(engine).await;
    Ok(Overview {
        now,
        problems: problems(
            &Seen {
                queues: &queues,
                outbox: &outbox,
                scheduler_leads: leads,
                depths: depths.as_deref(),
                controls: &controls,
                deadlines: &deadlines,
            },
            now,
        ),
        controls,
        deadlines,
        batches: batches::unfinished(connection, BATCHES_SHOWN).await?,
        running: running(connection).await?,
        finished: finished(connection).await?,
        dead: dead::list(connection, &Filter::default(), SHOWN).await?,
        queues,
        depths,
        outbox,
    })
}

/// What problems are found in.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    queues: &'a [QueueCounts],
    outbox: &'a Outbox,
    scheduler_leads: bool,
    depths: Option<&'a [(Queue, Depth)]>,
    controls: &'a [Control],
    deadlines: &'a [(Level, i64)],
}

fn problems(seen: &Seen<'_>, now: DateTime<Utc>) -> Vec<Problem> {
    let Seen { queues, outbox, scheduler_leads, depths, controls, deadlines } = *seen;
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
    let urgent = deadlines.iter().filter(|(level, _)| *level >= Level::MustStartNow);
    problems.extend(urgent.map(|(level, jobs)| Problem::Deadlines { level: *level, jobs: *jobs }));
    let paused: Vec<_> = controls.iter().filter(|control| control.setting == Setting::Paused).collect();
    for counts in queues.iter().filter(|counts| counts.ready > 0) {
        let queue = counts.queue;
        // What waits because a person said so is no problem.
        if paused.iter().any(|control| control.queue == queue && control.scope == Scope::Queue) {
            continue;
        }
        let workers = depths.and_then(|depths| depths.iter().find(|(of, _)| *of == queue));
        match (workers, counts.oldest_ready_since) {
            (Some((_, depth)), _) if depth.workers == 0 => {
                problems.push(Problem::NoWorker { queue, ready: counts.ready });
            }
            (_, Some(since)) if now - since > STARTED_WITHIN => {
                let partly_paused = paused.iter().any(|control| control.queue == queue);
                problems.push(Problem::Waiting { queue, since, partly_paused });
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

/// What each queue holds in Redis; `None` when it does not answer in time.
pub async fn depths(engine: &Engine) -> Option<Vec<(Queue, Depth)>> {
    tokio::time::timeout(PATIENCE, depths_at_once(engine)).await.unwrap_or_else(|_| {
        tracing::warn!("shown without Redis, which did not answer in time");
        None
    })
}

async fn depths_at_once(engine: &Engine) -> Option<Vec<(Queue, Depth)>> {
    let asked = Queue::ALL.map(|queue| async move { Ok((queue, engine.depth(queue).await?)) });
    // All at once: Redis answers each in the time that a way to it takes.
    let answers: redis::RedisResult<Vec<_>> = futures::future::try_join_all(asked).await;
    answers.inspect_err(|error| tracing::warn!(%error, "shown without Redis")).ok()
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

    /// Nothing but these queues, and a scheduler.
    const fn seen<'a>(queues: &'a [QueueCounts], depths: Option<&'a [(Queue, Depth)]>) -> Seen<'a> {
        Seen { queues, outbox: &EMPTY, scheduler_leads: true, depths, controls: &[], deadlines: &[] }
    }

    fn paused(queue: Queue, scope: Scope) -> Control {
        Control { queue, scope, setting: Setting::Paused, decided: None, in_force: true }
    }

    #[test]
    fn all_is_well_while_ready_jobs_have_workers_and_wait_shortly() {
        let queues = [ready(Queue::Sync, STARTED_WITHIN)];
        assert_eq!(problems(&seen(&queues, Some(&workers(1))), now()), []);
    }

    #[test]
    fn the_worst_comes_first_and_each_queue_is_named() {
        let mut sync = ready(Queue::Sync, TimeDelta::hours(1));
        sync.dead = 2;
        let since = now() - TimeDelta::seconds(31);
        let outbox = Outbox { depth: 7, oldest_since: Some(since) };
        let queues = [ready(Queue::Mail, TimeDelta::zero()), sync];
        let deadlines = [(Level::Missed, 2), (Level::MustStartNow, 1), (Level::NineTenths, 5)];
        let wrong =
            Seen { outbox: &outbox, scheduler_leads: false, deadlines: &deadlines, ..seen(&queues, None) };
        assert_eq!(
            problems(&wrong, now()),
            [
                Problem::RedisAway,
                Problem::NoScheduler,
                Problem::NotRelayed { depth: 7, since },
                Problem::Deadlines { level: Level::Missed, jobs: 2 },
                Problem::Deadlines { level: Level::MustStartNow, jobs: 1 },
                Problem::Waiting {
                    queue: Queue::Sync,
                    since: now() - TimeDelta::hours(1),
                    partly_paused: false
                },
                Problem::Dead { letters: 2 },
            ]
        );
    }

    #[test]
    fn a_queue_without_a_worker_is_named_once() {
        let queues = [ready(Queue::Sync, TimeDelta::hours(1))];
        assert_eq!(
            problems(&seen(&queues, Some(&workers(0))), now()),
            [Problem::NoWorker { queue: Queue::Sync, ready: 3 }]
        );
    }

    #[test]
    fn what_waits_because_it_is_paused_is_no_problem() {
        let since = now() - TimeDelta::hours(1);
        let queues = [ready(Queue::Sync, TimeDelta::hours(1)), ready(Queue::Mail, TimeDelta::hours(1))];
        let controls =
            [paused(Queue::Sync, Scope::Queue), paused(Queue::Mail, Scope::Kind("send_mail".to_owned()))];
        assert_eq!(
            problems(&Seen { controls: &controls, ..seen(&queues, Some(&workers(1))) }, now()),
            [Problem::Waiting { queue: Queue::Mail, since, partly_paused: true }]
        );
    }
}
