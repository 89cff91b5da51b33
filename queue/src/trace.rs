//! Which trace a job belongs to: the W3C trace context (`traceparent`) that whoever enqueues it hands over.
//!
//! The span of a run is a child of what enqueued the job, and what the run enqueues is a child of that span. Ids are handed
//! in. A context from another system that cannot be read is no reason to refuse a job ([`TraceContext::from_outside`]); one
//! that a person wrote is a mistake to tell them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A place in a trace: which trace, and which span of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
    parent: Option<u64>,
}

/// Why a text is not a trace context.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error(
    "this is not a traceparent: {0}; one looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)]
pub struct TraceError(&'static str);

/// Bytes of a traceparent of version 00.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

impl TraceContext {
    /// The first span of a new trace. `None` where an id is zero, which stands for none.
    #[must_use]
    pub const fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        if trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace, span, flags: if sampled { SAMPLED } else { 0 }, parent: None })
    }

    /// A span of the same trace below this one. A `span` of zero, which stands for none, becomes 1.
    #[must_use]
    pub const fn child(self, span: u64) -> Self {
        let span = if span == 0 { 1 } else { span };
        Self { span, parent: Some(self.span), ..self }
    }

    /// The context that another system sent; `None` where it cannot be read, because its trace is not ours to judge.
    #[must_use]
    pub fn from_outside(text: &str) -> Option<Self> {
        text.trim().parse().inspect_err(|error| tracing::debug!(%error, "ignored a trace from outside")).ok()
    }

    /// The trace's id, in hexadecimal.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's id, in hexadecimal.
    #[must_use]
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }

    /// The id of the span above it, where that is known.
    #[must_use]
    pub fn parent_id(self) -> Option<String> {
        self.parent.map(|parent| format!("{parent:016x}"))
    }
}

/// As a `traceparent`, which names no parent.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        // A later version may add fields behind; its first ones stay what they are.
        let (known, more) = text.split_at_checked(LENGTH).ok_or(TraceError("it is too short"))?;
        let mut fields = known.split('-');
        let mut field = |length| fields.next().filter(|field| field.len() == length && is_hex(field));
        let (Some(version), Some(trace), Some(span), Some(flags)) =
            (field(2), field(32), field(16), field(2))
        else {
            return Err(TraceError("its fields are not 2, 32, 16 and 2 digits of lower hexadecimal"));
        };
        if version == "ff" {
            return Err(TraceError("there is no version ff"));
        }
        if !more.is_empty() && (version == "00" || !more.starts_with('-')) {
            return Err(TraceError("it is too long"));
        }
        let number = |field| u64::from_str_radix(field, 16).unwrap_or_default();
        let trace = u128::from_str_radix(trace, 16).unwrap_or_default();
        let sampled = number(flags) & u64::from(SAMPLED) == 1;
        Self::new(trace, number(span), sampled).ok_or(TraceError("an id is zero"))
    }
}

fn is_hex(field: &str) -> bool {
    field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let context: TraceContext = EXAMPLE.parse().expect("it is the standard's");
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(
            (context.trace_id().as_str(), context.span_id().as_str(), context.parent_id()),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", None)
        );
    }

    #[test]
    fn a_child_is_in_the_same_trace_and_knows_its_parent() {
        let context: TraceContext = EXAMPLE.parse().expect("it is the standard's");
        let child = context.child(0xb7ad_6b71_6920_3331);
        assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01");
        assert_eq!(child.parent_id().as_deref(), Some("00f067aa0ba902b7"));
        assert_eq!(context.child(0).span_id(), "0000000000000001", "zero stands for no span");
    }

    #[test]
    fn what_is_wrong_is_refused_and_from_outside_ignored() {
        for (wrong, why) in [
            ("", "too short"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", "too short"),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "lower hexadecimal"),
            ("00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01", "2, 32, 16 and 2"),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", "zero"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "zero"),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "no version ff"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", "too long"),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x", "too long"),
        ] {
            let error = wrong.parse::<TraceContext>().expect_err(wrong).to_string();
            assert!(error.contains(why), "{wrong}: {error}");
            assert_eq!(TraceContext::from_outside(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-the-future-will-be-like";
        assert_eq!(later.parse::<TraceContext>().expect("its start is known").to_string(), EXAMPLE);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let context = TraceContext::new(trace, span, sampled).expect("no id is zero");
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn any_text_is_an_answer_not_a_panic(text in "\\PC{0,80}") {
            if let Ok(context) = text.parse::<TraceContext>() {
                prop_assert_eq!(context.to_string().parse(), Ok(context));
            }
        }
    }
}
