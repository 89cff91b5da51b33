//! Whether acts are as they were written: each carries the hash of the one before it, so that none can be changed, taken out or
//! put elsewhere without breaking what follows. Needs no database: an exported file is checked the same way.
//!
//! The database makes the hashes, when an act is committed (`audit_hash` in the migrations); here they are computed a second
//! time. What the chain alone cannot show is that its end was cut off, or all of it written anew: for that a head that was
//! written down elsewhere is looked for.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What an act is known by: SHA-256 of the hash before it and of all that is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// Stands before the first act.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a hash is 64 digits, 0 to 9 and a to f".to_owned();
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let bytes: Vec<u8> = digits
            .ok_or_else(wrong)?
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | half))
            .collect();
        if text.len() == 64 { bytes.try_into().map_err(|_| wrong()) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<Vec<u8>> for Hash {
    type Error = String;

    fn try_from(bytes: Vec<u8>) -> Result<Self, String> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|bytes: Vec<u8>| format!("a hash has 32 bytes, not {}", bytes.len()))
    }
}

/// An act as the log and the chain have it; one line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the chain, from 1.
    pub position: i64,
    /// Its id in the log.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// Through which door; `None` of acts from before that was recorded.
    pub via: Option<String>,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// Why.
    pub reason: String,
    /// Of the act before.
    pub prev_hash: Hash,
    /// Its own.
    pub hash: Hash,
}

impl Entry {
    /// The hash that it must have.
    #[must_use]
    pub fn right_hash(&self) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(&self.prev_hash.0);
        let numbers = [self.position, self.id, self.at.timestamp_micros()].map(|number| number.to_string());
        let [position, id, at] = &numbers;
        let texts = [&self.actor, &self.action, &self.target, &self.reason].map(String::as_str);
        let [actor, action, target, reason] = texts;
        for field in [
            Some(position.as_str()),
            Some(id),
            Some(at),
            Some(actor),
            self.via.as_deref(),
            Some(action),
            Some(target),
            Some(reason),
        ] {
            match field {
                Some(text) => context.update(format!("{}:{text},", text.len()).as_bytes()),
                None => context.update(b"-,"),
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Hash(bytes)
    }

    /// Whether it is as it was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.hash == self.right_hash()
    }
}

/// What is wrong with one act, or between two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "wrong", rename_all = "snake_case")]
pub enum Finding {
    /// It says something else than when it was written.
    Changed {
        /// Its place in the chain.
        position: i64,
        /// Its id in the log.
        id: i64,
    },
    /// Acts are not there any more.
    Missing {
        /// The first place without one.
        position: i64,
        /// The last one.
        until: i64,
    },
    /// It stands after one that came later.
    OutOfOrder {
        /// Its place in the chain.
        position: i64,
        /// Its id in the log.
        id: i64,
        /// The place of the act before it.
        after: i64,
    },
    /// It carries the hash of another act than the one before it: one of the two was replaced.
    Replaced {
        /// Its place in the chain.
        position: i64,
        /// Its id in the log.
        id: i64,
    },
    /// The log has an act that the chain does not have: it was written past the database's own rules.
    Unchained {
        /// Its id in the log.
        id: i64,
    },
    /// A line of the file is no act.
    Unreadable {
        /// Which one, from 1.
        line: usize,
    },
    /// The head that was written down is not the hash of any act: the end was cut off, or the log was written anew.
    HeadNotFound {
        /// What was looked for.
        head: Hash,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { position, id } => {
                write!(f, "entry {position} (id {id}) was changed: it does not have its hash any more")
            }
            Self::Missing { position, until } if position == until => {
                write!(f, "entry {position} is missing")
            }
            Self::Missing { position, until } => write!(f, "entries {position} to {until} are missing"),
            Self::OutOfOrder { position, id, after } => {
                write!(f, "entry {position} (id {id}) is out of order: it stands after entry {after}")
            }
            Self::Replaced { position, id } => write!(
                f,
                "entry {position} (id {id}) does not follow from the one before it: one of the two was replaced"
            ),
            Self::Unchained { id } => write!(
                f,
                "the act with id {id} is not in the chain: it was written past the database's own rules, or its link was taken away"
            ),
            Self::Unreadable { line } => write!(f, "line {line} is no entry of an audit log"),
            Self::HeadNotFound { head } => write!(
                f,
                "no entry has the hash {head} that was written down: the end was cut off, or the log was written anew"
            ),
        }
    }
}

/// The end of a chain, to be written down where whoever could change the log cannot reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Place of the last act.
    pub position: i64,
    /// Its hash.
    pub hash: Hash,
}

/// What a check has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether all is as it was written.
    pub intact: bool,
    /// How many acts were looked at.
    pub entries: u64,
    /// The last of them.
    pub head: Option<Head>,
    /// What is wrong, from the beginning of the chain.
    pub findings: Vec<Finding>,
}

/// Looks at one act after the other.
#[derive(Debug)]
pub struct Checker {
    sought: Option<Hash>,
    last: Option<Head>,
    entries: u64,
    findings: Vec<Finding>,
}

impl Checker {
    /// At the beginning of a chain, with the head that must turn up, if one is known.
    #[must_use]
    pub const fn new(sought: Option<Hash>) -> Self {
        Self { sought, last: None, entries: 0, findings: Vec::new() }
    }

