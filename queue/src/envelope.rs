//! A job as it travels through Redis: one binary-safe string, so that a script moves it without reading it.
//!
//! ```text
//! id (16) | ring length (1) | ring | group length (1) | group | format (1) | payload (JSON)
//! ring = priority (1) | payload version (1) | kind
//! ```
//!
//! Ring and group are where it waits ([`crate::ready`]); they come first, so that scripts find them without reading more.
//! It never changes while it travels: what changes (attempts, fence, moment) is the ledger's.

use thiserror::Error;
use uuid::Uuid;

use crate::{JobId, Priority};

/// Format of the string, not of the payload.
const FORMAT: u8 = 2;
const LONGEST_NAME: u8 = 250;

/// A job without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The job.
    pub id: JobId,
    /// How urgent it is within its queue.
    pub priority: Priority,
    /// Version of its payload.
    pub version: u8,
    /// Whom it is for; groups of a queue take turns.
    pub group: String,
    /// What sort of work.
    pub kind: String,
    /// The payload's JSON text.
    pub payload: Vec<u8>,
}

/// Why bytes from Redis are not a job.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// The string ends too early.
    #[error("the entry is cut off")]
    Cut,
    /// A name is not UTF-8.
    #[error("a name in the entry is not UTF-8")]
    NotText,
    /// Written by a release that writes them differently.
    #[error("the entry has the format {0}, which this program does not know")]
    Format(u8),
    /// A priority that this release does not have.
    #[error("the entry has the priority {0}, which this program does not know")]
    Priority(u8),
}

impl Envelope {
    /// The string. Names longer than 250 bytes are cut; the door refuses them before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(21 + self.group.len() + self.kind.len() + self.payload.len());
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes.extend_from_slice(&self.lane());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Where it waits.
    #[must_use]
    pub fn lane(&self) -> Vec<u8> {
        lane(&ring(self.priority, self.version, &self.kind), self.group.as_bytes())
    }

    /// The id alone: readable even where the rest is not.
    #[must_use]
    pub fn id_of(bytes: &[u8]) -> Option<JobId> {
        Uuid::from_slice(bytes.get(..16)?).ok().map(JobId)
    }

    /// Reads the string.
    ///
    /// # Errors
    /// When it is not one that [`Envelope::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let id = Self::id_of(bytes).ok_or(EnvelopeError::Cut)?;
        let (ring, rest) = take_name(&bytes[16..])?;
        let (group, rest) = take_name(rest)?;
        let (format, payload) = rest.split_first().ok_or(EnvelopeError::Cut)?;
        if *format != FORMAT {
            return Err(EnvelopeError::Format(*format));
        }
        let [priority, version, kind @ ..] = ring else { return Err(EnvelopeError::Cut) };
        let priority = Priority::ALL
            .into_iter()
            .find(|known| priority_byte(*known) == *priority)
            .ok_or(EnvelopeError::Priority(*priority))?;
        Ok(Self {
            id,
            priority,
            version: *version,
            group: text(group)?,
            kind: text(kind)?,
            payload: payload.to_vec(),
        })
    }
}

/// Where jobs of one kind, payload version and priority wait.
#[must_use]
pub(crate) fn ring(priority: Priority, version: u8, kind: &str) -> Vec<u8> {
    let mut ring = vec![priority_byte(priority), version];
    ring.extend_from_slice(kind.as_bytes());
    ring
}

/// Where the jobs of a group wait within a ring.
#[must_use]
pub(crate) fn lane(ring: &[u8], group: &[u8]) -> Vec<u8> {
    let mut lane = Vec::with_capacity(2 + ring.len() + group.len());
    put_name(&mut lane, ring);
    put_name(&mut lane, group);
    lane
}

/// Ring and group of an entry; `None` when it is cut off.
#[must_use]
pub(crate) fn place(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (ring, rest) = take_name(entry.get(16..)?).ok()?;
    let (group, _) = take_name(rest).ok()?;
    Some((ring, group))
}

const fn priority_byte(priority: Priority) -> u8 {
    match priority {
        Priority::High => b'h',
        Priority::Normal => b'n',
        Priority::Low => b'l',
    }
}

fn put_name(bytes: &mut Vec<u8>, name: &[u8]) {
    let length = u8::try_from(name.len()).unwrap_or(LONGEST_NAME).min(LONGEST_NAME);
    bytes.push(length);
    bytes.extend_from_slice(&name[..usize::from(length)]);
}

fn take_name(bytes: &[u8]) -> Result<(&[u8], &[u8]), EnvelopeError> {
    let (length, rest) = bytes.split_first().ok_or(EnvelopeError::Cut)?;
    rest.split_at_checked(usize::from(*length)).ok_or(EnvelopeError::Cut)
}

fn text(name: &[u8]) -> Result<String, EnvelopeError> {
    std::str::from_utf8(name).map(str::to_owned).map_err(|_| EnvelopeError::NotText)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            priority in prop::sample::select(Priority::ALL.to_vec()),
            version: u8,
            group in "\\PC{0,60}",
            kind in "[a-z_]{1,40}",
            payload: Vec<u8>,
        ) {
            let envelope = Envelope { id: JobId::new(), priority, version, group, kind, payload };
            prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }

        #[test]
        fn any_bytes_are_an_answer_not_a_panic(bytes: Vec<u8>) {
            drop(Envelope::decode(&bytes));
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = Envelope {
            id: JobId::new(),
            priority: Priority::Low,
            version: 3,
            group: "g".into(),
            kind: "k".into(),
            payload: vec![],
        }
        .encode();
        *bytes.last_mut().expect("it has a format") = 9;
        assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::Format(9)));
    }
}
