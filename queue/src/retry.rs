//! Delays of durable retries, and the decision that a run's end leads to. Pure: they must survive restarts and be testable.

use std::{error::Error, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    failure::{Failure, chain},
    policy::Policy,
};

/// What becomes of a job after a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Ended well.
    Done {
        /// What the run reports.
        report: Value,
    },
    /// Failed; runs again.
    Retry {
        /// When.
        due_at: DateTime<Utc>,
        /// What went wrong.
        error: String,
    },
    /// Runs again later; nothing is counted.
    Snooze {
        /// When.
        due_at: DateTime<Utc>,
        /// What it waits for.
        waits_for: String,
    },
    /// Ended in failure.
    Dead {
        /// What went wrong.
        error: String,
    },
    /// Ended because it is not wanted any more.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// Ready again; nothing is counted.
    HandBack,
    /// Ready again, unless another worker holds it by now; Redis is not told, because this worker's word does not count there.
    LeaseLost,
}

/// Decides what becomes of a job. `attempts` are the failed ones before this run; `jitter` is in 0..1.
#[must_use]
pub fn verdict(
    result: Result<Value, Box<dyn Error + Send + Sync>>,
    policy: &Policy,
    attempts: i32,
    now: DateTime<Utc>,
    jitter: f64,
) -> Verdict {
    let failure = match result {
        Ok(report) => return Verdict::Done { report },
        Err(error) => match error.downcast::<RunFailed>() {
            Ok(failed) => failed.0,
            // Whatever else comes out of the stack (a panic) is worth another attempt.
            Err(other) => Failure::retry(other),
        },
    };
    match failure {
        Failure::Retry { error, after } => {
            let error = chain(error.as_ref());
            let failed = attempts + 1;
            if failed >= policy.max_attempts {
                return Verdict::Dead { error };
            }
            let delay = after.map_or_else(|| delay(policy, failed, jitter), |after| after.min(LONGEST_AFTER));
            Verdict::Retry { due_at: now + delay, error }
        }
        // A moment in the past would make the job spin.
        Failure::Snooze { until, waits_for } => {
            Verdict::Snooze { due_at: until.max(now + SHORTEST_SNOOZE), waits_for }
        }
        Failure::Reject { error } => Verdict::Dead { error: chain(error.as_ref()) },
        Failure::Cancel { reason } => Verdict::Cancelled { reason },
        Failure::HandedBack => Verdict::HandBack,
        Failure::LeaseLost => Verdict::LeaseLost,
    }
}

/// Longest delay that an error may ask for: it often comes from the other side, which may say anything.
const LONGEST_AFTER: Duration = Duration::from_secs(24 * 3_600);
const SHORTEST_SNOOZE: Duration = Duration::from_millis(1);

/// A [`Failure`] on its way through the worker's layers, which pass errors on.
#[derive(Debug, thiserror::Error)]
#[error("the run failed")]
pub struct RunFailed(pub Failure);

/// The delay before the next attempt: doubles with each failure, capped, and shortened by up to a quarter at random, so
/// that jobs that failed together do not come back together.
#[must_use]
pub fn delay(policy: &Policy, failed: i32, jitter: f64) -> Duration {
    let doublings = u32::try_from(failed - 1).unwrap_or(0).min(30);
    let full = policy.first_delay.saturating_mul(1 << doublings).min(policy.longest_delay);
    full.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const POLICY: Policy =
        Policy::sync().max_attempts(3).delays(Duration::from_secs(10), Duration::from_secs(60));

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a moment")
    }

    fn failed(failure: Failure, attempts: i32) -> Verdict {
        verdict(Err(Box::new(RunFailed(failure))), &POLICY, attempts, now(), 0.0)
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let seconds: Vec<_> = (1..=5).map(|failed| delay(&POLICY, failed, 0.0).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 60, 60]);
        assert_eq!(delay(&POLICY, 1, 1.0), Duration::from_millis(7_500));
        assert_eq!(delay(&POLICY, i32::MAX, 0.0), POLICY.longest_delay);
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let again = failed(Failure::retry("down"), 1);
        assert_eq!(
            again,
            Verdict::Retry { due_at: now() + TimeDelta::seconds(20), error: "down".to_owned() }
        );
        assert_eq!(failed(Failure::retry("down"), 2), Verdict::Dead { error: "down".to_owned() });
    }

    #[test]
    fn a_delay_of_the_errors_own_is_kept_within_a_day() {
        for (asked, given) in [(Duration::from_secs(90), 90), (Duration::MAX, 86_400)] {
            let later = failed(Failure::retry_after("busy", asked), 0);
            let due_at = now() + TimeDelta::seconds(given);
            assert_eq!(later, Verdict::Retry { due_at, error: "busy".to_owned() });
        }
    }

    #[test]
    fn a_snooze_counts_nothing_and_never_lies_in_the_past() {
        let until = now() + TimeDelta::hours(1);
        let later = failed(Failure::snooze(until, "getOrders"), 2);
        assert_eq!(later, Verdict::Snooze { due_at: until, waits_for: "getOrders".to_owned() });

        let past = failed(Failure::snooze(now() - TimeDelta::hours(1), "getOrders"), 0);
        assert!(matches!(past, Verdict::Snooze { due_at, .. } if due_at > now()), "{past:?}");
    }

    #[test]
    fn reject_is_at_once_and_a_panic_is_an_attempt() {
        assert_eq!(
            failed(Failure::reject("no such order"), 0),
            Verdict::Dead { error: "no such order".to_owned() }
        );
        let panic = verdict(Err("panicked".into()), &POLICY, 0, now(), 0.0);
        assert!(matches!(panic, Verdict::Retry { .. }), "{panic:?}");
    }
}
