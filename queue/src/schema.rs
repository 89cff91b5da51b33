//! What a kind's payload must look like, as JSON Schema (draft 2020-12): made from its struct, so that it cannot differ
//! from it. A field's docs are its description.
//!
//! Whatever stands for an id or a moment says so by its `format`, has a `pattern` for those who only know regular
//! expressions, and an example.
//!
//! Two read it before a job is born: [`PayloadSchema`] here, and the SQL function `enqueue_job`. Both know the same few words
//! of JSON Schema, and say of the same misfit the same thing: which field, what would be right, and never what they found. A
//! kind whose schema has another word is refused by `amzigo migrate`.

use std::{collections::BTreeMap, fmt};

use chrono::DateTime;
use regex::Regex;
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

/// An id: hyphens where they belong, in small or capital letters.
const ID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";
const AN_ID: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
/// A moment with its time zone, to the microsecond, which is what Postgres keeps. No leap seconds: they have no other
/// spelling there.
const MOMENT: &str = "^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$";
const A_MOMENT: &str = "2026-11-24T09:00:00Z";

/// The words of JSON Schema that are understood: of the object, and of each of its fields. The last ones are for people.
pub const WORDS: [&[&str]; 2] = [
    &["type", "properties", "required", "additionalProperties", "$schema", "title", "description"],
    &["type", "format", "pattern", "examples", "default", "description"],
];

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

/// Most misfits that are told at once.
const TOLD: usize = 8;

/// What is wrong with a payload in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The field; `None` for the payload as a whole, and for an unknown field whose name could be anything.
    pub field: Option<String>,
    /// What is wrong; never what was found.
    pub wrong: Wrong,
    /// What would be right.
    pub expected: String,
}

/// What may be wrong in one place of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is no object.
    Shape,
    /// The kind has no such field.
    Unknown,
    /// It has to be there.
    Missing,
    /// It is there, and something else.
    Unfit,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, expected) = (self.field.as_deref(), &self.expected);
        match (self.wrong, field) {
            (Wrong::Shape, _) => write!(f, "it must be {expected}"),
            (Wrong::Unknown, Some(name)) => write!(f, "there is no field `{name}`; {expected}"),
            (Wrong::Unknown, None) => write!(f, "there is no field (hidden); {expected}"),
            (Wrong::Missing, name) => {
                write!(f, "`{}` is missing; it must be {expected}", name.unwrap_or_default())
            }
            (Wrong::Unfit, name) => write!(f, "`{}` must be {expected}", name.unwrap_or_default()),
        }
    }
}

/// A kind's schema, as the door reads it: a flat object of texts.
#[derive(Debug)]
pub struct PayloadSchema {
    fields: BTreeMap<String, Field>,
}

#[derive(Debug)]
struct Field {
    required: bool,
    may_be_null: bool,
    format: Option<Format>,
    pattern: Regex,
    example: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Id,
    Moment,
}

impl PayloadSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// When it says something that nobody would check: the text says what.
    pub fn read(schema: &Value) -> Result<Self, String> {
        let none = serde_json::Map::new();
        let whole = schema.as_object().ok_or("it is not an object")?;
        only(WORDS[0], whole)?;
        if schema["type"] != "object" || schema["additionalProperties"] != false {
            return Err("it is not a closed object; payloads are structs that deny unknown fields".to_owned());
        }
        let required = |name: &String| {
            schema["required"].as_array().is_some_and(|names| names.iter().any(|given| given == name))
        };
        let fields = whole.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let read = |(name, field): (&String, &Value)| {
            let field = Field::read(field, required(name)).map_err(|why| format!("of `{name}`, {why}"))?;
            Ok((name.clone(), field))
        };
        Ok(Self { fields: fields.iter().map(read).collect::<Result<_, String>>()? })
    }

    /// Whether every payload has this field.
    #[must_use]
    pub fn requires(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|known| known.required)
    }

    /// What is wrong with a payload: nothing, if it is empty. At most eight things.
    #[must_use]
    pub fn misfits(&self, payload: &Value) -> Vec<Misfit> {
        let Some(given) = payload.as_object() else {
            let fields = if self.fields.is_empty() {
                "without fields".to_owned()
            } else {
                format!("with the fields {}", self.names())
            };
            return vec![Misfit {
                field: None,
                wrong: Wrong::Shape,
                expected: format!("an object {fields}"),
            }];
        };
        let unknown =
            given.keys().filter(|name| !self.fields.contains_key(*name)).map(|name| self.unknown(name));
        let known = self.fields.iter().filter_map(|(name, field)| field.misfit(name, given.get(name)));
        let mut unknown: Vec<_> = unknown.collect();
        unknown.extend(known);
        unknown.truncate(TOLD);
        unknown
    }

    fn names(&self) -> String {
        self.fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn unknown(&self, name: &str) -> Misfit {
        // A name that could be one of ours is most often one of ours, misspelt; any other may be anything.
        let like_ours = |letter: u8| letter.is_ascii_lowercase() || letter == b'_';
        let shown = (1..=30).contains(&name.len()) && name.bytes().all(like_ours);
        let expected = if self.fields.is_empty() {
            "it has none".to_owned()
        } else {
            format!("the fields are {}", self.names())
        };
        Misfit { field: shown.then(|| name.to_owned()), wrong: Wrong::Unknown, expected }
    }
}

