//! Where time comes from.
//!
//! Production follows Redis' own clock ([`RedisClock`]), so that hosts with wrong clocks agree about what is due.
//! Tests own time ([`FakeClock`]). Nothing else in the workspace asks the system for the date; the linter forbids it.

use std::{
    fmt::Debug,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;

/// Tells the present moment.
pub trait Clock: Send + Sync + Debug {
    /// The present moment, UTC.
    fn now(&self) -> DateTime<Utc>;

    /// The present moment in milliseconds since 1970, as the scripts in Redis take it.
    fn now_ms(&self) -> i64 {
        self.now().timestamp_millis()
    }
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the host")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Redis' clock: the host's clock corrected by the offset last measured.
///
/// Between two measurements it runs at the host's speed; while Redis is away it keeps the last offset.
#[derive(Debug, Clone, Default)]
pub struct RedisClock {
    offset_us: Arc<AtomicI64>,
}

/// How often the offset to Redis' clock is measured again.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

impl RedisClock {
    /// Measures the offset once and keeps it fresh until `stop` is cancelled.
    ///
    /// # Errors
    /// When Redis does not answer `TIME` the first time.
    pub async fn follow(redis: &Redis, stop: CancellationToken) -> Result<Self, ::redis::RedisError> {
        let clock = Self::default();
        clock.measure(redis).await?;
        let (follower, redis) = (clock.clone(), redis.clone());
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(MEASURE_EVERY)).await.is_some() {
                if let Err(error) = follower.measure(&redis).await {
                    tracing::debug!(%error, "keeping the last offset to the clock of Redis");
                }
            }
        });
        Ok(clock)
    }

    async fn measure(&self, redis: &Redis) -> Result<(), ::redis::RedisError> {
        let before = SystemClock.now();
        let (seconds, micros): (i64, i64) = ::redis::cmd("TIME").query_async(&mut redis.connection()).await?;
        let after = SystemClock.now();
        // Redis read its clock somewhere between our two readings; the middle is the best guess.
        let ours = (before.timestamp_micros() + after.timestamp_micros()) / 2;
        self.offset_us.store(seconds * 1_000_000 + micros - ours, Ordering::Relaxed);
        Ok(())
    }
}

impl Clock for RedisClock {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + chrono::Duration::microseconds(self.offset_us.load(Ordering::Relaxed))
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Clone)]
pub struct FakeClock {
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl FakeClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
    }

    /// Sets the clock, backwards too: hosts do that.
    pub fn set(&self, to: DateTime<Utc>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fake_clock_stands_still_until_moved() {
        let start = SystemClock.now();
        let clock = FakeClock::at(start);
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now(), start + chrono::Duration::seconds(90));
    }

    #[test]
    fn the_offset_is_added() {
        let clock = RedisClock::default();
        clock.offset_us.store(3_600_000_000, Ordering::Relaxed);
        let ahead = clock.now() - SystemClock.now();
        assert!(ahead > chrono::Duration::minutes(59) && ahead < chrono::Duration::minutes(61), "{ahead}");
    }
}
