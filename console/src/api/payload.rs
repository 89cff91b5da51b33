//! Why a payload does not fit its kind: by the kind's JSON Schema, field by field, with what would be right.
//!
//! The kind itself has refused the payload before; here is only said why. What this finds nothing wrong with is told in the
//! kind's own words.

use runtime::ids::Uuid;
use serde_json::{Map, Value};

use super::{body, problem::FieldError};

/// What is wrong with the payload, by the schema of its kind; `why` is what the kind said.
pub(super) fn wrong_fields(schema: &Value, payload: &Value, why: &str) -> Vec<FieldError> {
    let Some(fields) = payload.as_object() else {
        return vec![FieldError::new("/payload", "has the wrong type", "a JSON object")];
    };
    let empty = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&empty);
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = required.filter(|name| !fields.contains_key(*name)).map(|name| {
        FieldError::new(
            format!("/payload/{name}"),
            "is missing",
            known.get(name).map_or_else(String::new, expected),
        )
    });
    let misfits = known.iter().filter_map(|(name, schema)| {
        let value = fields.get(name).filter(|value| !fits(schema, value))?;
        let detail = if has_type(schema, value) { "is not right" } else { "has the wrong type" };
        Some(FieldError::new(format!("/payload/{name}"), detail, expected(schema)))
    });
    let mut wrong: Vec<_> = missing.chain(misfits).collect();
    if fields.keys().any(|name| !known.contains_key(name)) {
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        let only =
            if names.is_empty() { "no fields".to_owned() } else { format!("only {}", names.join(", ")) };
        wrong.push(FieldError::new("/payload", "has a field that is none of its kind's", only));
    }
    if wrong.is_empty() { vec![body::describe("/payload", why)] } else { wrong }
}

/// Whether a value is what its schema says, as far as types, formats and lists of values go.
fn fits(schema: &Value, value: &Value) -> bool {
    if !has_type(schema, value) {
        return false;
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.contains(value);
    }
    match (schema["format"].as_str(), value.as_str()) {
        (Some("uuid"), Some(text)) => Uuid::try_parse(text).is_ok(),
        (Some("date-time"), Some(text)) => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        _ => true,
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    };
    match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

/// What a schema asks for, in words.
fn expected(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        return format!("one of {}", values.join(", "));
    }
    let what = match (schema["format"].as_str(), schema["type"].as_str()) {
        (Some("uuid"), _) => "a UUID",
        (Some("date-time"), _) => "a moment",
        (_, Some("string")) => "a text",
        (_, Some("integer")) => "a whole number",
        (_, Some("boolean")) => "true or false",
        (_, Some("array")) => "a list",
        (_, Some("object")) => "an object",
        _ => "a value as the kind's schema in /v1/kinds has it",
    };
    match schema["examples"][0].as_str() {
        Some(example) => format!("{what} as {example}"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jobs::catalog::CATALOG;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let kind = CATALOG.get("send_review_request").expect("it is a kind");
        let wrong = |payload: Value| -> Vec<(String, String)> {
            let errors = wrong_fields(kind.schema(), &payload, "it says so");
            errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
        };
        let told = |pointer: &str, detail: &str| (pointer.to_owned(), detail.to_owned());
        assert_eq!(
            wrong(json!({})),
            [told("/payload/seller", "is missing"), told("/payload/order", "is missing")]
        );
        assert_eq!(
            wrong(json!({ "seller": "Ann", "order": 7, "Ann": "Lee" })),
            [
                told("/payload/order", "has the wrong type"),
                told("/payload/seller", "is not right"),
                told("/payload", "has a field that is none of its kind's"),
            ]
        );
        assert_eq!(wrong(json!([1])), [told("/payload", "has the wrong type")]);
    }
}
