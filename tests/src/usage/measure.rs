//! What is measured: calls granted against the plan without its burst, whether work waited for them, and whether the host had
//! processors left.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, Utc};
use jobs::sp_api::Operation as Ours;
use sandbox::{Call, Operation, Summary};
use serde::Serialize;

use super::Options;
use crate::{amazon::Amazon, ledger::Jobs};

/// The operations that more work waits for than their plans allow, with the question whether some waits now.
pub(super) const CONTENDED: [(Operation, &str); 3] = [
    (
        Operation::SearchOrders,
        "select exists (select from jobs where finished_at is null and kind = 'backfill_orders')",
    ),
    (
        Operation::GetSolicitationActionsForOrder,
        "select exists (select from jobs where finished_at is null and kind = 'send_review_request' and state <> 'running')",
    ),
    (
        Operation::GetOrderMetrics,
        "select exists (select from order_metrics_asked where asin <> '' and (asked_at is null or asked_at < wanted_at))",
    ),
];
/// Share of a contended plan that must be used.
const ENOUGH: f64 = 0.97;
/// A host whose processors rest less than this cannot make more calls.
const RESTS: f64 = 0.05;

/// Whether work waited at each look.
#[derive(Debug, Default)]
pub(super) struct Contention {
    waited: BTreeMap<Operation, bool>,
}

impl Contention {
    pub(super) fn note(&mut self, operation: Operation, waits: bool) {
        let always = self.waited.entry(operation).or_insert(true);
        *always &= waits;
    }
}

/// Time of the host's processors, in ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Processors {
    idle: u64,
    all: u64,
}

impl Processors {
    /// Since the host started.
    pub(super) fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        // The fourth is idle, the fifth waits for disks.
        let idle = ticks.iter().skip(3).take(2).sum();
        Ok(Self { idle, all: ticks.iter().sum() })
    }

    /// The share of the time since `earlier` in which they had nothing to do.
    pub(super) fn idle_since(&self, earlier: &Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.idle.saturating_sub(earlier.idle) as f64 / all as f64
    }
}

/// How one plan was used.
#[derive(Debug, Serialize)]
struct Used {
    /// Calls that were granted in the time that counts.
    granted: usize,
    /// What the plan grants in it, without its burst.
    plan: f64,
    /// The share of the plan that was used. Where work waited all the time: from the last call before that time to the first
    /// one after it, so that rare calls are measured as exactly as frequent ones.
    used: f64,
    /// Whether more work waited all the time.
    contended: bool,
    /// Calls that were one too many.
    throttled: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) ok: bool,
    hours: f64,
    speed: f64,
    workers: u32,
    throttled: u64,
    duplicate_requests: u64,
    operations: BTreeMap<&'static str, Used>,
    /// The share of the time in which the host's processors had nothing to do.
    processors_idle: f64,
    /// Whether the host had processors left to make more calls.
    host_kept_up: bool,
    kinds: BTreeMap<String, Jobs>,
    complaints: Vec<String>,
}

