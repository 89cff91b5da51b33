//! Lengths of time, counted in fixed buckets, so that counts of different minutes can be added and asked for a percentile.
//!
//! A bucket is about 1.4 times as wide as the one before it (two make a doubling), from a millisecond to 18 hours: a
//! percentile read from it is right to a fifth at worst.

use std::time::Duration;

/// Bounds between buckets: so many half doublings of a millisecond.
const BOUNDS: u32 = 53;

/// How many lengths of time fell into which bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<i32>,
}

impl Histogram {
    /// As it was stored.
    #[must_use]
    pub fn stored(counts: Vec<i32>) -> Self {
        let mut read = Self { counts };
        read.trim();
        read
    }

    /// As it is stored: a count for each bucket, without the zeros at the end.
    #[must_use]
    pub fn counts(&self) -> &[i32] {
        &self.counts
    }

    /// The bounds between the buckets, in milliseconds, as Postgres' `width_bucket` takes them.
    #[must_use]
    pub fn bounds_ms() -> Vec<f64> {
        (0..BOUNDS).map(bound_ms).collect()
    }

    /// Adds `count` lengths of time that are all in this bucket.
    pub fn add(&mut self, bucket: i32, count: i64) {
        let Ok(bucket) = usize::try_from(bucket) else { return };
        let bucket = bucket.min(BOUNDS as usize);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] = self.counts[bucket].saturating_add(i32::try_from(count).unwrap_or(i32::MAX));
        self.trim();
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.counts.iter().map(|count| i64::from(*count)).sum()
    }

    /// The length of time that this share of them did not exceed; `None` when there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let wanted = share.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (bucket, count) in (0_u32..).zip(&self.counts).filter(|(_, count)| **count > 0) {
            let here = f64::from(*count);
            if below + here >= wanted {
                let (from, to) = (lower_ms(bucket), bound_ms(bucket));
                let ms = (to - from).mul_add((wanted - below) / here, from);
                return Some(Duration::from_secs_f64(ms / 1_000.0));
            }
            below += here;
        }
        None
    }

    fn trim(&mut self) {
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
    }
}

/// Where a bucket ends.
fn bound_ms(bucket: u32) -> f64 {
    (f64::from(bucket) / 2.0).exp2()
}

fn lower_ms(bucket: u32) -> f64 {
    bucket.checked_sub(1).map_or(0.0, bound_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Postgres finds it.
    fn bucket(ms: f64) -> i32 {
        i32::try_from(Histogram::bounds_ms().iter().filter(|bound| **bound <= ms).count()).expect("few")
    }

    #[test]
    fn a_percentile_is_right_to_a_fifth() {
        let mut histogram = Histogram::default();
        for ms in 1..=10_000 {
            histogram.add(bucket(f64::from(ms)), 1);
        }
        for (share, right) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0), (0.01, 100.0)] {
            let told = histogram.percentile(share).expect("there are some").as_secs_f64() * 1_000.0;
            assert!((told / right - 1.0).abs() < 0.2, "{share}: {told} is not {right}");
        }
        assert_eq!(histogram.total(), 10_000);
    }

    #[test]
    fn what_is_added_is_what_was_counted_apart() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.add(3, 2);
        other.add(9, 1);
        other.add(3, 5);
        let mut both = Histogram::default();
        for (bucket, count) in [(3, 7), (9, 1)] {
            both.add(bucket, count);
        }
        one.merge(&other);
        assert_eq!(one, both);
        assert_eq!(one.counts(), [0, 0, 0, 7, 0, 0, 0, 0, 0, 1]);
        assert_eq!(Histogram::stored(vec![1, 0, 0]).counts(), [1], "zeros at the end are not kept");
    }

    #[test]
    fn the_longest_fall_into_the_last_bucket_and_nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(0.5), None);
        let mut histogram = Histogram::default();
        histogram.add(bucket(1e12), 1);
        assert_eq!(histogram.counts().len(), BOUNDS as usize + 1);
        assert!(histogram.percentile(0.5) > Some(Duration::from_secs(18 * 3_600)));
        histogram.add(-1, 3);
        assert_eq!(histogram.total(), 1, "there is no such bucket");
    }
}
