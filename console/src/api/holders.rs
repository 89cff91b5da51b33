//! Who has which key: looked up in Postgres, remembered for a second at most, so that a revoked key ends within one.
//!
//! Each key has a limit of its own in this process. When keys were last used is written every few seconds for all together;
//! a process that is killed forgets the last of that.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use sqlx::PgPool;

use crate::{
    auth::api_key::{KeyId, KeyText, Scope},
    ops::keys::{self, FoundKey},
};

/// How long a look-up is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Most look-ups that are remembered.
const MOST_REMEMBERED: usize = 10_000;

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// Whoever asks with a key.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) key: Arc<FoundKey>,
}

impl Holder {
    /// Whether the key is for jobs of this kind.
    pub(super) fn may_see(&self, kind: &str) -> bool {
        self.key.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|one| one == kind))
    }

    pub(super) fn may(&self, scope: Scope) -> bool {
        self.key.scopes.contains(&scope)
    }

    /// As the audit log shows it.
    pub(super) fn actor(&self) -> String {
        format!("api:{}", self.key.owner)
    }

    /// The idempotency key as it is stored: two owners may use the same words.
    pub(super) fn idempotency_key(&self, given: &str) -> String {
        format!("api:{}:{given}", self.key.owner)
    }
}

/// What a limit says about a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Requests that may follow at once.
    pub(super) left: u32,
    /// Until when one more may come, where this one may not.
    pub(super) wait: Option<Duration>,
    /// Requests at once.
    pub(super) burst: u32,
    /// Until nothing is used any more.
    pub(super) window: Duration,
}

struct Remembered {
    key: Option<Arc<FoundKey>>,
    looked_at: Instant,
}

struct Limit {
    rate: i32,
    burst: i32,
    limiter: Limiter,
}

/// All keys that are in use.
pub(super) struct Holders {
    pool: PgPool,
    remembered: Mutex<HashMap<Vec<u8>, Remembered>>,
    limits: Mutex<HashMap<KeyId, Arc<Limit>>>,
    used: Mutex<HashMap<KeyId, DateTime<Utc>>>,
}

impl Holders {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, remembered: Mutex::default(), limits: Mutex::default(), used: Mutex::default() }
    }

    /// Whose key this is, whether it still opens or not.
    pub(super) async fn find(&self, key: &KeyText) -> Result<Option<Arc<FoundKey>>, sqlx::Error> {
        let hash = key.secret.hash();
        if let Some(known) = locked(&self.remembered).get(&hash)
            && known.looked_at.elapsed() < REMEMBERED
            && known.key.as_ref().is_none_or(|found| found.id == key.id)
        {
            return Ok(known.key.clone());
        }
        let looked_at = Instant::now();
        let found = keys::find(&mut *self.pool.acquire().await?, key).await?.map(Arc::new);
        let mut remembered = locked(&self.remembered);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, known| known.looked_at.elapsed() < REMEMBERED);
        }
        if remembered.len() < MOST_REMEMBERED {
            remembered.insert(hash, Remembered { key: found.clone(), looked_at });
        }
        Ok(found)
    }

    /// Takes a request from the key's limit.
    pub(super) fn allow(&self, key: &FoundKey) -> Allowance {
        let limit = self.limit(key);
        let (rate, burst) = (count(limit.rate), count(limit.burst));
        let window = Duration::from_secs_f64(f64::from(burst.get()) / f64::from(rate.get()));
        match limit.limiter.check() {
            Ok(state) => {
                Allowance { left: state.remaining_burst_capacity(), wait: None, burst: burst.get(), window }
            }
            Err(not_until) => {
                let now = DefaultClock::default().now();
                Allowance { left: 0, wait: Some(not_until.wait_time_from(now)), burst: burst.get(), window }
            }
        }
    }

    fn limit(&self, key: &FoundKey) -> Arc<Limit> {
        let mut limits = locked(&self.limits);
        let known =
            limits.get(&key.id).filter(|limit| limit.rate == key.rate_per_second && limit.burst == key.burst);
        if let Some(limit) = known {
            return Arc::clone(limit);
        }
        let quota = Quota::per_second(count(key.rate_per_second)).allow_burst(count(key.burst));
        let limiter = RateLimiter::direct(quota).with_middleware::<StateInformationMiddleware>();
        let limit = Arc::new(Limit { rate: key.rate_per_second, burst: key.burst, limiter });
        limits.insert(key.id, Arc::clone(&limit));
        limit
    }

    /// Notes that a key is used, to be written later.
    pub(super) fn note(&self, id: KeyId, now: DateTime<Utc>) {
        locked(&self.used).insert(id, now);
    }

    /// Writes when keys were used.
    pub(super) async fn write_used(&self) -> Result<(), sqlx::Error> {
        let used: Vec<_> = locked(&self.used).drain().collect();
        if used.is_empty() {
            return Ok(());
        }
        let written = async {
            let mut connection = self.pool.acquire().await?;
            keys::note_used(&mut connection, &used).await
        };
        let written = written.await;
        if written.is_err() {
            // Newer notes win.
            let mut notes = locked(&self.used);
            for (id, at) in used {
                notes.entry(id).or_insert(at);
            }
        }
        written
    }
}

/// The table's limits say 1 at least.
fn count(given: i32) -> NonZeroU32 {
    u32::try_from(given).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// What is behind the lock is whole after each statement, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
