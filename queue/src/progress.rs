//! How far a run has come, as it tells ([`Signals::tell`](crate::Signals::tell)). The worker writes it into the ledger about
//! once a second while it changes, so that telling costs a run nothing.

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

impl Progress {
    /// With a word for people, cut to what is stored.
    pub(crate) fn with(done: u64, total: Option<u64>, message: &str) -> Self {
        let end = (0..=message.len().min(MAX_MESSAGE_BYTES)).rev().find(|end| message.is_char_boundary(*end));
        Self { done, total, message: Some(storable::text(&message[..end.unwrap_or(0)])) }
    }
}
