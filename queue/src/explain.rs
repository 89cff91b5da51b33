//! Why a job waits: what stands between it and its run, as far as ledger and Redis can tell.
//!
//! Reads only. The answer is of one moment, put together from several reads, so it may be out of date when it is shown.

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};
use serde::Serialize;
use sqlx::PgConnection;
use thiserror::Error;

use crate::{
    Engine, JobId, State, WorkerId,
    engine::RedisSide,
    envelope::{self, Envelope},
    policy::{Priority, Queue},
    scripts,
};

/// One thing that stands between a job and its run, or what it is doing instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It has ended.
    Ended {
        /// How.
        state: State,
        /// When.
        at: Option<DateTime<Utc>>,
    },
    /// A worker runs it.
    Running {
        /// Which.
        worker: WorkerId,
        /// Since when.
        since: Option<DateTime<Utc>>,
        /// Until when its lease lasts unless renewed; `None`: it has no lease, and the job is about to run elsewhere.
        lease_until: Option<DateTime<Utc>>,
    },
    /// It waits for its moment.
    Delayed {
        /// When it is due.
        until: DateTime<Utc>,
        /// A retry, a budget, or nothing but its first moment.
        waits_for: Option<String>,
    },
    /// The relay has not put it into Redis yet: no scheduler leads, or many jobs were enqueued at once.
    InOutbox,
    /// Redis does not hold it; the scheduler's next census puts it back.
    NotInRedis,
    /// Redis has lost its data and has not been told what is paused: no scheduler leads.
    QueueClosed,
    /// Somebody paused the whole queue.
    QueuePaused,
    /// Somebody paused its kind.
    KindPaused,
    /// Somebody paused its group.
    GroupPaused,
    /// As many jobs of its kind run as may.
    KindAtLimit {
        /// How many run.
        running: u64,
        /// How many may.
        most: u64,
    },
    /// As many jobs of its group run as may.
    GroupAtLimit {
        /// How many run.
        running: u64,
        /// How many may.
        most: u64,
    },
    /// As many jobs of its kind run for its group as may.
    GroupOfKindAtLimit {
        /// How many run.
        running: u64,
        /// How many may.
        most: u64,
    },
    /// No worker works on its queue, or none that is alive.
    NoWorker,
    /// It waits for its turn.
    Turn {
        /// Jobs of its group and kind that come first; `None`: more than are counted.
        ahead_in_group: Option<u64>,
        /// Groups of its kind whose turn comes first; `None`: more than are counted.
        groups_ahead: Option<u64>,
        /// Kinds, versions and priorities that share the queue's turns with its own.
        other_rings: u64,
    },
}

/// Why a job could not be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The ledger does not know it.
    #[error("there is no job {0}; `amzigo jobs` shows the last ones")]
    Unknown(JobId),
    /// The database failed.
    #[error("could not read the job")]
    Database(#[from] sqlx::Error),
    /// Redis failed.
    #[error("could not look into Redis")]
    Redis(#[from] redis::RedisError),
    /// A newer release enqueued it on a queue that this one does not know.
    #[error("job {id} is on the queue `{queue}`, which this program does not know")]
    Queue {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: String,
    },
}

/// Where a ready job stands in Redis, and what is in its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) open: bool,
    pub(crate) queue_paused: bool,
    pub(crate) kind_paused: bool,
    pub(crate) group_paused: bool,
    /// How many run and how many may: of the kind, of the group, of the group within the kind.
    pub(crate) limits: [Option<(u64, u64)>; 3],
    pub(crate) workers_alive: u64,
    pub(crate) ahead_in_group: Option<u64>,
    /// Whether the lane was read to its end without finding the job.
    pub(crate) not_in_lane: bool,
    pub(crate) groups_ahead: Option<u64>,
    pub(crate) other_rings: u64,
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) id: JobId,
    pub(crate) kind: &'a str,
    pub(crate) group: &'a str,
    pub(crate) priority: Priority,
    pub(crate) version: u8,
}

/// Most entries of a lane, and most groups of a ring, that are read to count what is ahead.
const MOST_COUNTED: usize = 5_000;

/// Says why a job waits, the strongest reason first.
///
/// # Errors
/// When there is no such job, or Postgres or Redis fails.
pub async fn explain(
    connection: &mut PgConnection,
    engine: &Engine,
    id: JobId,
) -> Result<Vec<Reason>, ExplainError> {
    let row = sqlx::query!(
        r#"
        select kind, queue, group_name, state, priority, payload_version, worker, due_at, waits_for, started_at, finished_at,
            exists (select from outbox where outbox.job_id = jobs.id) as "in_outbox!"
        from jobs where id = $1
        "#,
        id.0
    )
    .fetch_optional(connection)
    .await?
    .ok_or(ExplainError::Unknown(id))?;
    let Ok(queue) = row.queue.parse::<Queue>() else {
        return Err(ExplainError::Queue { id, queue: row.queue });
    };
    let state = row.state.parse::<State>().unwrap_or(State::Ready);
    if state.finished() {
        return Ok(vec![Reason::Ended { state, at: row.finished_at }]);
    }
    if let (State::Running, Some(worker)) = (state, row.worker) {
        let worker = WorkerId(worker);
        let lease_until = engine.lease_of(queue, worker, id).await?;
        return Ok(vec![Reason::Running { worker, since: row.started_at, lease_until }]);
    }
    if state == State::Delayed && row.due_at > engine.clock().now() {
        return Ok(vec![Reason::Delayed { until: row.due_at, waits_for: row.waits_for }]);
    }
    if row.in_outbox {
        return Ok(vec![Reason::InOutbox]);
    }
    let place = Place {
        id,
        kind: &row.kind,
        group: &row.group_name,
        priority: row.priority.parse().unwrap_or_default(),
        version: u8::try_from(row.payload_version).unwrap_or(1),
    };
    Ok(reasons(&engine.standing(queue, place).await?))
}

