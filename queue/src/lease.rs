//! Leases: a worker's time-limited right to running jobs.
//!
//! A worker holds all its jobs by one lease, renewed by one heartbeat. When it ends,
//! [`Engine::rescue`](crate::Engine::rescue) makes its jobs ready again. A lease is not what keeps a job from ending twice:
//! the ledger does, by the fencing token of the claim.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};

use crate::{
    JobId, WorkerId,
    engine::RedisSide,
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

/// The kinds that a worker takes, each up to a version of its payload. While a release is rolled out, what is too new for
/// a worker waits for one that knows it: it is not fetched and put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownKinds {
    /// As `claim.lua` takes them; empty for all.
    lines: Arc<[u8]>,
}

impl KnownKinds {
    /// Whatever kind and version there is.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// In [`KnownKinds::of`]: every version of a kind.
    pub const ANY_VERSION: u8 = 0;

    /// Whether jobs that wait in a ring are among them.
    pub(crate) fn takes(&self, ring: &[u8]) -> bool {
        let Some((_, [_, kind @ ..])) = ring.split_first() else { return self.lines.is_empty() };
        let line = |version: u8| [&[version], kind].concat();
        let known = |line: Vec<u8>| self.lines.split(|byte| *byte == b'\n').any(|one| one == line);
        self.lines.is_empty() || known(ring[1..].to_vec()) || known(line(Self::ANY_VERSION))
    }

    /// These kinds, each in the versions from 1 to the one given.
    #[must_use]
    pub fn of<'a>(kinds: impl IntoIterator<Item = (&'a str, u8)>) -> Self {
        let mut lines = vec![b'\n'];
        for (kind, newest) in kinds {
            for version in newest.min(1)..=newest {
                lines.push(version);
                lines.extend_from_slice(kind.as_bytes());
                lines.push(b'\n');
            }
        }
        Self { lines: lines.into() }
    }
}

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
    /// When it renewed its lease for the last time.
    pub last_seen_at: DateTime<Utc>,
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

impl RedisSide {
    pub(crate) async fn claim(
        &self,
        queue: Queue,
        worker: WorkerId,
        most: usize,
        known: &KnownKinds,
    ) -> RedisResult<Claimed> {
        let now = self.clock().now_ms();
        let mut answer: Vec<Vec<u8>> = scripts::CLAIM
            .key(self.keys(queue).base())
            .arg(now)
            .arg(now + lease_ms())
            .arg(worker.0.as_bytes())
            .arg(most.min(MAX_CLAIM))
            .arg(&*known.lines)
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

    pub(crate) async fn heartbeat(&self, queue: Queue, worker: WorkerId) -> RedisResult<bool> {
        let known: i32 = scripts::HEARTBEAT
            .key(self.keys(queue).base())
            .arg(self.clock().now_ms() + lease_ms())
            .arg(worker.0.as_bytes())
            .invoke_async(&mut self.connection())
            .await?;
        Ok(known == 1)
    }

    pub(crate) async fn end_leases(
        &self,
        queue: Queue,
        worker: WorkerId,
        ended: &Ended,
    ) -> RedisResult<usize> {
        let keys = self.keys(queue);
        let mut missing = 0;
        for some in pieces(ended) {
            let mut call = scripts::SETTLE.prepare_invoke();
            call.key(keys.base()).arg(keys.wake()).arg(worker.0.as_bytes());
            call.arg(some.finished.len()).arg(some.delayed.len());
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

    pub(crate) async fn rescue(&self, queue: Queue) -> RedisResult<Option<Rescued>> {
        let keys = self.keys(queue);
        let answer: Option<(Vec<u8>, usize, String)> = scripts::RESCUE
            .key(keys.base())
            .arg(keys.wake())
            .arg(self.clock().now_ms())
            .arg(MAX_IDS)
            .invoke_async::<redis::Value>(&mut self.connection())
            .await
            .and_then(|value| match value {
                redis::Value::Array(ref items) if items.is_empty() => Ok(None),
                value => Ok(Some(redis::from_redis_value(value)?)),
            })?;
        Ok(answer.and_then(|(worker, jobs, ended)| {
            let worker = WorkerId(uuid::Uuid::from_slice(&worker).ok()?);
            Some(Rescued { worker, jobs, last_seen_at: last_seen(ended.parse().ok()?) })
        }))
    }

    pub(crate) async fn resign(&self, queue: Queue, worker: WorkerId) -> RedisResult<bool> {
        let gone: i32 = scripts::RESIGN
            .key(self.keys(queue).base())
            .arg(worker.0.as_bytes())
            .invoke_async(&mut self.connection())
            .await?;
        Ok(gone == 1)
    }

    pub(crate) async fn workers(&self, queue: Queue) -> RedisResult<Vec<(WorkerId, DateTime<Utc>)>> {
        let found: Vec<(Vec<u8>, f64)> =
            self.connection().zrange_withscores(self.keys(queue).workers(), 0, -1).await?;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit a double exactly")]
        let seen = |ends: f64| last_seen(ends as i64);
        Ok(found
            .into_iter()
            .filter_map(|(id, ends)| Some((WorkerId(uuid::Uuid::from_slice(&id).ok()?), seen(ends))))
            .collect())
    }

    pub(crate) async fn held_by(&self, queue: Queue, worker: WorkerId) -> RedisResult<HashSet<JobId>> {
        let ids: Vec<Vec<u8>> = self.connection().hkeys(self.keys(queue).lease(worker)).await?;
        Ok(ids.iter().filter_map(|id| Envelope::id_of(id)).collect())
    }

    pub(crate) async fn still_leased(
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

    pub(crate) async fn raise_fence(&self, queue: Queue, fence: i64) -> RedisResult<()> {
        scripts::RAISE_FENCE
            .key(self.keys(queue).base())
            .arg(fence)
            .invoke_async::<()>(&mut self.connection())
            .await
    }
}

/// When a lease was renewed that ends at this moment (ms).
pub(crate) fn last_seen(ends_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ends_ms - lease_ms()).unwrap_or_default()
}

/// As the scripts take it.
pub(crate) fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// Cuts into calls of at most [`MAX_IDS`] ids.
fn pieces(ended: &Ended) -> Vec<Ended> {
    let mut pieces: Vec<Ended> = Vec::new();
    let mut count = MAX_IDS;
    let mut last = |pieces: &mut Vec<Ended>| {
        if count == MAX_IDS {
            pieces.push(Ended::default());
            count = 0;
        }
        count += 1;
        pieces.len() - 1
    };
    for id in &ended.finished {
        let last = last(&mut pieces);
        pieces[last].finished.push(*id);
    }
    for delayed in &ended.delayed {
        let last = last(&mut pieces);
        pieces[last].delayed.push(*delayed);
    }
    for id in &ended.handed_back {
        let last = last(&mut pieces);
        pieces[last].handed_back.push(*id);
    }
    pieces
}