impl Verdict {
    pub(super) fn of(
        options: &Options,
        time: (DateTime<Utc>, DateTime<Utc>),
        calls: &[Call],
        contention: &Contention,
        processors_idle: f64,
        summary: &Summary,
        kinds: BTreeMap<String, Jobs>,
    ) -> Self {
        let operations: BTreeMap<_, _> = Ours::ALL
            .into_iter()
            .filter_map(|ours| {
                let entry = ours.entry();
                let theirs: Operation = serde_json::from_value(entry.name.into()).ok()?;
                let contended = contention.waited.get(&theirs).copied().unwrap_or(false);
                let calls = calls.iter().filter(|call| call.operation == Some(theirs));
                let (throttled, granted): (Vec<_>, Vec<_>) = calls.partition(|call| call.status == Some(429));
                let moments: Vec<_> = granted.into_iter().map(|call| call.at).collect();
                let used = used(&moments, time, entry.plan.rate * options.speed, contended);
                Some((entry.name, Used { throttled: throttled.len(), ..used }))
            })
            .collect();
        let host_kept_up = processors_idle >= RESTS;
        let mut complaints = Vec::new();
        let mut ok = true;
        for (name, used) in &operations {
            if used.contended && used.used < ENOUGH {
                ok &= !host_kept_up;
                complaints.push(format!("{name}: {:.1} % of its plan used", used.used * 100.0));
            }
        }
        if !operations.values().any(|used| used.contended) {
            ok = false;
            complaints.push("no work waited all the time: nothing was measured".to_owned());
        }
        for (what, count) in [
            ("calls were throttled", summary.throttled),
            ("buyers were asked twice", summary.duplicate_requests),
        ] {
            if count > 0 {
                ok = false;
                complaints.push(format!("{count} {what}"));
            }
        }
        if !host_kept_up && !complaints.is_empty() {
            complaints.push(
                "this host's processors had no rest: it cannot make so many calls, try a lower --speed"
                    .to_owned(),
            );
        }
        Self {
            ok,
            hours: options.hours,
            speed: options.speed,
            workers: options.workers,
            throttled: summary.throttled,
            duplicate_requests: summary.duplicate_requests,
            operations,
            processors_idle,
            host_kept_up,
            kinds,
            complaints,
        }
    }
}

/// How a plan of so many calls a second was used by calls at these moments, oldest first.
fn used(
    calls: &[DateTime<Utc>],
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    rate: f64,
    contended: bool,
) -> Used {
    let granted = calls.iter().filter(|at| (from..until).contains(*at)).count();
    let plan = rate * (until - from).as_seconds_f64();
    let before = calls.iter().rev().find(|at| **at < from);
    let after = calls.iter().find(|at| **at >= until);
    let used = match (before, after) {
        (Some(before), Some(after)) if contended => {
            (granted + 1) as f64 / (rate * (*after - *before).as_seconds_f64())
        }
        _ => granted as f64 / plan,
    };
    Used { granted, plan, used, contended, throttled: 0 }
}

/// Every call since then that the sandbox remembers.
pub(super) async fn calls_since(amazon: &Amazon, since: DateTime<Utc>) -> anyhow::Result<Vec<Call>> {
    let (mut calls, mut after) = (Vec::new(), 0);
    loop {
        let page = amazon.calls(after).await?;
        let Some(last) = page.calls.last() else { return Ok(calls) };
        after = last.seq;
        calls.extend(page.calls.into_iter().filter(|call| call.at >= since));
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(seconds: f64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds((seconds * 1e3) as i64)
    }

    #[test]
    fn rare_calls_are_measured_by_their_intervals() {
        // One call in ten seconds, all of them made: the time that counts has nine or ten of them, by chance.
        let calls: Vec<_> = (0..=20).map(|number| at(f64::from(number) * 10.0 + 3.0)).collect();
        let all = used(&calls, (at(4.0), at(97.0)), 0.1, true);
        assert_eq!((all.granted, all.used), (9, 1.0));
        let half: Vec<_> = calls.iter().step_by(2).copied().collect();
        assert_eq!(used(&half, (at(4.0), at(97.0)), 0.1, true).used, 0.5);
    }

    #[test]
    fn a_plan_without_demand_is_measured_by_its_calls() {
        let few = used(&[at(1.0), at(50.0), at(60.0)], (at(10.0), at(110.0)), 1.0, false);
        assert_eq!((few.granted, few.plan, few.used), (2, 100.0, 0.02));
    }

    #[test]
    fn work_must_wait_at_each_look() {
        let mut contention = Contention::default();
        for waits in [true, false, true] {
            contention.note(Operation::SearchOrders, waits);
        }
        contention.note(Operation::GetReport, true);
        assert_eq!(
            contention.waited,
            [(Operation::SearchOrders, false), (Operation::GetReport, true)].into()
        );
    }
}
