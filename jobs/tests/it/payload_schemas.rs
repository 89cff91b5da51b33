//! Every kind's schema says the same as its payload's type, with a JSON Schema validator of others as the judge.
//!
//! The schema is stricter in one thing, how ids and moments are spelt: a job may be enqueued in few spellings, and one that
//! was stored is read in many.

use chrono::{DateTime, Utc};
use jobs::{catalog::CATALOG, context::Context};
use jsonschema::Validator;
use proptest::prelude::*;
use queue::{Kind, outbox::Cause};
use serde_json::{Map, Value, json};

use crate::payloads::{ODD, fields, payloads, required};

type AKind = Kind<Context>;

fn known(name: &str) -> &'static AKind {
    CATALOG.get(name).expect("it is in the catalog")
}

/// A kind's schema, and the same without the words that say how a text is spelt.
struct Judge {
    whole: Validator,
    shape: Validator,
}

impl Judge {
    fn of(kind: &AKind) -> Self {
        let compiled = |schema: &Value| {
            jsonschema::options().should_validate_formats(true).build(schema).expect("it is a JSON schema")
        };
        let mut shape = kind.schema().clone();
        for (_, field) in shape.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            let field = field.as_object_mut().expect("a field has a schema");
            field.retain(|word, _| !["pattern", "format"].contains(&word.as_str()));
        }
        Self { whole: compiled(kind.schema()), shape: compiled(&shape) }
    }
}

fn type_accepts(kind: &AKind, payload: &Value) -> bool {
    kind.budgets(payload.clone()).is_ok()
}

/// Fails when the schema and the type judge a payload differently. Returns whether it is accepted.
fn same_verdict(kind: &AKind, payload: &Value) -> bool {
    let judge = Judge::of(kind);
    let (schema, typed) = (judge.whole.is_valid(payload), type_accepts(kind, payload));
    assert!(typed || !schema, "{}: the type refuses what the schema accepts: {payload}", kind.name);
    let shape = judge.shape.is_valid(payload);
    assert!(!typed || shape, "{}: the type accepts what the schema refuses: {payload}", kind.name);
    if schema {
        let job = CATALOG.prepare(kind.name, payload.clone(), Cause::Cli).expect("both accept it");
        let written = job.payload;
        assert!(judge.whole.is_valid(&written), "{}: {payload} is stored as {written}", kind.name);
    }
    schema
}

fn kinds() -> Vec<&'static AKind> {
    CATALOG.iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn schema_and_type_judge_alike((name, payload) in payloads(&CATALOG)) {
        same_verdict(known(name), &payload);
    }
}

#[test]
fn each_field_may_hold_what_both_say_and_nothing_else() {
    for kind in kinds() {
        let good: Map<_, _> =
            fields(kind).iter().map(|(name, field)| (name.clone(), field["examples"][0].clone())).collect();
        assert!(same_verdict(kind, &Value::Object(good.clone())), "{}: {good:?}", kind.name);
        for name in good.keys() {
            let mut without = good.clone();
            without.remove(name);
            let accepted = same_verdict(kind, &Value::Object(without));
            assert_eq!(accepted, !required(kind).contains(name), "{} without {name}", kind.name);
            for odd in ODD.iter().map(|text| json!(text)).chain([json!(null), json!(1), json!([]), json!({})])
            {
                let mut other = good.clone();
                other.insert(name.clone(), odd);
                same_verdict(kind, &Value::Object(other));
            }
        }
        let mut more = good;
        more.insert("note".to_owned(), json!("x"));
        for refused in [Value::Object(more), json!([]), json!(null), json!("x"), json!(1)] {
            assert!(!same_verdict(kind, &refused), "{}: {refused}", kind.name);
        }
    }
}

#[test]
fn what_is_accepted_and_what_is_refused_is_known_for_some() {
    let seller = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
    for (name, payload, accepted) in [
        ("sync_orders", json!({"seller": seller}), true),
        ("sync_orders", json!({"seller": seller.to_uppercase()}), true),
        ("sync_orders", json!({"seller": seller.replace('-', "")}), false),
        ("sync_orders", json!({}), false),
        ("watch_authorisations", json!({}), true),
        ("watch_authorisations", json!({"seller": seller}), false),
        ("send_review_request", json!({"seller": seller, "order": "123-1234567-1234567"}), true),
        ("send_review_request", json!({"seller": seller, "order": "Ann Canary"}), false),
        ("disconnect_seller", json!({"seller": seller}), true),
        ("disconnect_seller", json!({"seller": seller, "connected_at": null}), true),
        ("disconnect_seller", json!({"seller": seller, "connected_at": "2026-01-01T00:00:00+01:00"}), true),
        ("delete_seller_data", json!({"seller": seller, "ended_at": null}), false),
        ("delete_seller_data", json!({"seller": seller, "ended_at": "2026-02-29T00:00:00Z"}), false),
    ] {
        assert_eq!(same_verdict(known(name), &payload), accepted, "{name} {payload}");
    }
}

#[test]
fn every_schema_is_closed_and_explains_itself() {
    for kind in kinds() {
        let schema = kind.schema();
        assert_eq!(schema["type"], "object", "{}", kind.name);
        assert_eq!(schema["additionalProperties"], false, "{} must deny unknown fields", kind.name);
        for (name, field) in fields(kind) {
            assert!(field["description"].is_string(), "{}.{name} needs docs", kind.name);
            assert!(field["pattern"].is_string(), "{}.{name} needs a pattern", kind.name);
            assert!(field["examples"][0].is_string(), "{}.{name} needs an example", kind.name);
        }
    }
}

/// The other way round: whatever a typed job holds, its schema accepts.
#[test]
fn moments_of_our_own_are_accepted() {
    let kind = known("delete_seller_data");
    for us in [0, 1, 500_000, 123_456, 120_000] {
        let moment = DateTime::<Utc>::from_timestamp(1_790_000_000, us * 1_000).expect("a moment");
        let payload = json!({"seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10", "ended_at": moment});
        assert!(same_verdict(kind, &payload), "{payload}");
    }
}