impl Field {
    fn read(schema: &Value, required: bool) -> Result<Self, String> {
        only(WORDS[1], schema.as_object().ok_or("it is not an object")?)?;
        let may_be_null = match &schema["type"] {
            Value::String(text) if text == "string" => false,
            Value::Array(types) if *types == ["string", "null"] => true,
            _ => {
                return Err(
                    "the type is not text: door and SQL would have to learn to check another one".to_owned()
                );
            }
        };
        let format = match &schema["format"] {
            Value::Null => None,
            Value::String(format) if format == "uuid" => Some(Format::Id),
            Value::String(format) if format == "date-time" => Some(Format::Moment),
            _ => return Err("the format is neither uuid nor date-time".to_owned()),
        };
        let text = |value: &Value, what| value.as_str().map(str::to_owned).ok_or(what);
        let pattern =
            text(&schema["pattern"], "a text needs a `pattern`: `#[schemars(regex(pattern = \"…\"))]`")?;
        if !(pattern.starts_with('^') && pattern.ends_with('$')) || pattern.contains('\\') {
            return Err(
                "the pattern must begin with ^, end with $ and have no \\, to mean the same everywhere"
                    .to_owned(),
            );
        }
        Ok(Self {
            required,
            may_be_null,
            format,
            pattern: Regex::new(&pattern).map_err(|error| error.to_string())?,
            example: text(&schema["examples"][0], "a text needs an example: `#[schemars(example = \"…\")]`")?,
        })
    }

    fn misfit(&self, name: &str, given: Option<&Value>) -> Option<Misfit> {
        let fits = match given {
            None => !self.required,
            Some(Value::Null) => self.may_be_null,
            Some(Value::String(text)) => {
                self.pattern.is_match(text)
                    && (self.format != Some(Format::Moment) || DateTime::parse_from_rfc3339(text).is_ok())
            }
            Some(_) => false,
        };
        if fits {
            return None;
        }
        let what = match self.format {
            Some(Format::Id) => "an id",
            Some(Format::Moment) => "a moment",
            None => "a text",
        };
        let or_left_out = if self.required { "" } else { ", or left out" };
        let expected = format!("{what} as {}{or_left_out}", self.example);
        let wrong = if given.is_none() { Wrong::Missing } else { Wrong::Unfit };
        Some(Misfit { field: Some(name.to_owned()), wrong, expected })
    }
}

/// Refuses words that nobody would check.
fn only(words: &[&str], schema: &serde_json::Map<String, Value>) -> Result<(), String> {
    match schema.keys().find(|word| !words.contains(&word.as_str())) {
        None => Ok(()),
        Some(word) => Err(format!(
            "`{word}` is checked by nobody: teach it to queue/src/schema.rs and to the SQL function checked_payload"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: Value) -> Result<PayloadSchema, String> {
        PayloadSchema::read(&json!({
            "type": "object", "additionalProperties": false, "required": ["seller"],
            "properties": { "seller": field },
        }))
    }

    fn seller() -> Value {
        json!({"type": "string", "format": "uuid", "pattern": ID, "examples": [AN_ID], "description": "Whose."})
    }

    #[test]
    fn what_nobody_would_check_is_refused() {
        assert!(read(seller()).is_ok());
        for (word, value, why) in [
            ("maxLength", json!(9), "`maxLength` is checked by nobody"),
            ("type", json!("integer"), "the type is not text"),
            ("format", json!("email"), "neither uuid nor date-time"),
            ("pattern", json!("[0-9]+"), "must begin with ^"),
            ("pattern", json!("^\\d+$"), "to mean the same everywhere"),
            ("pattern", json!(null), "needs a `pattern`"),
            ("examples", json!([]), "needs an example"),
        ] {
            let mut field = seller();
            field[word] = value;
            let error = read(field).expect_err(word);
            assert!(error.contains(why), "{error}");
        }
        let open = PayloadSchema::read(&json!({"type": "object", "properties": {}}));
        assert!(open.expect_err("it takes anything").contains("closed object"));
    }

    #[test]
    fn a_misfit_names_its_field_and_what_would_be_right_but_not_what_it_found() {
        let schema = read(seller()).expect("it is understood");
        let must_be = format!("must be an id as {AN_ID}");
        for (payload, field, why) in [
            (json!({}), Some("seller"), format!("`seller` is missing; it {must_be}")),
            (json!({"seller": "Ann"}), Some("seller"), format!("`seller` {must_be}")),
            (json!({"seller": 7}), Some("seller"), format!("`seller` {must_be}")),
            (
                json!({"seller": AN_ID, "selle": 1}),
                Some("selle"),
                "there is no field `selle`; the fields are `seller`".to_owned(),
            ),
            (
                json!({"seller": AN_ID, "Ann S": 1}),
                None,
                "there is no field (hidden); the fields are `seller`".to_owned(),
            ),
            (json!(["Ann"]), None, "it must be an object with the fields `seller`".to_owned()),
        ] {
            let misfits = schema.misfits(&payload);
            let told: Vec<_> =
                misfits.iter().map(|misfit| (misfit.field.as_deref(), misfit.to_string())).collect();
            assert_eq!(told, [(field, why)], "{payload}");
        }
        assert_eq!(schema.misfits(&json!({"seller": AN_ID})), []);
    }
}
