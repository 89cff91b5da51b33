//! Keys of programs: how one looks, and what it may do.
//!
//! `amzigo_live_<id>_<secret>_<check>`: the id is the key's, the secret 256 random bits, and the check lets a scanner of
//! repositories tell a real key from a text that looks like one, and us refuse a mistyped one without asking anybody.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use runtime::ids::Uuid;
use serde::{Deserialize, Serialize};

use crate::auth::Token;

runtime::id_type!(
    /// An API key's id.
    KeyId
);

/// What a key lets a program do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Enqueue jobs.
    Enqueue,
    /// Look up jobs and kinds, and wait for a job's end.
    Read,
    /// Cancel jobs.
    Cancel,
    /// Open, fill, seal and look up batches; to fill one it takes `enqueue` as well.
    Batches,
    /// Look up schedules.
    Schedules,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Enqueue, Self::Read, Self::Cancel, Self::Batches, Self::Schedules];

    /// As in the table and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Read => "read",
            Self::Cancel => "cancel",
            Self::Batches => "batches",
            Self::Schedules => "schedules",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no scope `{text}`; the scopes are {known}")
        })
    }
}

/// A whole key, as its owner has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyText {
    /// Which key.
    pub id: KeyId,
    /// What opens.
    pub secret: Token,
}

const PREFIX: &str = "amzigo_live_";
const ID_LETTERS: usize = 32;
const SECRET_LETTERS: usize = 43;

impl KeyText {
    /// A key of this id with a new secret.
    #[must_use]
    pub fn new(id: KeyId) -> Self {
        Self { id, secret: Token::new() }
    }

    /// What its owner keeps: 97 letters. Shown once.
    #[must_use]
    pub fn text(&self) -> String {
        let text = format!("{PREFIX}{}_{}", self.id.0.simple(), self.secret.text());
        let check = check(&text);
        format!("{text}_{check}")
    }

    /// Reads what [`Self::text`] wrote; `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (checked, given) = text.rsplit_once('_')?;
        let rest = checked.strip_prefix(PREFIX)?;
        let (id, secret) = rest.split_at_checked(ID_LETTERS)?;
        let secret = secret.strip_prefix('_').filter(|secret| secret.len() == SECRET_LETTERS)?;
        if check(checked) != given {
            return None;
        }
        Some(Self { id: KeyId(Uuid::try_parse(id).ok()?), secret: Token::read(secret)? })
    }
}

/// The first 32 bits of the hash, in hexadecimal.
fn check(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_a_mistyped_one_is_none() {
        let key = KeyText::new(KeyId::new());
        let text = key.text();
        assert_eq!(text.len(), 97);
        assert_eq!(KeyText::read(&text), Some(key.clone()));
        for n in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[n] = if other[n] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).expect("letters");
            assert_eq!(KeyText::read(&other), None, "letter {n}");
        }
        for bad in ["", "amzigo_live_", "é", &text[1..], &text[..96]] {
            assert_eq!(KeyText::read(bad), None, "{bad}");
        }
        assert!(!format!("{key:?}").contains(&key.secret.text()));
    }
}
