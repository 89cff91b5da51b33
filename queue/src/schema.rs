//! What a kind's payload must look like, as JSON Schema (draft 2020-12): made from its struct, so that it cannot differ
//! from it. A field's docs are its description.
//!
//! Whatever stands for an id or a moment says so by its `format`, has a `pattern` for those who only know regular
//! expressions, and an example.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

/// An id: hyphens where they belong, in small or capital letters.
const ID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";
const AN_ID: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
/// A moment with its time zone, to the microsecond, which is what Postgres keeps. No leap seconds: they have no other
/// spelling there.
const MOMENT: &str = "^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$";
const A_MOMENT: &str = "2026-11-24T09:00:00Z";

/// The schema of a payload: one object, nothing referred to elsewhere.
#[must_use]
pub(crate) fn of<P: JsonSchema>() -> Value {
    let spell_out = RecursiveTransform(spell_out);
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(spell_out)
        .into_generator()
        .into_root_schema_for::<P>()
        .into()
}

/// Says of a format what it looks like.
fn spell_out(schema: &mut Schema) {
    let (pattern, example) = match schema.get("format").and_then(Value::as_str) {
        Some("uuid") => (ID, AN_ID),
        Some("date-time") => (MOMENT, A_MOMENT),
        _ => return,
    };
    schema.insert("pattern".to_owned(), pattern.into());
    schema.insert("examples".to_owned(), json!([example]));
}
