//! A request that has passed the gateway's checks, as the operations' files see it.

use crate::faults::Fault;
use crate::query::{InvalidQuery, Query};
use axum::body::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

/// What is asked, by whom, and when.
pub(crate) struct Ask<'a> {
    /// The seller's id; empty where the application asks for itself.
    pub(crate) seller: &'a str,
    /// The parts of the path that vary, from left to right.
    pub(crate) subject: &'a [String],
    /// The query.
    pub(crate) query: &'a Query,
    /// The body.
    pub(crate) body: &'a Bytes,
    /// The fault that will follow, for what it has to be known beforehand.
    pub(crate) fault: Option<Fault>,
    /// The wall clock.
    pub(crate) now: DateTime<Utc>,
}

impl Ask<'_> {
    /// The body, read as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, InvalidQuery> {
        serde_json::from_slice(self.body)
            .map_err(|error| InvalidQuery(format!("The body is not what the operation takes: {error}.")))
    }

    /// The first part of the path that varies; empty where there is none.
    pub(crate) fn first_subject(&self) -> &str {
        self.subject.first().map_or("", String::as_str)
    }
}
