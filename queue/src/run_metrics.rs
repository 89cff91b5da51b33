//! Counts runs and how long they took. The handles are kept: looking a metric up by its labels costs more than a small run.

use std::{collections::HashMap, time::Duration};

use metrics::{Counter, Histogram};

use crate::{policy::Queue, retry::Verdict};

/// The metrics of one worker's runs.
#[derive(Default)]
pub(crate) struct RunMetrics {
    kinds: HashMap<String, OfKind>,
}

struct OfKind {
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

const OUTCOMES: [&str; 7] = ["done", "retry", "snooze", "dead", "cancelled", "handed_back", "lease_lost"];

const fn outcome(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Done { .. } => 0,
        Verdict::Retry { .. } => 1,
        Verdict::Snooze { .. } => 2,
        Verdict::Dead { .. } => 3,
        Verdict::Cancelled { .. } => 4,
        Verdict::HandBack => 5,
        Verdict::LeaseLost => 6,
    }
}

impl RunMetrics {
    pub(crate) fn count(&mut self, queue: Queue, kind: &str, verdict: &Verdict, took: Duration) {
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.to_owned(), OfKind::new(queue, kind));
        }
        if let Some(of_kind) = self.kinds.get(kind) {
            of_kind.outcomes[outcome(verdict)].increment(1);
            of_kind.seconds.record(took.as_secs_f64());
        }
    }
}

impl OfKind {
    fn new(queue: Queue, kind: &str) -> Self {
        let (kind, queue) = (kind.to_owned(), queue.name());
        let counter = |outcome: &'static str| metrics::counter!("runs_total", "kind" => kind.clone(), "queue" => queue, "outcome" => outcome);
        Self {
            outcomes: OUTCOMES.map(counter),
            seconds: metrics::histogram!("run_seconds", "kind" => kind.clone()),
        }
    }
}