    /// The next act.
    pub fn look(&mut self, entry: &Entry) {
        self.entries += 1;
        let (place, hash) = self.last.map_or((0, Hash::ZERO), |last| (last.position, last.hash));
        if entry.position <= place {
            self.findings.push(Finding::OutOfOrder { position: entry.position, id: entry.id, after: place });
            // What follows is compared with where the chain was.
            return;
        }
        if entry.position > place + 1 {
            self.findings.push(Finding::Missing { position: place + 1, until: entry.position - 1 });
        } else if entry.prev_hash != hash {
            self.findings.push(Finding::Replaced { position: entry.position, id: entry.id });
        }
        if !entry.is_intact() {
            self.findings.push(Finding::Changed { position: entry.position, id: entry.id });
        }
        self.arrive(entry.position, entry.hash);
    }

    /// A place of the chain whose act is gone from the log.
    pub fn lost(&mut self, position: i64, hash: Hash) {
        let before = self.last.map_or(0, |last| last.position);
        self.findings.push(Finding::Missing { position: before + 1, until: position });
        self.arrive(position, hash);
    }

    /// Something else that is wrong.
    pub fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn arrive(&mut self, position: i64, hash: Hash) {
        if self.sought == Some(hash) {
            self.sought = None;
        }
        self.last = Some(Head { position, hash });
    }

    /// What it has come to.
    #[must_use]
    pub fn verdict(mut self) -> Verdict {
        if let Some(head) = self.sought {
            self.findings.push(Finding::HeadNotFound { head });
        }
        Verdict {
            intact: self.findings.is_empty(),
            entries: self.entries,
            head: self.last,
            findings: self.findings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: i64) -> Vec<Entry> {
        let mut last = Hash::ZERO;
        (1..=length)
            .map(|position| {
                let mut entry = Entry {
                    position,
                    id: position + 10,
                    at: DateTime::UNIX_EPOCH,
                    actor: "ann".to_owned(),
                    via: (position > 1).then(|| "cli".to_owned()),
                    action: "dead.requeue".to_owned(),
                    target: "é".to_owned(),
                    reason: "why".to_owned(),
                    prev_hash: last,
                    hash: Hash::ZERO,
                };
                entry.hash = entry.right_hash();
                last = entry.hash;
                entry
            })
            .collect()
    }

    fn findings(entries: &[Entry], head: Option<Hash>) -> Vec<Finding> {
        let mut checker = Checker::new(head);
        entries.iter().for_each(|entry| checker.look(entry));
        checker.verdict().findings
    }

    #[test]
    fn a_chain_as_it_was_written_is_intact_wherever_its_head_was_written_down() {
        let entries = chain(4);
        for head in [None, Some(entries[1].hash), Some(entries[3].hash)] {
            assert_eq!(findings(&entries, head), []);
        }
        assert_eq!(findings(&[], None), []);
    }

    #[test]
    fn the_act_that_was_changed_is_named() {
        let whole = chain(4);
        let changes: [fn(&mut Entry); 8] = [
            |entry| entry.actor.push('a'),
            |entry| entry.via = None,
            |entry| entry.action.push('a'),
            |entry| entry.target.push('a'),
            |entry| entry.reason = String::new(),
            |entry| entry.at += chrono::TimeDelta::microseconds(1),
            |entry| entry.id = 99,
            // Between two fields nothing can be moved.
            |entry| (entry.target, entry.reason) = (String::new(), "éwhy".to_owned()),
        ];
        for change in changes {
            let mut entries = whole.clone();
            change(&mut entries[2]);
            let id = entries[2].id;
            assert_eq!(findings(&entries, None), [Finding::Changed { position: 3, id }]);
        }
        // With a hash of its own it does not fit to what follows.
        let mut entries = whole;
        entries[2].reason = "another".to_owned();
        entries[2].hash = entries[2].right_hash();
        assert_eq!(findings(&entries, None), [Finding::Replaced { position: 4, id: 14 }]);
    }

    #[test]
    fn acts_that_are_missing_or_out_of_order_are_named() {
        let whole = chain(6);
        let without = |gone: &[usize]| {
            let mut left = whole.clone();
            gone.iter().rev().for_each(|n| drop(left.remove(*n)));
            left
        };
        assert_eq!(findings(&without(&[0]), None), [Finding::Missing { position: 1, until: 1 }]);
        assert_eq!(findings(&without(&[2, 3]), None), [Finding::Missing { position: 3, until: 4 }]);
        let mut swapped = whole.clone();
        swapped.swap(2, 3);
        assert_eq!(
            findings(&swapped, None),
            [
                Finding::Missing { position: 3, until: 3 },
                Finding::OutOfOrder { position: 3, id: 13, after: 4 }
            ]
        );
        let mut twice = whole.clone();
        twice.insert(2, whole[1].clone());
        assert_eq!(findings(&twice, None), [Finding::OutOfOrder { position: 2, id: 12, after: 2 }]);
        // The end says nothing by itself; a head that was written down does.
        let head = whole[5].hash;
        assert_eq!(findings(&without(&[5]), None), []);
        assert_eq!(findings(&without(&[5]), Some(head)), [Finding::HeadNotFound { head }]);
    }

    #[test]
    fn an_export_reads_back_and_a_hash_is_64_digits() {
        for entry in chain(2) {
            let line = serde_json::to_string(&entry).expect("it can be written");
            assert_eq!(serde_json::from_str::<Entry>(&line).expect("it can be read"), entry);
        }
        for bad in ["", "0", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
