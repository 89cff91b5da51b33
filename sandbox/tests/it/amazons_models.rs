//! Amazon judges: every kind of answer is checked against Amazon's own models of the two APIs.
//!
//! The models are Swagger 2.0 files beside the project, not part of it; where they are missing this is said loudly and nothing
//! is checked. Properties that a model does not name are refused, which is stricter than the models: nothing may be invented.

use crate::client::{Answer, Solicitation, Stage};
use jsonschema::{Draft, Validator};
use reqwest::Method;
use sandbox::{Fault, FaultScript, Operation};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/spapi-models/models");
const ALL_DATA: &str = "BUYER,RECIPIENT,PROCEEDS,EXPENSE,PROMOTION,CANCELLATION,FULFILLMENT,PACKAGES,TAX,PAYMENT,\
                        FULFILLMENT_ORDERS";
const SEARCH: &str = "/orders/2026-01-01/orders";
const ORDER: &str = "/orders/2026-01-01/orders/{orderId}";
const ACTIONS: &str = "/solicitations/v1/orders/{amazonOrderId}";
const CREATE: &str = "/solicitations/v1/orders/{amazonOrderId}/solicitations/productReviewAndSellerFeedback";

/// One of Amazon's models.
struct Model {
    document: Value,
}

impl Model {
    fn read(file: &str) -> Option<Model> {
        let path = Path::new(MODELS).join(file);
        let Ok(text) = std::fs::read_to_string(&path) else {
            // Written past the test harness, which keeps what a passing test prints to itself.
            writeln!(std::io::stderr(), "NOT CHECKED: Amazon's model {} is missing", path.display()).ok();
            return None;
        };
        let mut document: Value = serde_json::from_str(&text).expect("Amazon's model is JSON");
        close(&mut document["definitions"]);
        Some(Model { document })
    }

    /// The judge of an operation's answers with a status.
    fn judge(&self, method: &Method, path: &str, status: u16) -> Validator {
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
    fn check(&self, method: &Method, path: &str, status: u16, answer: &Answer) {
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let body = answer.json();
        let complaints: Vec<String> = self
            .judge(method, path, status)
            .iter_errors(&body)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(complaints.is_empty(), "{method} {path} {status}: {complaints:#?} in {}", answer.text);
        assert!(answer.header("x-amzn-requestid").is_some(), "{method} {path} {status}");
        let names_rate = matches!(status, 200 | 201 | 400 | 404);
        assert_eq!(answer.header("x-amzn-ratelimit-limit").is_some(), names_rate, "{method} {path} {status}");
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

fn orders_model() -> Option<Model> {
    Model::read("orders-api-model/orders_2026-01-01.json")
}

fn solicitations_model() -> Option<Model> {
    Model::read("solicitations-api-model/solicitations.json")
}

#[tokio::test]
async fn every_order_with_all_its_data_is_one_of_amazons() {
    let Some(model) = orders_model() else { return };
    let stage = Stage::with_orders(360).await;
    for seller in 0..3 {
        let token = stage.access_token(seller).await;
        for included in ["", "FULFILLMENT", ALL_DATA] {
            let (mut pages, mut more) = (0, String::new());
            loop {
                let query = format!("&includedData={included}{more}");
                let answer = stage.get(&stage.search(&query), &token).await;
                model.check(&Method::GET, SEARCH, 200, &answer);
                pages += 1;
                match answer.json()["pagination"]["nextToken"].as_str() {
                    Some(next) => more = format!("&paginationToken={next}"),
                    None => break,
                }
            }
            let orders = stage.seeded.sellers[seller].orders;
            assert_eq!(pages, orders.div_ceil(100), "all orders were seen");
        }
    }
}

#[tokio::test]
async fn every_answer_about_orders_is_one_of_amazons() {
    let Some(model) = orders_model() else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let order_id = stage.solicitation(0, true).order_id;
    let order = format!("/orders/2026-01-01/orders/{order_id}");
    for (path, good, bad) in [
        (SEARCH, stage.search(""), SEARCH.to_owned()),
        (ORDER, format!("{order}?includedData={ALL_DATA}"), format!("{order}?includedData=ALL")),
    ] {
        model.check(&Method::GET, path, 200, &stage.get(&good, &token).await);
        model.check(&Method::GET, path, 400, &stage.get(&bad, &token).await);
        check_errors(&model, &stage, &Method::GET, path, &good).await;
    }
    let unknown = stage.get("/orders/2026-01-01/orders/026-0000000-0000000", &token).await;
    model.check(&Method::GET, ORDER, 404, &unknown);
}

#[tokio::test]
async fn every_answer_about_solicitations_is_one_of_amazons() {
    let Some(model) = solicitations_model() else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let (eligible, not) = (stage.solicitation(0, true), stage.solicitation(0, false));
    let nobodys = Solicitation::new("026-0000000-0000000", "A1F83G8C2ARO7P");
    let (get, post) = (Method::GET, Method::POST);

    model.check(&get, ACTIONS, 200, &stage.get(&eligible.actions, &token).await);
    model.check(&get, ACTIONS, 200, &stage.get(&not.actions, &token).await);
    let without_marketplace = eligible.actions.split('?').next().unwrap();
    model.check(&get, ACTIONS, 400, &stage.get(without_marketplace, &token).await);
    model.check(&get, ACTIONS, 404, &stage.get(&nobodys.actions, &token).await);
    check_errors(&model, &stage, &get, ACTIONS, &eligible.actions).await;

    model.check(&post, CREATE, 201, &stage.post(&eligible.create, &token).await);
    model.check(&post, CREATE, 403, &stage.post(&eligible.create, &token).await);
    let without_marketplace = eligible.create.split('?').next().unwrap();
    model.check(&post, CREATE, 400, &stage.post(without_marketplace, &token).await);
    model.check(&post, CREATE, 404, &stage.post(&nobodys.create, &token).await);
    check_errors(&model, &stage, &post, CREATE, &not.create).await;
}

/// The errors that any operation can answer.
async fn check_errors(model: &Model, stage: &Stage, method: &Method, path: &str, uri: &str) {
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

#[test]
fn the_judge_refuses_what_amazon_would_not_say() {
    let Some(model) = orders_model() else { return };
    let judge = model.judge(&Method::GET, SEARCH, 200);
    let moment = "2026-11-01T10:00:00Z";
    let order = json!({
        "orderId": "026-0000000-0000001",
        "createdTime": moment,
        "lastUpdatedTime": moment,
        "salesChannel": {"channelName": "AMAZON"},
        "orderItems": [],
    });
    assert!(judge.is_valid(&json!({"orders": [order]})));
    assert!(!judge.is_valid(&json!({})), "orders are required");
    for (name, value) in [("createdTime", json!("yesterday")), ("orderStatus", json!("Shipped"))] {
        let mut wrong = order.clone();
        wrong[name] = value;
        assert!(!judge.is_valid(&json!({"orders": [wrong]})), "{name}");
    }
    assert!(
        !model.judge(&Method::GET, SEARCH, 429).is_valid(&json!({"errors": [{"code": "QuotaExceeded"}]}))
    );
    let operations = [Operation::SearchOrders, Operation::GetOrder];
    let names: Vec<Value> =
        operations.iter().map(|operation| serde_json::to_value(operation).unwrap()).collect();
    let ids = [SEARCH, ORDER].map(|path| model.document["paths"][path]["get"]["operationId"].clone());
    assert_eq!(names, ids, "operations are called what Amazon calls them");
}
