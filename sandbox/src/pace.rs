//! How fast Amazon's quotas and lifetimes run against the wall clock.
//!
//! Quotas refill and tokens age in **Amazon time**: wall time multiplied by the speed. Dates that orders carry, and the rules
//! that look at them, stay on the wall clock, because the client computes with those dates too. Whoever obeys the rate header
//! and `expires_in` therefore needs no change to run against a faster sandbox: it simply sees a bigger plan.
//!
//! It does not promise that Amazon time can be turned back into a date.

use chrono::{DateTime, Utc};
use std::sync::Arc;

/// The wall clock, handed in so that a test can own it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The slowest and the fastest speed that can be set.
pub(crate) const SPEEDS: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

/// Nothing lives shorter than this, in wall seconds: a client must be able to use what it was just given.
const SHORTEST_LIFE_SECONDS: f64 = 5.0;

/// A moment in Amazon time, in seconds since the sandbox began.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct AmazonTime(f64);

impl AmazonTime {
    /// Seconds of Amazon time from `earlier` to `self`; zero if the wall clock was set back in between.
    pub(crate) fn seconds_since(self, earlier: AmazonTime) -> f64 {
        (self.0 - earlier.0).max(0.0)
    }

    /// The moment that many seconds of Amazon time later.
    pub(crate) fn plus_seconds(self, seconds: f64) -> AmazonTime {
        AmazonTime(self.0 + seconds)
    }
}

/// A lifetime as the client hears of it and as the sandbox counts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lifetime {
    /// Whole seconds on the wall clock: what `expires_in` says.
    pub(crate) wall_seconds: u64,
    /// When it ends.
    pub(crate) ends: AmazonTime,
}

/// Translates wall time to Amazon time, also across changes of the speed.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    speed: f64,
    changed_at: DateTime<Utc>,
    elapsed_when_changed: f64,
}

impl Pace {
    /// Starts Amazon time at zero.
    pub(crate) fn new(now: DateTime<Utc>, speed: f64) -> Pace {
        Pace { speed, changed_at: now, elapsed_when_changed: 0.0 }
    }

    /// Seconds of Amazon time in one wall second.
    pub(crate) fn speed(&self) -> f64 {
        self.speed
    }

    /// The Amazon time at `now`.
    pub(crate) fn at(&self, now: DateTime<Utc>) -> AmazonTime {
        let wall = (now - self.changed_at).as_seconds_f64();
        AmazonTime(self.elapsed_when_changed + wall * self.speed)
    }

    /// Runs at `speed` from `now` on. What has elapsed stays elapsed.
    pub(crate) fn change(&mut self, now: DateTime<Utc>, speed: f64) {
        self.elapsed_when_changed = self.at(now).0;
        self.changed_at = now;
        self.speed = speed;
    }

    /// The life of something that Amazon lets live for `seconds`, beginning at `now`.
    pub(crate) fn lifetime(&self, now: DateTime<Utc>, seconds: f64) -> Lifetime {
        let wall = (seconds / self.speed).max(SHORTEST_LIFE_SECONDS).round();
        Lifetime { wall_seconds: wall as u64, ends: self.at(now).plus_seconds(wall * self.speed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    #[test]
    fn a_change_of_speed_keeps_what_has_elapsed() {
        let mut pace = Pace::new(noon(), 10.0);
        let start = pace.at(noon());
        let later = noon() + TimeDelta::seconds(6);
        assert_eq!(pace.at(later).seconds_since(start), 60.0);

        pace.change(later, 1.0);
        assert_eq!(pace.at(later).seconds_since(start), 60.0);
        assert_eq!(pace.at(later + TimeDelta::seconds(6)).seconds_since(start), 66.0);
    }

    #[test]
    fn lifetimes_shrink_with_speed_but_stay_usable() {
        let ordinary = Pace::new(noon(), 1.0).lifetime(noon(), 3600.0);
        assert_eq!((ordinary.wall_seconds, ordinary.ends), (3600, AmazonTime(3600.0)));

        let quick = Pace::new(noon(), 60.0).lifetime(noon(), 3600.0);
        assert_eq!((quick.wall_seconds, quick.ends), (60, AmazonTime(3600.0)));

        let shortest = Pace::new(noon(), 100_000.0).lifetime(noon(), 3600.0);
        assert_eq!((shortest.wall_seconds, shortest.ends), (5, AmazonTime(500_000.0)));
    }

    #[test]
    fn a_clock_that_was_set_back_never_gives_negative_time() {
        let pace = Pace::new(noon(), 1.0);
        assert_eq!(pace.at(noon() - TimeDelta::hours(1)).seconds_since(pace.at(noon())), 0.0);
    }
}
