//! Leases: a worker's time-limited right to running jobs.
//!
//! A worker holds all its jobs by one lease, renewed by one heartbeat. When it ends, [`Engine::rescue`] makes its jobs
//! ready again. A lease is not what keeps a job from ending twice: the ledger does, by the fencing token of the claim.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};

use crate::{
    Engine, JobId, WorkerId,
    envelope::Envelope,
    policy::Queue,
    ready::due_ms,
    scripts::{self, MAX_IDS},
};

/// How long a lease lasts unless renewed. A killed worker's jobs run again after this and one sweep.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often a worker renews its lease: it may miss two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// Most entries of one claim.
pub const MAX_CLAIM: usize = 256;

/// What a claim took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Token of this claim; grows from claim to claim.
    pub fence: i64,
    /// The entries, not yet decoded: what cannot be decoded must still be settled.
    pub entries: Vec<Vec<u8>>,
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescued {
    /// Worker whose lease had ended.
    pub worker: WorkerId,
    /// Jobs that became ready again.
    pub jobs: usize,
}

/// How leases end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Jobs that Redis may forget.
    pub finished: Vec<JobId>,
    /// Jobs that run later.
    pub delayed: Vec<(JobId, DateTime<Utc>)>,
    /// Jobs that are ready again.
    pub handed_back: Vec<JobId>,
}

impl Engine {
    /// Takes up to `most` (at most [`MAX_CLAIM`]) ready entries, groups in turn, leased to `worker`.
    ///
    /// # Errors
    /// When Redis fails. Entries that were taken all the same are rescued when the lease ends, or handed back by the
    /// heartbeat of a worker that lives.
    pub async fn claim(&self, queue: Queue, worker: WorkerId, most: usize) -> RedisResult<Claimed> {
        let keys = self.keys(queue);
        let now = self.clock().now_ms();
        let mut answer: Vec<Vec<u8>> = scripts::CLAIM
            .key(keys.ring())
            .key(keys.groups())
            .key(keys.workers())
            .key(keys.lease(worker))
            .key(keys.fence())
            .arg(now)
            .arg(now + lease_ms())
            .arg(worker.0.as_bytes())
            .arg(most.min(MAX_CLAIM))
            .invoke_async(&mut self.connection())
            .await?;
        if answer.is_empty() {
            return Ok(Claimed::default());
        }
        let token = answer.remove(0);
        let fence = std::str::from_utf8(&token)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or((redis::ErrorKind::UnexpectedReturnType, "the claim's token is not a number"))?;
        Ok(Claimed { fence, entries: answer })
    }

