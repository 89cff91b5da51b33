//! The queues of a deployment: what waits, what is leased, what is paused. The memory of what every job became is the
//! ledger's.
//!
//! Behind it is Redis (`ready`, `lease`, `controls` and `reconcile` hold its commands), or plain memory for tests: one
//! suite of tests runs over both.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use redis::RedisResult;
use runtime::{
    clock::Clock,
    redis::{Connection, Redis},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Controls, JobId, KnownKinds, WorkerId,
    explain::{Place, Standing},
    keys::QueueKeys,
    lease::{Claimed, Ended, Rescued},
    memory::Memory,
    policy::Queue,
    ready::{Depth, Entry, Promoted, due_ms},
    wake::Wakes,
};

/// A handle to the queues of a deployment. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Engine {
    side: Side,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
enum Side {
    Redis(RedisSide),
    Memory(Arc<Memory>),
}

/// The queues in Redis.
#[derive(Debug, Clone)]
pub(crate) struct RedisSide {
    redis: Redis,
    clock: Arc<dyn Clock>,
}

impl RedisSide {
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(crate) fn keys(&self, queue: Queue) -> QueueKeys {
        QueueKeys::new(self.redis.prefix(), queue)
    }

    pub(crate) fn connection(&self) -> Connection {
        self.redis.connection()
    }
}

