//! What Postgres can store. It refuses the character U+0000 in any text and in JSON; and it writes JSON with a blank after
//! each comma and colon, which its limits count.
//!
//! At the door such a job is refused. Later it is too late for that: one refused report or error would hold up all results
//! that are settled with it, so there the character is replaced.

use serde_json::Value;

const REPLACEMENT: &str = "\u{fffd}";

/// Whether a value holds U+0000 anywhere.
pub(crate) fn has_null(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_null(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A text with U+0000 replaced.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', REPLACEMENT)
}

/// A value with U+0000 replaced wherever it stands.
pub(crate) fn json(value: Value) -> Value {
    if !has_null(&value) {
        return value;
    }
    match value {
        Value::String(held) => Value::String(text(&held)),
        Value::Array(items) => items.into_iter().map(json).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (text(&name), json(value))).collect(),
        plain => plain,
    }
}

/// How many bytes a value has in Postgres, given its compact text. (A number with an exponent is longer there; the table's
/// own limit catches that.)
pub(crate) fn stored_bytes(value: &Value, compact: &str) -> usize {
    compact.len() + blanks(value)
}

fn blanks(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len().saturating_sub(1) + items.iter().map(blanks).sum::<usize>(),
        Value::Object(fields) => {
            (2 * fields.len()).saturating_sub(1) + fields.values().map(blanks).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    #[test]
    fn the_character_is_found_and_replaced_wherever_it_stands() {
        let odd = value!({"a\0": [1, {"b": "c\0d"}], "plain": "\\u0000"});
        assert!(has_null(&odd));
        let stored = json(odd);
        assert_eq!(stored, value!({"a\u{fffd}": [1, {"b": "c\u{fffd}d"}], "plain": "\\u0000"}));
        assert!(!has_null(&stored));
    }

    #[test]
    fn blanks_count_as_postgres_writes_them() {
        for (compact, stored) in [
            (r#"{"a":1,"b":[1,2,3]}"#, r#"{"a": 1, "b": [1, 2, 3]}"#),
            ("[]", "[]"),
            ("{}", "{}"),
            (r#"[{},"a,b:c"]"#, r#"[{}, "a,b:c"]"#),
        ] {
            let value: Value = serde_json::from_str(compact).expect("it is JSON");
            assert_eq!(stored_bytes(&value, compact), stored.len(), "{compact}");
        }
    }
}
