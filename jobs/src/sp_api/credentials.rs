//! Whether Amazon takes our application's own credentials. While it does not, no seller can be served, so no call leaves this
//! process: jobs rest until a sign-in that is tried every few minutes, by one of them at a time, goes well again.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// How often it is tried whether the credentials are right again.
pub(crate) const TRIED_EVERY: TimeDelta = TimeDelta::minutes(3);
/// How long the others wait for whoever tries: longer than a sign-in takes with its repetitions.
const TRIAL: TimeDelta = TimeDelta::seconds(30);

/// What this process knows of our credentials.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// Set while they are refused: until when nobody asks.
    refused_until: Mutex<Option<DateTime<Utc>>>,
}

/// How a caller may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The credentials are right, as far as anybody knows.
    Open,
    /// They were refused, and it is this caller's turn to try them: with a sign-in, as a token from before tells nothing.
    Try,
    /// They are refused; not before this moment.
    Closed(DateTime<Utc>),
}

impl Credentials {
    /// Whether the caller may go on. Whoever may try must say what came of it.
    pub(super) fn ask(&self, now: DateTime<Utc>) -> Way {
        let mut refused_until = self.lock();
        match *refused_until {
            None => Way::Open,
            Some(until) if until > now => Way::Closed(until),
            Some(_) => {
                *refused_until = Some(now + TRIAL);
                Way::Try
            }
        }
    }

    /// Until when nobody asks, for who only wants to know.
    pub(super) fn closed_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.lock().filter(|until| *until > now)
    }

    /// A sign-in was refused because of our credentials. One line for each time that somebody tried.
    pub(super) fn refused(&self, way: Way, now: DateTime<Utc>) {
        metrics::counter!("amazon_credentials_refused_total").increment(1);
        let mut refused_until = self.lock();
        // Others were on their way when the first one learnt of it.
        if way == Way::Open && refused_until.is_some() {
            return;
        }
        *refused_until = Some(now + TRIED_EVERY);
        measure(true);
        tracing::error!("Amazon refuses our credentials: no seller can be served until they are right");
    }

    /// A sign-in told that our credentials are right, whatever else it said.
    pub(super) fn taken(&self) {
        if self.lock().take().is_some() {
            measure(false);
            tracing::info!("Amazon takes our credentials again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<DateTime<Utc>>> {
        self.refused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn measure(refused: bool) {
    metrics::gauge!("amazon_credentials_refused").set(if refused { 1.0 } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_tries_and_the_others_wait_for_it() {
        let credentials = Credentials::default();
        let start = DateTime::from_timestamp(1_790_000_000, 0).expect("a moment");
        assert_eq!(credentials.ask(start), Way::Open);
        credentials.refused(Way::Open, start);
        let due = start + TRIED_EVERY;
        assert_eq!(credentials.ask(start), Way::Closed(due));
        // One that was on its way learns it later, and does not put the trial off.
        credentials.refused(Way::Open, start + TimeDelta::minutes(1));
        assert_eq!(credentials.ask(due - TimeDelta::seconds(1)), Way::Closed(due));

        assert_eq!(credentials.ask(due), Way::Try);
        assert_eq!(credentials.ask(due), Way::Closed(due + TRIAL), "somebody tries");
        credentials.refused(Way::Try, due);
        assert_eq!(credentials.ask(due), Way::Closed(due + TRIED_EVERY));

        let again = due + TRIED_EVERY;
        assert_eq!(credentials.ask(again), Way::Try);
        credentials.taken();
        assert_eq!(credentials.ask(again), Way::Open);
    }

    #[test]
    fn a_trial_that_was_dropped_is_somebody_elses_turn() {
        let credentials = Credentials::default();
        let start = DateTime::from_timestamp(1_790_000_000, 0).expect("a moment");
        credentials.refused(Way::Open, start);
        let due = start + TRIED_EVERY;
        assert_eq!(credentials.ask(due), Way::Try);
        assert_eq!(credentials.ask(due + TRIAL), Way::Try);
    }
}
