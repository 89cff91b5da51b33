//! How far a run has come, as it tells. The worker writes it into the ledger about once a second while it changes, so that
//! telling costs a run nothing.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::storable;

/// How far a run has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Pieces done.
    pub done: u64,
    /// Pieces in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What it is doing, for people; no personal data, at most 500 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

const MAX_MESSAGE_BYTES: usize = 500;

/// Where a run tells how far it has come.
#[derive(Debug, Clone, Default)]
pub struct ProgressTold {
    last: Arc<Mutex<Option<Progress>>>,
}

impl ProgressTold {
    /// Tells how many pieces are done, of how many if that is known.
    pub fn tell(&self, done: u64, total: Option<u64>) {
        self.set(Progress { done, total, message: None });
    }

    /// The same with a word for people; no personal data.
    pub fn tell_with(&self, done: u64, total: Option<u64>, message: &str) {
        let end = (0..=message.len().min(MAX_MESSAGE_BYTES)).rev().find(|end| message.is_char_boundary(*end));
        let message = storable::text(&message[..end.unwrap_or(0)]);
        self.set(Progress { done, total, message: Some(message) });
    }

    fn set(&self, progress: Progress) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// What was told since the last time.
    pub(crate) fn take(&self) -> Option<Progress> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_word_counts_and_only_once() {
        let told = ProgressTold::default();
        told.tell(1, Some(10));
        told.tell_with(2, Some(10), &"é".repeat(400));
        let progress = told.take().expect("it was told");
        assert_eq!((progress.done, progress.total), (2, Some(10)));
        assert_eq!(progress.message.expect("with a word").len(), 500);
        assert_eq!(told.take(), None);
    }
}