impl Engine {
    /// The queues in `redis`, at the time that `clock` tells.
    #[must_use]
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self { side: Side::Redis(RedisSide { redis, clock: Arc::clone(&clock) }), clock }
    }

    /// Queues in this process' memory, for tests: the same behaviour, and gone with the process.
    #[must_use]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self { side: Side::Memory(Arc::default()), clock }
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Pushes entries, each now or at its moment. Idle workers hear of it. Pushing one twice is harmless: the ledger
    /// runs one copy.
    ///
    /// # Errors
    /// When Redis fails; then any part of them may have been pushed, so push all again.
    pub async fn push(&self, queue: Queue, entries: &[Entry]) -> RedisResult<()> {
        match &self.side {
            Side::Redis(side) => side.push(queue, entries).await,
            Side::Memory(memory) => {
                let encoded = entries.iter().map(|(due, envelope)| (due.map(due_ms), envelope.encode()));
                memory.with(queue, |state| state.push(encoded));
                Ok(())
            }
        }
    }

    /// Makes ready what is due, at most 500 entries; call again while `moved` is that many.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn promote(&self, queue: Queue) -> RedisResult<Promoted> {
        match &self.side {
            Side::Redis(side) => side.promote(queue).await,
            Side::Memory(memory) => {
                let (moved, next) = memory.with(queue, |state| state.promote(self.clock.now_ms()));
                Ok(Promoted { moved, next_due_at: next.and_then(DateTime::from_timestamp_millis) })
            }
        }
    }

    /// Takes up to `most` (at most [`MAX_CLAIM`](crate::lease::MAX_CLAIM)) ready entries of kinds that the worker knows,
    /// leased to `worker`.
    ///
    /// # Errors
    /// When Redis fails. Entries that were taken all the same are rescued when the lease ends, or handed back by the
    /// heartbeat of a worker that lives.
    pub async fn claim(
        &self,
        queue: Queue,
        worker: WorkerId,
        most: usize,
        known: &KnownKinds,
    ) -> RedisResult<Claimed> {
        match &self.side {
            Side::Redis(side) => side.claim(queue, worker, most, known).await,
            Side::Memory(memory) => {
                Ok(memory.with(queue, |state| state.claim(worker, most, known, self.clock.now_ms())))
            }
        }
    }

    /// Renews the lease of `worker`. False if it had been given up, or Redis lost its data: then its jobs are no longer
    /// its own.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn heartbeat(&self, queue: Queue, worker: WorkerId) -> RedisResult<bool> {
        match &self.side {
            Side::Redis(side) => side.heartbeat(queue, worker).await,
            Side::Memory(memory) => {
                Ok(memory.with(queue, |state| state.heartbeat(worker, self.clock.now_ms())))
            }
        }
    }

    /// Ends leases, after the ledger has settled the jobs. Returns how many were no longer held.
    ///
    /// # Errors
    /// When Redis fails. Then the jobs come back like those of a claim that failed, and the next one finds out from the
    /// ledger.
    pub async fn end_leases(&self, queue: Queue, worker: WorkerId, ended: &Ended) -> RedisResult<usize> {
        match &self.side {
            Side::Redis(side) => side.end_leases(queue, worker, ended).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.settle(worker, ended))),
        }
    }

    /// Makes ready what a lost worker held, at most 500 jobs; `None` when no lease has ended. Call again until then.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn rescue(&self, queue: Queue) -> RedisResult<Option<Rescued>> {
        match &self.side {
            Side::Redis(side) => side.rescue(queue).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.rescue(self.clock.now_ms()))),
        }
    }

    /// Takes a worker that stops off the list, unless it still holds something.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn resign(&self, queue: Queue, worker: WorkerId) -> RedisResult<bool> {
        match &self.side {
            Side::Redis(side) => side.resign(queue, worker).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.resign(worker))),
        }
    }

    /// The workers on the list of a queue, each with its last sign of life, the one that was silent for longest first.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn workers(&self, queue: Queue) -> RedisResult<Vec<(WorkerId, DateTime<Utc>)>> {
        match &self.side {
            Side::Redis(side) => side.workers(queue).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.workers_seen())),
        }
    }

    /// All that the lease of `worker` holds.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn held_by(&self, queue: Queue, worker: WorkerId) -> RedisResult<HashSet<JobId>> {
        match &self.side {
            Side::Redis(side) => side.held_by(queue, worker).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.held_by(worker))),
        }
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
        match &self.side {
            Side::Redis(side) => side.still_leased(queue, held).await,
            Side::Memory(memory) => {
                Ok(memory.with(queue, |state| state.still_leased(held, self.clock.now_ms())))
            }
        }
    }

    /// Raises the fence to what the ledger knows.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn raise_fence(&self, queue: Queue, fence: i64) -> RedisResult<()> {
        match &self.side {
            Side::Redis(side) => side.raise_fence(queue, fence).await,
            Side::Memory(memory) => {
                memory.with(queue, |state| state.raise_fence(fence));
                Ok(())
            }
        }
    }

    /// Puts `controls` in force in place of those before, opens the queue, and wakes idle workers.
    ///
    /// # Errors
    /// When Redis fails; then tell it again.
    pub async fn control(&self, queue: Queue, controls: &Controls) -> RedisResult<()> {
        match &self.side {
            Side::Redis(side) => side.control(queue, controls).await,
            Side::Memory(memory) => {
                memory.with(queue, |state| state.control(controls, self.clock.now_ms()));
                Ok(())
            }
        }
    }

    /// Whether the queue is open and exactly these controls are in force.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn obeys(&self, queue: Queue, controls: &Controls) -> RedisResult<bool> {
        match &self.side {
            Side::Redis(side) => side.obeys(queue, controls).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.obeys(controls))),
        }
    }

    /// Whether the controls of a queue are known.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn is_open(&self, queue: Queue) -> RedisResult<bool> {
        Ok(self.open_since(queue).await?.is_some())
    }

    /// Corrects the notes of who runs within limits. Returns how many were stale: 0, unless Redis failed over.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn recount(&self, queue: Queue) -> RedisResult<usize> {
        match &self.side {
            Side::Redis(side) => side.recount(queue).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.recount())),
        }
    }

    /// The mark that shows whether Redis still has its data; `None` when it lost them.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn epoch(&self, queue: Queue) -> RedisResult<Option<String>> {
        match &self.side {
            Side::Redis(side) => side.epoch(queue).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.epoch.clone())),
        }
    }

    /// Since when the queue has been open, so that no run of its present data began before; `None` while it is closed.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn open_since(&self, queue: Queue) -> RedisResult<Option<DateTime<Utc>>> {
        let ms = match &self.side {
            Side::Redis(side) => side.open_since(queue).await?,
            Side::Memory(memory) => memory.with(queue, |state| state.open_since()),
        };
        Ok(ms.and_then(DateTime::from_timestamp_millis))
    }

    /// Sets a new mark, when everything has been put back.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn mark_epoch(&self, queue: Queue) -> RedisResult<()> {
        let mark = Uuid::new_v4().to_string();
        match &self.side {
            Side::Redis(side) => side.mark_epoch(queue, &mark).await,
            Side::Memory(memory) => {
                memory.with(queue, |state| state.epoch = Some(mark));
                Ok(())
            }
        }
    }

    /// Which start of which servers this is: another one may have lost its last second, or what was not yet replicated.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn server_run(&self) -> RedisResult<String> {
        match &self.side {
            Side::Redis(side) => side.server_run().await,
            Side::Memory(_) => Ok("memory".to_owned()),
        }
    }

    /// The ids of all that a queue holds. A job that is not touched meanwhile is never missed.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn census(&self, queue: Queue) -> RedisResult<HashSet<JobId>> {
        match &self.side {
            Side::Redis(side) => side.census(queue).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.census())),
        }
    }

    /// When the lease of a job at a worker ends; `None` when that worker does not hold it.
    pub(crate) async fn lease_of(
        &self,
        queue: Queue,
        worker: WorkerId,
        id: JobId,
    ) -> RedisResult<Option<DateTime<Utc>>> {
        match &self.side {
            Side::Redis(side) => side.lease_of(queue, worker, id).await,
            Side::Memory(memory) => {
                let end = memory.with(queue, |state| state.lease_of(worker, id));
                Ok(end.and_then(DateTime::from_timestamp_millis))
            }
        }
    }

    /// Where a ready job stands, and what is in its way.
    pub(crate) async fn standing(&self, queue: Queue, place: Place<'_>) -> RedisResult<Standing> {
        match &self.side {
            Side::Redis(side) => side.standing(queue, place).await,
            Side::Memory(memory) => {
                Ok(memory.with(queue, |state| state.standing(place, self.clock.now_ms())))
            }
        }
    }

    /// The kinds and payload versions of which something is ready.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn waiting_kinds(&self, queue: Queue) -> RedisResult<BTreeSet<(String, u8)>> {
        let rings = match &self.side {
            Side::Redis(side) => side.rings(queue).await?,
            Side::Memory(memory) => memory.with(queue, |state| state.rings()),
        };
        let kind = |ring: &Vec<u8>| match &ring[..] {
            [_, version, kind @ ..] => Some((String::from_utf8_lossy(kind).into_owned(), *version)),
            _ => None,
        };
        Ok(rings.iter().filter_map(kind).collect())
    }

    /// What the queue holds; its cost does not depend on how much that is.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn depth(&self, queue: Queue) -> RedisResult<Depth> {
        match &self.side {
            Side::Redis(side) => side.depth(queue).await,
            Side::Memory(memory) => Ok(memory.with(queue, |state| state.depth())),
        }
    }

    /// What idle workers of this process wait on.
    pub(crate) async fn listen(&self, stop: CancellationToken) -> RedisResult<Wakes> {
        match &self.side {
            Side::Redis(side) => side.listen(stop).await,
            Side::Memory(memory) => Ok(memory.listen()),
        }
    }

    /// Forgets everything that is in memory, as Redis does when it is flushed. Does nothing to a Redis.
    pub fn flush_memory(&self) {
        if let Side::Memory(memory) = &self.side {
            memory.flush();
        }
    }
}
