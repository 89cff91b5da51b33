//! Amazon as a judge: its own models of its APIs, and what an answer must satisfy to be one of its.
//!
//! The models are Swagger 2.0 files beside the project, not part of it; where they are missing this is said loudly and nothing
//! is checked. Properties that a model does not name are refused, which is stricter than the models: nothing may be invented.

use crate::client::{Answer, Stage};
use jsonschema::{Draft, Validator};
use reqwest::Method;
use sandbox::{Fault, FaultScript};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/spapi-models/models");
const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/spapi-models/schemas");

/// One of Amazon's models.
pub(crate) struct Model {
    pub(crate) document: Value,
}

impl Model {
    pub(crate) fn read(file: &str) -> Option<Model> {
        let mut document = read_beside_the_project(MODELS, file)?;
        close(&mut document["definitions"]);
        Some(Model { document })
    }

    /// Lets these definitions say more than they name: Amazon joins them to one object.
    pub(crate) fn leave_open(&mut self, places: &[&str]) {
        for place in places {
            let part = self.document["definitions"].pointer_mut(place).expect("the model has this part");
            part["additionalProperties"] = json!(true);
        }
    }

    /// The judge of an operation's answers with a status.
    pub(crate) fn judge(&self, method: &Method, path: &str, status: u16) -> Validator {
        let operation = &self.document["paths"][path][method.as_str().to_ascii_lowercase()];
        let schema = &operation["responses"][status.to_string()]["schema"];
        assert!(schema.is_object(), "Amazon's model knows no {status} for {method} {path}");
        let schema = json!({"allOf": [schema], "definitions": self.document["definitions"]});
        jsonschema::options()
            .with_draft(Draft::Draft4)
            .should_validate_formats(true)
            .build(&schema)
            .expect("definitions of Swagger 2.0 are JSON schema draft 4")
    }

    /// Refuses an answer that Amazon would not give.
    pub(crate) fn check(&self, method: &Method, path: &str, status: u16, answer: &Answer) {
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let body = answer.json();
        let complaints: Vec<String> = self
            .judge(method, path, status)
            .iter_errors(&body)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(complaints.is_empty(), "{method} {path} {status}: {complaints:#?} in {}", answer.text);
        assert!(answer.header("x-amzn-requestid").is_some(), "{method} {path} {status}");
        let names_rate = matches!(status, 200 | 201 | 202 | 400 | 404);
        assert_eq!(answer.header("x-amzn-ratelimit-limit").is_some(), names_rate, "{method} {path} {status}");
    }
}

/// What stands in one of Amazon's models, by its path in their repository.
pub(crate) fn model_at(source: &str) -> Option<Value> {
    read_beside_the_project(MODELS, source.strip_prefix("models/").unwrap_or(source))
}

fn read_beside_the_project(folder: &str, file: &str) -> Option<Value> {
    let path = Path::new(folder).join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Written past the test harness, which keeps what a passing test prints to itself.
        writeln!(std::io::stderr(), "NOT CHECKED: Amazon's model {} is missing", path.display()).ok();
        return None;
    };
    Some(serde_json::from_str(&text).expect("Amazon's model is JSON"))
}

/// Refuses what does not satisfy one of Amazon's schemas of reports and notifications, or says more than it names, unless at
/// one of these places, where the schema contradicts itself.
pub(crate) fn check_schema(file: &str, told: &Value, open: &[&str]) {
    let Some(mut schema) = read_beside_the_project(SCHEMAS, file) else { return };
    // Schemas name each of their parts, all alike, which would make every reference ambiguous.
    forget_names(&mut schema);
    close(&mut schema);
    for place in open {
        let part = schema.pointer_mut(place).expect("the schema has this part");
        part["additionalProperties"] = json!(true);
    }
    let judge = jsonschema::options().with_draft(Draft::Draft7).build(&schema).expect("it is a JSON schema");
    let complaints: Vec<String> =
        judge.iter_errors(told).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(complaints.is_empty(), "{file}: {complaints:#?} in {told}");
}

fn forget_names(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("$id").is_some_and(Value::is_string) {
                object.remove("$id");
            }
            object.remove("examples");
            object.values_mut().for_each(forget_names);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_names),
        _ => {}
    }
}

/// Forbids properties that an object does not name, in a schema and all below it.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
            {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// The errors that any operation can answer.
pub(crate) async fn check_errors(model: &Model, stage: &Stage, method: &Method, path: &str, uri: &str) {
    let token = stage.access_token(0).await;
    let foreign = stage.try_send(method.clone(), uri, "Atza|unknown").await.unwrap();
    model.check(method, path, 403, &foreign);
    for (fault, status) in
        [(Fault::Quota, 429), (Fault::Internal, 500), (Fault::Unavailable, 503), (Fault::Denied, 403)]
    {
        stage.control().script_fault(FaultScript::new(None, fault, 1)).unwrap();
        let answer = stage.try_send(method.clone(), uri, &token).await.unwrap();
        model.check(method, path, status, &answer);
    }
}
