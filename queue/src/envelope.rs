//! A job as it travels through Redis: one binary-safe string, so that a script moves it without reading it.
//!
//! ```text
//! id (16) | group length (1) | group | version (1) | kind length (1) | kind | payload (JSON)
//! ```
//!
//! It never changes while it travels: what changes (attempts, fence, moment) is the ledger's.

use thiserror::Error;
use uuid::Uuid;

use crate::JobId;

const VERSION: u8 = 1;

/// A job without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The job.
    pub id: JobId,
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
    /// Written by a newer release.
    #[error("the entry has version {0}, which this program does not know")]
    Version(u8),
}

impl Envelope {
    /// The string. Names longer than 255 bytes are cut; the door refuses them before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(19 + self.group.len() + self.kind.len() + self.payload.len());
        bytes.extend_from_slice(self.id.0.as_bytes());
        put_name(&mut bytes, &self.group);
        bytes.push(VERSION);
        put_name(&mut bytes, &self.kind);
        bytes.extend_from_slice(&self.payload);
        bytes
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
        let (group, rest) = take_name(&bytes[16..])?;
        let (version, rest) = rest.split_first().ok_or(EnvelopeError::Cut)?;
        if *version != VERSION {
            return Err(EnvelopeError::Version(*version));
        }
        let (kind, payload) = take_name(rest)?;
        Ok(Self { id, group: group.to_owned(), kind: kind.to_owned(), payload: payload.to_vec() })
    }
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(255)];
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name);
}

fn take_name(bytes: &[u8]) -> Result<(&str, &[u8]), EnvelopeError> {
    let (length, rest) = bytes.split_first().ok_or(EnvelopeError::Cut)?;
    let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(EnvelopeError::Cut)?;
    Ok((std::str::from_utf8(name).map_err(|_| EnvelopeError::NotText)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(group in "\\PC{0,60}", kind in "[a-z_]{1,40}", payload: Vec<u8>) {
            let envelope = Envelope { id: JobId::new(), group, kind, payload };
            prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }

        #[test]
        fn any_bytes_are_an_answer_not_a_panic(bytes: Vec<u8>) {
            drop(Envelope::decode(&bytes));
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes =
            Envelope { id: JobId::new(), group: "g".into(), kind: "k".into(), payload: vec![] }.encode();
        bytes[18] = 9;
        assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::Version(9)));
    }
}
