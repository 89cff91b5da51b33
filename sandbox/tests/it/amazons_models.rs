//! Amazon judges every kind of answer about orders and solicitations, see [`crate::judge`].

use crate::client::{Solicitation, Stage};
use crate::judge::{Model, check_errors, model_at};
use reqwest::Method;
use sandbox::{Operation, SettingsChange};
use serde_json::{Value, json};

const ALL_DATA: &str = "BUYER,RECIPIENT,PROCEEDS,EXPENSE,PROMOTION,CANCELLATION,FULFILLMENT,PACKAGES,TAX,PAYMENT,\
                        FULFILLMENT_ORDERS";
const SEARCH: &str = "/orders/2026-01-01/orders";
const ORDER: &str = "/orders/2026-01-01/orders/{orderId}";
const ACTIONS: &str = "/solicitations/v1/orders/{amazonOrderId}";
const CREATE: &str = "/solicitations/v1/orders/{amazonOrderId}/solicitations/productReviewAndSellerFeedback";

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

/// Models name each operation, and write its plan as a row of a table.
#[tokio::test]
async fn operations_and_their_plans_are_called_and_limited_as_amazon_says() {
    let stage = Stage::with_orders(0).await;
    let settings = stage.control().change_settings(SettingsChange::default()).unwrap();
    for plan in settings.usage_plans {
        let Some(model) = model_at(plan.source) else { return };
        let name = serde_json::to_value(plan.operation).unwrap();
        let operations = model["paths"].as_object().unwrap().values();
        let operation = operations
            .flat_map(|methods| methods.as_object().unwrap().values())
            .find(|operation| operation["operationId"] == name)
            .unwrap_or_else(|| panic!("{} has no {name}", plan.source));
        let described = operation["description"].as_str().unwrap();
        let said: Vec<Vec<f64>> = described.lines().map(numbers).filter(|row| !row.is_empty()).collect();
        assert_eq!(said, [[plan.requests_per_second, plan.burst]], "{name}: {described}");
    }
}

/// The cells of a row, if they are numbers.
fn numbers(row: &str) -> Vec<f64> {
    let cells = row.trim().trim_matches('|').split('|');
    cells.map(|cell| cell.trim().parse()).collect::<Result<_, _>>().unwrap_or_default()
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