fn reasons(standing: &Standing) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut when = |holds: bool, reason: Reason| {
        if holds {
            reasons.push(reason);
        }
    };
    when(!standing.open, Reason::QueueClosed);
    when(standing.queue_paused, Reason::QueuePaused);
    when(standing.kind_paused, Reason::KindPaused);
    when(standing.group_paused, Reason::GroupPaused);
    let full = standing.limits.map(|limit| limit.filter(|(running, most)| running >= most));
    if let Some((running, most)) = full[0] {
        when(true, Reason::KindAtLimit { running, most });
    }
    if let Some((running, most)) = full[1] {
        when(true, Reason::GroupAtLimit { running, most });
    }
    if let Some((running, most)) = full[2] {
        when(true, Reason::GroupOfKindAtLimit { running, most });
    }
    when(standing.workers_alive == 0, Reason::NoWorker);
    if standing.not_in_lane {
        when(true, Reason::NotInRedis);
    } else {
        let Standing { ahead_in_group, groups_ahead, other_rings, .. } = *standing;
        when(true, Reason::Turn { ahead_in_group, groups_ahead, other_rings });
    }
    reasons
}

impl RedisSide {
    /// When the lease of a job at a worker ends; `None` when that worker does not hold it.
    pub(crate) async fn lease_of(
        &self,
        queue: Queue,
        worker: WorkerId,
        id: JobId,
    ) -> RedisResult<Option<DateTime<Utc>>> {
        let keys = self.keys(queue);
        let (held, end): (bool, Option<f64>) = redis::pipe()
            .hexists(keys.lease(worker), id.0.as_bytes())
            .zscore(keys.workers(), worker.0.as_bytes())
            .query_async(&mut self.connection())
            .await?;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit a double exactly")]
        let end = end.map(|ms| ms as i64).and_then(DateTime::from_timestamp_millis);
        Ok(end.filter(|_| held))
    }

    pub(crate) async fn standing(&self, queue: Queue, place: Place<'_>) -> RedisResult<Standing> {
        let keys = self.keys(queue);
        let ring = envelope::ring(place.priority, place.version, place.kind);
        let lane = envelope::lane(&ring, place.group.as_bytes());
        let mut connection = self.connection();
        let Place { kind, group, .. } = place;
        let said: Vec<Option<String>> = redis::cmd("HMGET")
            .arg(keys.head())
            .arg(&["open", "paused"])
            .arg(format!("pause:k:{kind}"))
            .arg(format!("pause:g:{group}"))
            .arg(format!("limit:k:{kind}"))
            .arg(format!("limit:g:{group}"))
            .arg("limit:g")
            .arg(format!("limit:e:{kind}"))
            .query_async(&mut connection)
            .await?;
        let (of_kind, of_group, of_each, rings, workers_alive): (u64, u64, u64, u64, u64) = redis::pipe()
            .hlen(keys.held(format!("k{kind}").as_bytes()))
            .hlen(keys.held(format!("g{group}").as_bytes()))
            .hlen(keys.held(format!("e{kind}\0{group}").as_bytes()))
            .zcard(keys.rings())
            .zcount(keys.workers(), self.clock().now_ms(), "+inf")
            .query_async(&mut connection)
            .await?;
        let limit = |field: usize| said[field].as_ref().and_then(|most| most.parse::<u64>().ok());
        let (ahead_in_group, not_in_lane) = self.ahead_in_lane(queue, &lane, place.id).await?;
        let groups: Vec<Vec<u8>> = connection
            .lrange(keys.ring(&ring), 0, isize::try_from(MOST_COUNTED).unwrap_or(isize::MAX))
            .await?;
        let groups_ahead =
            groups.iter().position(|ahead| ahead == group.as_bytes()).map(|ahead| ahead as u64);
        Ok(Standing {
            open: said[0].is_some(),
            queue_paused: said[1].is_some(),
            kind_paused: said[2].is_some(),
            group_paused: said[3].is_some(),
            limits: [
                limit(4).map(|most| (of_kind, most)),
                limit(5).or(limit(6)).map(|most| (of_group, most)),
                limit(7).map(|most| (of_each, most)),
            ],
            workers_alive,
            ahead_in_group,
            not_in_lane,
            groups_ahead,
            other_rings: rings.saturating_sub(1),
        })
    }

    /// How many entries come before a job in its lane, and whether it is not there at all.
    async fn ahead_in_lane(&self, queue: Queue, lane: &[u8], id: JobId) -> RedisResult<(Option<u64>, bool)> {
        let mut ahead = 0;
        while ahead < MOST_COUNTED {
            let page: Vec<Vec<u8>> = scripts::IDS_OF_LANE
                .key(self.keys(queue).base())
                .arg(lane)
                .arg(ahead)
                .arg(ahead + scripts::MAX_IDS - 1)
                .invoke_async(&mut self.connection())
                .await?;
            if let Some(found) = page.iter().position(|other| Envelope::id_of(other) == Some(id)) {
                return Ok((Some((ahead + found) as u64), false));
            }
            if page.len() < scripts::MAX_IDS {
                return Ok((None, true));
            }
            ahead += page.len();
        }
        Ok((None, false))
    }
}
