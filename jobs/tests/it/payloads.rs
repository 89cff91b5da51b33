//! Payloads made from the kinds' schemas: those that fit, and those that nearly do.

use proptest::{prelude::*, sample::select, string::string_regex};
use queue::{Catalog, Kind};
use serde_json::{Map, Value, json};

/// The schema of each field.
pub(crate) fn fields<C: Send + Sync + 'static>(kind: &Kind<C>) -> Map<String, Value> {
    kind.schema()["properties"].as_object().cloned().unwrap_or_default()
}

/// Fields that every payload has.
pub(crate) fn required<C: Send + Sync + 'static>(kind: &Kind<C>) -> Vec<String> {
    serde_json::from_value(kind.schema().get("required").cloned().unwrap_or(json!([]))).expect("names")
}

/// A text that a field's pattern allows.
fn fitting_text(field: &Value) -> BoxedStrategy<Value> {
    let pattern = field["pattern"].as_str().expect("every text has a pattern");
    let inside = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).expect("a whole text");
    string_regex(inside).expect("it is a pattern").prop_map(Value::String).boxed()
}

/// A value that is one of many things, some of them nearly right.
fn any_value() -> BoxedStrategy<Value> {
    let odd = select(ODD.to_vec()).prop_map(|text| json!(text));
    let other =
        select(vec![json!(null), json!(true), json!(0), json!(-7.5), json!([]), json!({}), json!([{}])]);
    prop_oneof![odd, other, any::<String>().prop_map(Value::String)].boxed()
}

/// Texts that are nearly right, for some field or other.
pub(crate) const ODD: &[&str] = &[
    "",
    " ",
    "0193CF5E-7E2A-7C11-9A53-0D6C5F4B2A10",
    "0193cf5e7e2a7c119a530d6c5f4b2a10",
    "{0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10}",
    "urn:uuid:0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10",
    "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\n",
    "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a1",
    "123-1234567-1234567",
    "123-1234567-12345678",
    "١٢٣-1234567-1234567",
    "2026-11-24T09:00:00Z",
    "2026-11-24t09:00:00z",
    "2026-11-24 09:00:00Z",
    "2026-11-24T09:00:00",
    "2026-11-24T09:00:00.123456+05:30",
    "2026-11-24T09:00:00.123456789Z",
    "2026-02-30T09:00:00Z",
    "2024-02-29T09:00:00-00:00",
    "2023-02-29T09:00:00Z",
    "2026-11-24T09:00:60Z",
    "2026-11-24T24:00:00Z",
    "0000-01-01T00:00:00Z",
];

/// A payload for a kind: fields that fit, then perhaps one that is dropped, added or turned into something else.
pub(crate) fn payloads<C: Send + Sync + 'static>(
    catalog: &'static Catalog<C>,
) -> impl Strategy<Value = (&'static str, Value)> {
    let names: Vec<_> = catalog.iter().map(|kind| kind.name).collect();
    select(names).prop_flat_map(move |name| {
        let kind = catalog.get(name).expect("it is in the catalog");
        let names: Vec<_> = fields(kind).into_iter().collect();
        let each: Vec<_> = names
            .iter()
            .map(|(name, field)| {
                let optional = !required(kind).contains(name);
                let name = name.clone();
                (fitting_text(field), any::<bool>())
                    .prop_map(move |(value, given)| (!optional || given).then(|| (name.clone(), value)))
            })
            .collect();
        let names: Vec<_> = names.into_iter().map(|(name, _)| name).chain(["selle".to_owned()]).collect();
        let change = (0..4_u8, select(names), any_value());
        (Just(name), each, change).prop_map(|(kind, fields, (how, field, value))| {
            let mut payload: Map<_, _> = fields.into_iter().flatten().collect();
            match how {
                0 => {}
                1 => drop(payload.remove(&field)),
                2 => drop(payload.insert(field, value)),
                _ => return (kind, if payload.is_empty() { value } else { json!([payload]) }),
            }
            (kind, Value::Object(payload))
        })
    })
}
