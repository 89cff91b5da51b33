//! What waits: pushing entries, and promoting those that are due.
//!
//! What is ready lies in *lanes*: a list for each kind, payload version, priority and group. The groups of one kind, version
//! and priority take turns in a *ring*; the rings take turns by weight. So a kind that may not run now costs a claim
//! nothing, and neither do the jobs of a version that the worker does not know.

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};

use crate::{engine::RedisSide, envelope::Envelope, policy::Queue, scripts, scripts::MAX_IDS};

/// What one promotion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// How many became ready.
    pub moved: usize,
    /// When the next one is due.
    pub next_due_at: Option<DateTime<Utc>>,
}

/// What a queue holds in Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Turns to come: groups that have something ready, once for each ring they are in.
    pub turns: u64,
    /// Groups that have something ready which may not run now: they are paused or at their limit.
    pub parked: u64,
    /// Entries that wait for their moment.
    pub delayed: u64,
    /// Workers that hold or held leases.
    pub workers: u64,
}

/// An entry to push, with the moment before which it must not run.
pub type Entry = (Option<DateTime<Utc>>, Envelope);

impl RedisSide {
    pub(crate) async fn push(&self, queue: Queue, entries: &[Entry]) -> RedisResult<()> {
        let keys = self.keys(queue);
        let mut connection = self.connection();
        for some in entries.chunks(MAX_IDS) {
            let mut call = scripts::PUSH.prepare_invoke();
            call.key(keys.base()).arg(keys.wake());
            for (due_at, envelope) in some {
                call.arg(due_at.map_or(0, |due| due_ms(due).max(1))).arg(envelope.encode());
            }
            let () = call.invoke_async(&mut connection).await?;
        }
        Ok(())
    }

    pub(crate) async fn promote(&self, queue: Queue) -> RedisResult<Promoted> {
        let keys = self.keys(queue);
        let (moved, next): (usize, String) = scripts::PROMOTE
            .key(keys.base())
            .arg(keys.wake())
            .arg(self.clock().now_ms())
            .arg(MAX_IDS)
            .invoke_async(&mut self.connection())
            .await?;
        let next_due_at = next.parse().ok().filter(|ms| *ms >= 0).and_then(DateTime::from_timestamp_millis);
        Ok(Promoted { moved, next_due_at })
    }

    pub(crate) async fn depth(&self, queue: Queue) -> RedisResult<Depth> {
        let keys = self.keys(queue);
        let rings = self.rings(queue).await?;
        let mut reads = redis::pipe();
        reads.zcard(keys.delayed()).zcard(keys.workers()).scard(keys.parked_groups());
        for ring in &rings {
            reads.llen(keys.ring(ring));
        }
        let counts: Vec<u64> = reads.query_async(&mut self.connection()).await?;
        let (of_queue, of_rings) = counts.split_at(3);
        Ok(Depth {
            turns: of_rings.iter().sum(),
            parked: of_queue[2],
            delayed: of_queue[0],
            workers: of_queue[1],
        })
    }

    pub(crate) async fn rings(&self, queue: Queue) -> RedisResult<Vec<Vec<u8>>> {
        self.connection().zrange(self.keys(queue).rings(), 0, -1).await
    }
}

/// A moment as the scripts take it. Rounded up: a job that comes a fraction of a millisecond before the slot that a budget
/// set aside for it would have to snooze again.
pub(crate) fn due_ms(due_at: DateTime<Utc>) -> i64 {
    let ms = due_at.timestamp_millis();
    if due_at.timestamp_subsec_nanos().is_multiple_of(1_000_000) { ms } else { ms + 1 }
}
