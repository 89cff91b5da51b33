//! What waits: pushing entries, and promoting those that are due.

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};

use crate::{Engine, envelope::Envelope, policy::Queue, scripts, scripts::MAX_IDS};

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
    /// Groups that have something ready.
    pub groups: u64,
    /// Entries that wait for their moment.
    pub delayed: u64,
    /// Workers that hold or held leases.
    pub workers: u64,
}

/// An entry to push, with the moment before which it must not run.
pub type Entry = (Option<DateTime<Utc>>, Envelope);

impl Engine {
    /// Pushes entries, each now or at its moment. Idle workers hear of it. Pushing one twice is harmless: the ledger
    /// runs one copy.
    ///
    /// # Errors
    /// When Redis fails; then any part of them may have been pushed, so push all again.
    pub async fn push(&self, queue: Queue, entries: &[Entry]) -> RedisResult<()> {
        let keys = self.keys(queue);
        let mut connection = self.connection();
        for some in entries.chunks(MAX_IDS) {
            let mut call = scripts::PUSH.prepare_invoke();
            call.key(keys.ring()).key(keys.delayed()).key(keys.groups()).arg(keys.wake());
            for (due_at, envelope) in some {
                call.arg(due_at.map_or(0, |due| due_ms(due).max(1))).arg(envelope.encode());
            }
            let () = call.invoke_async(&mut connection).await?;
        }
        Ok(())
    }

    /// Makes ready what is due, at most 500 entries; call again while `moved` is that many.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn promote(&self, queue: Queue) -> RedisResult<Promoted> {
        let keys = self.keys(queue);
        let (moved, next): (usize, String) = scripts::PROMOTE
            .key(keys.delayed())
            .key(keys.ring())
            .key(keys.groups())
            .arg(keys.wake())
            .arg(self.clock().now_ms())
            .arg(MAX_IDS)
            .invoke_async(&mut self.connection())
            .await?;
        let next_due_at = next.parse().ok().filter(|ms| *ms >= 0).and_then(DateTime::from_timestamp_millis);
        Ok(Promoted { moved, next_due_at })
    }

    /// What the queue holds; three constant-time reads.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn depth(&self, queue: Queue) -> RedisResult<Depth> {
        let keys = self.keys(queue);
        let (groups, delayed, workers) = redis::pipe()
            .llen(keys.ring())
            .zcard(keys.delayed())
            .zcard(keys.workers())
            .query_async(&mut self.connection())
            .await?;
        Ok(Depth { groups, delayed, workers })
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> RedisResult<()> {
        self.connection().ping::<()>().await
    }
}

/// A moment as the scripts take it. Rounded up: a job that comes a fraction of a millisecond before the slot that a budget
/// set aside for it would have to snooze again.
pub(crate) fn due_ms(due_at: DateTime<Utc>) -> i64 {
    let ms = due_at.timestamp_millis();
    if due_at.timestamp_subsec_nanos().is_multiple_of(1_000_000) { ms } else { ms + 1 }
}
