//! Reads Amazon's answers leniently: what is optional may be absent, null or a placeholder, and a moment that is none counts
//! as absent. What does not parse all the same is an error that quotes nothing of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::sp_api::{CallError, Operation};

/// Reads an answer. One that does not parse counts as no answer: nobody can say what it held.
pub(super) fn read<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| CallError::NoAnswer {
        operation,
        // Place and category only: the parser's own words may quote the body.
        why: format!("it does not parse ({:?} at byte {})", error.classify(), error.column()),
    })
}

/// Null as if it were absent.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A moment; one that does not parse as if it were absent.
pub(super) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// A text as it can be stored; an empty one as if it were absent.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.map(|text| text.replace('\0', "")).filter(|text| !text.is_empty()))
}

/// Texts as they can be stored.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<String> = or_default(deserializer)?;
    Ok(texts.into_iter().map(|text| text.replace('\0', "")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Answer {
        #[serde(default, deserialize_with = "moment")]
        at: Option<DateTime<Utc>>,
        #[serde(default, deserialize_with = "text")]
        name: Option<String>,
        #[serde(default, deserialize_with = "texts")]
        codes: Vec<String>,
    }

    fn answer(body: &str) -> Result<Answer, CallError> {
        read(Operation::GetInventorySummaries, body.as_bytes())
    }

    #[test]
    fn what_is_absent_null_or_a_placeholder_is_no_error() {
        for body in ["{}", r#"{"at":null,"name":null,"codes":null}"#, r#"{"at":"string","name":""}"#] {
            let read = answer(body).expect(body);
            assert_eq!((read.at, read.name, read.codes), (None, None, vec![]), "{body}");
        }
        let read = answer(r#"{"at":"2026-11-01T10:00:00+01:00","name":"a\u0000b","codes":["1"]}"#)
            .expect("an answer");
        assert_eq!(read.at, "2026-11-01T09:00:00Z".parse().ok());
        assert_eq!((read.name.as_deref(), read.codes), (Some("ab"), vec!["1".to_owned()]));
    }

    #[test]
    fn an_error_does_not_quote_the_answer() {
        for body in [r#"{"name":["Planted Canary"]}"#, r#"{"name":"Planted Canary"#, "Planted Canary"] {
            let error = queue::failure::chain(&answer(body).expect_err(body));
            assert!(error.contains("does not parse") && !error.contains("Canary"), "{error}");
        }
    }
}
