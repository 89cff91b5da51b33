//! When a kind fires by itself. Only data: the scheduler's `cron` service steps it.

use std::time::Duration;

/// What to do with ticks that passed while no scheduler ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Fire once for all of them.
    Once,
    /// Fire for none; the next tick comes at its time.
    Skip,
}

/// A kind's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Five or six fields (seconds first), as `*/15 * * * *`.
    pub expression: &'static str,
    /// IANA time zone in which the expression is meant.
    pub time_zone: &'static str,
    /// What to do with ticks that were missed.
    pub missed: Missed,
    /// Over how long the jobs of a tick are spread; none of them then begins with the tick itself.
    pub spread: Duration,
}

impl Schedule {
    /// A schedule in UTC that catches up once.
    #[must_use]
    pub const fn cron(expression: &'static str) -> Self {
        Self { expression, time_zone: "UTC", missed: Missed::Once, spread: Duration::ZERO }
    }

    /// The same wall-clock time in `time_zone` all year.
    #[must_use]
    pub const fn in_zone(mut self, time_zone: &'static str) -> Self {
        self.time_zone = time_zone;
        self
    }

    /// Spreads the jobs of a tick over so long, by their groups: each group has its place in every tick, so that it runs as
    /// regularly as the schedule, and thousands of groups never run in the same second.
    #[must_use]
    pub const fn spread(mut self, over: Duration) -> Self {
        self.spread = over;
        self
    }

    /// How long after a tick the job of a group is due.
    #[must_use]
    pub fn place(&self, kind: &str, group: &str) -> Duration {
        let milliseconds = self.spread.as_millis().max(1);
        let place = u128::from(fnv1a(kind.bytes().chain([b'/']).chain(group.bytes()))) % milliseconds;
        Duration::from_millis(u64::try_from(place).unwrap_or(0))
    }

    /// Lets missed ticks go.
    #[must_use]
    pub const fn skip_missed(mut self) -> Self {
        self.missed = Missed::Skip;
        self
    }
}

/// A hash that is the same in every process and release, so that a group keeps its place: FNV-1a of 64 bits, its halves folded
/// into each other because the low bits of short names differ little.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_spread_evenly_and_keep_their_places() {
        let schedule = Schedule::cron("*/15 * * * *").spread(Duration::from_secs(900));
        let groups: Vec<_> = (0..10_000).map(|n| format!("seller-{n}")).collect();
        let mut minutes = [0; 15];
        for group in &groups {
            let place = schedule.place("sync_orders", group);
            assert_eq!(place, schedule.place("sync_orders", group));
            minutes[usize::try_from(place.as_secs() / 60).expect("within the spread")] += 1;
        }
        // 667 on average; a fair die of 15 sides lies within 5 standard deviations of that.
        assert!(minutes.iter().all(|groups| (540..=795).contains(groups)), "{minutes:?}");
        assert_ne!(schedule.place("sync_orders", "a"), schedule.place("sync_inventory", "a"));
    }

    #[test]
    fn without_a_spread_all_are_due_with_the_tick() {
        assert_eq!(Schedule::cron("0 3 * * *").place("sync_orders", "seller"), Duration::ZERO);
    }
}
