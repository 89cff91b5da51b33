//! How a run ends when it does not end well: the error carries its decision, made where the cause is known.

use std::{error::Error, time::Duration};

use chrono::{DateTime, Utc};

use crate::storable;

/// How a run ends.
pub type Outcome<T> = Result<T, Failure>;

type Cause = Box<dyn Error + Send + Sync + 'static>;

/// A run that did not end well, and what to do about it.
#[derive(Debug)]
pub enum Failure {
    /// Try again after the policy's delay; counts as an attempt.
    Retry {
        /// What went wrong.
        error: Cause,
        /// A delay of its own instead of the policy's.
        after: Option<Duration>,
    },
    /// Run again at a known moment: an empty budget, a 429. Counts no attempt and holds no slot meanwhile.
    Snooze {
        /// The moment.
        until: DateTime<Utc>,
        /// What it waits for, for people.
        waits_for: String,
    },
    /// Never again: to the dead letters at once.
    Reject {
        /// What went wrong.
        error: Cause,
    },
    /// Never again, and nobody needs to decide about it: what it was to do is not wanted any more.
    Cancel {
        /// Why.
        reason: String,
    },
    /// The worker stops and hands the job back; counts nothing. Only the worker says this.
    HandedBack,
    /// The worker no longer holds the lease; whoever does decides. Only the worker says this.
    LeaseLost,
}

impl Failure {
    /// Try again after the policy's delay.
    pub fn retry(error: impl Into<Cause>) -> Self {
        Self::Retry { error: error.into(), after: None }
    }

    /// Try again after `delay`.
    pub fn retry_after(error: impl Into<Cause>, delay: Duration) -> Self {
        Self::Retry { error: error.into(), after: Some(delay) }
    }

    /// Run again at `until`, not counted.
    pub fn snooze(until: DateTime<Utc>, waits_for: impl Into<String>) -> Self {
        Self::Snooze { until, waits_for: waits_for.into() }
    }

    /// Never again.
    pub fn reject(error: impl Into<Cause>) -> Self {
        Self::Reject { error: error.into() }
    }

    /// Never again: the work is not wanted any more.
    pub fn cancel(reason: impl Into<String>) -> Self {
        Self::Cancel { reason: reason.into() }
    }
}

/// Most bytes of an error's text that are stored.
const MAX_ERROR_BYTES: usize = 4_000;

/// An error with all its causes in one line, cut to what is stored.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    let mut text = storable::text(&text);
    if text.len() > MAX_ERROR_BYTES {
        let end = (0..=MAX_ERROR_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Errors of the database are worth another attempt: a lost connection, a restart, a lock.
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::retry(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not fetch the page")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(std::io::Error::other("connection reset"));
        assert_eq!(chain(&error), "could not fetch the page: connection reset");
    }

    #[test]
    fn a_long_or_odd_error_is_stored_all_the_same() {
        let error = std::io::Error::other(format!("\0{}", "é".repeat(5_000)));
        let text = chain(&error);
        assert!(text.len() <= MAX_ERROR_BYTES + '…'.len_utf8());
        assert!(text.starts_with('\u{fffd}') && text.ends_with('…'));
    }
}