    /// Renews the lease of `worker`. False if it had been given up, or Redis lost its data: then its jobs are no longer
    /// its own.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn heartbeat(&self, queue: Queue, worker: WorkerId) -> RedisResult<bool> {
        let known: i32 = scripts::HEARTBEAT
            .key(self.keys(queue).workers())
            .arg(self.clock().now_ms() + lease_ms())
            .arg(worker.0.as_bytes())
            .invoke_async(&mut self.connection())
            .await?;
        Ok(known == 1)
    }

    /// Ends leases, after the ledger has settled the jobs. Returns how many were no longer held.
    ///
    /// # Errors
    /// When Redis fails. Then the jobs come back like those of a claim that failed, and the next one finds out from the
    /// ledger.
    pub async fn end_leases(&self, queue: Queue, worker: WorkerId, ended: &Ended) -> RedisResult<usize> {
        let keys = self.keys(queue);
        let mut missing = 0;
        for some in pieces(ended) {
            let mut call = scripts::SETTLE.prepare_invoke();
            call.key(keys.lease(worker)).key(keys.delayed()).key(keys.ring()).key(keys.groups());
            call.arg(keys.wake()).arg(some.finished.len()).arg(some.delayed.len());
            for id in &some.finished {
                call.arg(id.0.as_bytes());
            }
            for (id, due_at) in &some.delayed {
                call.arg(due_ms(*due_at)).arg(id.0.as_bytes());
            }
            for id in &some.handed_back {
                call.arg(id.0.as_bytes());
            }
            missing += call.invoke_async::<usize>(&mut self.connection()).await?;
        }
        Ok(missing)
    }

    /// Makes ready what a lost worker held, at most 500 jobs; `None` when no lease has ended. Call again until then.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn rescue(&self, queue: Queue) -> RedisResult<Option<Rescued>> {
        let keys = self.keys(queue);
        let answer: Option<(Vec<u8>, usize)> = scripts::RESCUE
            .key(keys.workers())
            .key(keys.ring())
            .key(keys.groups())
            .key(keys.leases())
            .arg(keys.wake())
            .arg(self.clock().now_ms())
            .arg(MAX_IDS)
            .invoke_async::<redis::Value>(&mut self.connection())
            .await
            .and_then(|value| match value {
                redis::Value::Array(ref items) if items.is_empty() => Ok(None),
                value => Ok(Some(redis::from_redis_value(value)?)),
            })?;
        Ok(answer.and_then(|(worker, jobs)| {
            uuid::Uuid::from_slice(&worker).ok().map(|id| Rescued { worker: WorkerId(id), jobs })
        }))
    }

    /// Takes a worker that stops off the list, unless it still holds something.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn resign(&self, queue: Queue, worker: WorkerId) -> RedisResult<bool> {
        let keys = self.keys(queue);
        let gone: i32 = scripts::RESIGN
            .key(keys.workers())
            .key(keys.lease(worker))
            .arg(worker.0.as_bytes())
            .invoke_async(&mut self.connection())
            .await?;
        Ok(gone == 1)
    }

    /// All that the lease of `worker` holds.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn held_by(&self, queue: Queue, worker: WorkerId) -> RedisResult<HashSet<JobId>> {
        let ids: Vec<Vec<u8>> = self.connection().hkeys(self.keys(queue).lease(worker)).await?;
        Ok(ids.iter().filter_map(|id| Envelope::id_of(id)).collect())
    }

    /// Which of `held` their workers really hold a lease for.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn still_leased(
        &self,
        queue: Queue,
        held: &[(JobId, WorkerId)],
    ) -> RedisResult<HashSet<JobId>> {
        if held.is_empty() {
            return Ok(HashSet::new());
        }
        let keys = self.keys(queue);
        let now = self.clock().now_ms();
        let mut questions = redis::pipe();
        for (id, worker) in held {
            questions
                .hexists(keys.lease(*worker), id.0.as_bytes())
                .zscore(keys.workers(), worker.0.as_bytes());
        }
        let answers: Vec<(bool, Option<f64>)> = questions.query_async(&mut self.connection()).await?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
        let alive = |end: Option<f64>| end.is_some_and(|end| end >= now as f64);
        Ok(held
            .iter()
            .zip(answers)
            .filter(|(_, (leased, end))| *leased && alive(*end))
            .map(|((id, _), _)| *id)
            .collect())
    }

    /// Raises the fence to what the ledger knows.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn raise_fence(&self, queue: Queue, fence: i64) -> RedisResult<()> {
        scripts::RAISE_FENCE
            .key(self.keys(queue).fence())
            .arg(fence)
            .invoke_async::<()>(&mut self.connection())
            .await
    }
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// Cuts into calls of at most [`MAX_IDS`] ids.
fn pieces(ended: &Ended) -> impl Iterator<Item = Ended> {
    let longest =
        [ended.finished.len(), ended.delayed.len(), ended.handed_back.len()].into_iter().max().unwrap_or(0);
    // A third of the limit of each sort: never over the limit, and one call in the usual case of few ids.
    let each = if ended.finished.len() + ended.delayed.len() + ended.handed_back.len() <= MAX_IDS {
        MAX_IDS
    } else {
        MAX_IDS / 3
    };
    (0..longest.div_ceil(each)).map(move |n| Ended {
        finished: ended.finished.iter().skip(n * each).take(each).copied().collect(),
        delayed: ended.delayed.iter().skip(n * each).take(each).copied().collect(),
        handed_back: ended.handed_back.iter().skip(n * each).take(each).copied().collect(),
    })
}
