//! What is measured: how old each data set is, how much of Amazon's plans is used, what became of review requests.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use jobs::sp_api::Operation;
use serde::Serialize;

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// By data set: how many seconds old it was, counted, over all samples and sellers.
    ages: BTreeMap<&'static str, BTreeMap<u32, u64>>,
    /// One for each time it was looked.
    pub(crate) samples: Vec<Sample>,
    pub(crate) calls: BTreeMap<&'static str, u64>,
    pub(crate) runs: BTreeMap<&'static str, u64>,
    pub(crate) snoozes: u64,
}

/// How things stood at a moment.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Hours since the beginning.
    pub(crate) hour: f64,
    /// By data set: median and 99th percentile, in seconds.
    pub(crate) ages: BTreeMap<&'static str, (u32, u32)>,
    /// By operation: calls since the sample before, as a part of what the plans of all connected sellers give in that time.
    pub(crate) used: BTreeMap<&'static str, f64>,
}

/// What became of review requests.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Reviews {
    /// Orders whose window was open and for which Amazon would have offered the request.
    pub(crate) eligible: u64,
    /// Requests that Amazon took.
    pub(crate) sent: u64,
    /// Eligible orders whose window closed before their request was sent.
    pub(crate) missed_window: u64,
}

/// How old a data set was, over all samples and sellers.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Age {
    pub(crate) p50_s: u32,
    pub(crate) p99_s: u32,
    pub(crate) max_s: u32,
}

impl Measure {
    /// Takes the ages of a data set of all sellers at a moment.
    pub(crate) fn ages(&mut self, sample: &mut Sample, data_set: &'static str, mut ages: Vec<u32>) {
        if ages.is_empty() {
            return;
        }
        ages.sort_unstable();
        let at = |part: usize| ages[(ages.len() - 1) * part / 100];
        sample.ages.insert(data_set, (at(50), at(99)));
        let counted = self.ages.entry(data_set).or_default();
        for age in ages {
            *counted.entry(age).or_default() += 1;
        }
    }

    /// The ages of each data set.
    pub(crate) fn all_ages(&self) -> BTreeMap<&'static str, Age> {
        self.ages.iter().map(|(data_set, counted)| (*data_set, age(counted))).collect()
    }

    /// Counts calls.
    pub(crate) fn called(&mut self, calls: &BTreeMap<Operation, u64>) {
        for (operation, count) in calls {
            *self.calls.entry(operation.entry().name).or_default() += count;
        }
    }
}

fn age(counted: &BTreeMap<u32, u64>) -> Age {
    let all: u64 = counted.values().sum();
    let at = |part: u64| {
        let mut left = all * part / 100;
        let found = counted.iter().find(|(_, count)| {
            let here = left < **count;
            left = left.saturating_sub(**count);
            here
        });
        found.or(counted.last_key_value()).map_or(0, |(age, _)| *age)
    };
    Age { p50_s: at(50), p99_s: at(99), max_s: counted.last_key_value().map_or(0, |(age, _)| *age) }
}

/// Whole seconds from one moment to another.
pub(crate) fn seconds(span: TimeDelta) -> u32 {
    u32::try_from(span.num_seconds().max(0)).unwrap_or(u32::MAX)
}

/// How old something is that reaches to `at`.
pub(crate) fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> u32 {
    seconds(now - at)
}

/// The most memory that this process has used, in MiB; 0 where the system does not tell.
pub(crate) fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1_024
}
