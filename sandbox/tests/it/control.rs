//! The control API over HTTP: seeding, changing, breaking, reading back.

use crate::client::{Answer, Stage, http, read};
use chrono::TimeDelta;
use sandbox::{
    AccountHealthRecord, CallPage, ChangedOrders, DayRecord, Fault, FeedbackRecord, Operation, Options,
    PLANTED, ParticipationRecord, ProductRecord, QueueRecord, Sandbox, Seeded, Summary,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

impl Stage {
    async fn control_post(&self, path: &str, body: Value) -> Answer {
        let url = format!("{}/control/{path}", self.base_url);
        read(self.client.post(url).json(&body)).await.expect("the control answers")
    }

    async fn control_get<T: DeserializeOwned>(&self, path: &str) -> T {
        let url = format!("{}/control/{path}", self.base_url);
        let answer = read(self.client.get(url)).await.expect("the control answers");
        serde_json::from_value(answer.json()).expect("it has the shape the library promises")
    }
}

#[tokio::test]
async fn seeding_again_adds_and_the_credentials_work() {
    let stage = Stage::set().await;
    let answer =
        stage.control_post("seed", json!({"sellers": 2, "orders": 10, "seed": 1, "region": "na"})).await;
    let seeded: Seeded = serde_json::from_value(answer.json()).unwrap();
    assert_eq!(seeded.sellers[0].marketplace_ids, ["ATVPDKIKX0DER", "A2EUQ1WTGCTBG2"]);
    assert_eq!(seeded.sellers.iter().map(|seller| seller.orders).collect::<Vec<_>>(), [5, 5]);

    let mut both = stage.clone();
    both.seeded = seeded;
    assert_eq!(both.sign_in(1).await.status, 200);
    let summary: Summary = stage.control_get("summary").await;
    assert_eq!((summary.sellers, summary.orders, summary.tokens_issued), (5, 190, 1));
    assert_eq!(summary.orders_per_seller[stage.seller(0)], 90, "the first seller has half");
}

#[tokio::test]
async fn new_and_changed_orders_are_found_two_minutes_later() {
    let stage = Stage::set().await;
    let token = stage.access_token(1).await;
    let answer = stage
        .control_post("orders", json!({"seller": stage.seller(1), "count": 2, "touch": 1, "seed": 9}))
        .await;
    let changed: ChangedOrders = serde_json::from_value(answer.json()).unwrap();
    assert_eq!((changed.added.len(), changed.touched.len()), (2, 1));
    let expected: Vec<String> = {
        let mut ids = [changed.added, changed.touched].concat();
        ids.sort();
        ids
    };
    let changed_at = stage.clock.now();
    let search =
        format!("/orders/2026-01-01/orders?lastUpdatedAfter={}", changed_at.format("%Y-%m-%dT%H:%M:%SZ"));
    assert_eq!(stage.get(&search, &token).await.json()["orders"], json!([]));
    stage.clock.advance(TimeDelta::minutes(2));
    let page = stage.get(&search, &token).await.json();
    let found: Vec<&str> =
        page["orders"].as_array().unwrap().iter().map(|order| order["orderId"].as_str().unwrap()).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_vanished_order_is_not_found_and_not_listed() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let order = stage.solicitation(0, true);
    let vanish = format!("orders/{}/vanish", order.order_id);
    assert_eq!(stage.control_post(&vanish, json!({})).await.status, 200);
    assert_eq!(stage.control_post(&vanish, json!({})).await.status, 404);
    let path = format!("/orders/2026-01-01/orders/{}", order.order_id);
    for gone in [stage.get(&path, &token).await, stage.post(&order.create, &token).await] {
        assert_eq!(
            (gone.status.as_u16(), gone.json()["errors"][0]["code"].as_str()),
            (404, Some("NotFound"))
        );
    }
    let listed: Value = stage.control_get("orders").await;
    assert!(!listed.to_string().contains(&order.order_id));
}

#[tokio::test]
async fn a_revoked_seller_comes_back_with_a_new_refresh_token_only() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    stage.control_post(&format!("sellers/{}/revoke", stage.seller(0)), json!({})).await;
    let refused = stage.sign_in(0).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 403);
    assert_eq!(stage.sign_in(1).await.status, 200, "other sellers are not concerned");

    let restored =
        stage.control_post(&format!("sellers/{}/restore", stage.seller(0)), json!({})).await.json();
    assert_eq!(stage.sign_in(0).await.status, 400, "the old refresh token stays void");
    let mut renewed = stage.clone();
    renewed.seeded.sellers[0].refresh_token = restored["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(renewed.sign_in(0).await.status, 200);
}

#[tokio::test]
async fn a_new_client_secret_voids_the_old_one() {
    let stage = Stage::set().await;
    stage.control_post("settings", json!({"client_secret": "rotated"})).await;
    let refused = stage.sign_in(0).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (401, Some("invalid_client")));
    let mut renewed = stage.clone();
    renewed.seeded.client_secret = "rotated".to_owned();
    assert_eq!(renewed.sign_in(0).await.status, 200);
}

/// How many of the planted values are those of an order's buyer.
const OF_AN_ORDER: usize = 10;

#[tokio::test]
async fn buyer_data_comes_only_when_asked_for_or_leaked() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let planted = |answer: &Answer| PLANTED.iter().filter(|value| answer.text.contains(**value)).count();
    let silent = stage.get(&stage.search("&includedData=FULFILLMENT,PACKAGES"), &token).await;
    assert_eq!(planted(&silent), 0);
    let asked = stage.get(&stage.search("&includedData=BUYER,RECIPIENT"), &token).await;
    assert_eq!(planted(&asked), OF_AN_ORDER);

    let settings = stage.control_post("settings", json!({"leak_buyer_data": true})).await.json();
    assert_eq!((settings["leak_buyer_data"].as_bool(), settings["speed"].as_f64()), (Some(true), Some(1.0)));
    let leaked = stage.get(&stage.search("&includedData=FULFILLMENT"), &token).await;
    assert_eq!(planted(&leaked), OF_AN_ORDER);
}

#[tokio::test]
async fn every_call_is_read_back_from_a_number_on() {
    let stage = Stage::set().await;
    let token = stage.access_token(2).await;
    let script = json!({"operation": "*", "fault": "unavailable", "times": 1});
    assert_eq!(stage.control_post("faults", script).await.status, 200);
    let failed = stage.get("/orders/2026-01-01/orders?createdAfter=soon", &token).await;

    let page: CallPage = stage.control_get("calls?after=1").await;
    let [call] = &page.calls[..] else { panic!("one call after the sign-in: {:?}", page.calls) };
    assert_eq!((page.dropped, page.last_seq, call.seq), (0, 2, 2));
    assert_eq!(call.seller.as_deref(), Some(stage.seller(2)));
    assert_eq!((call.operation, call.status), (Some(Operation::SearchOrders), Some(503)));
    assert_eq!(call.fault, Some(Fault::Unavailable));
    assert_eq!((call.path.as_str(), call.query.as_str()), ("/orders/2026-01-01/orders", "createdAfter=soon"));
    assert_eq!(failed.header("x-amzn-requestid"), Some(call.request_id.as_str()));
    assert_eq!(call.user_agent.as_deref(), Some(crate::client::USER_AGENT));
}

#[tokio::test]
async fn mistakes_in_control_are_named() {
    let stage = Stage::set().await;
    for (path, body, status, says) in [
        ("seed", json!({"sellers": 0, "orders": 1}), 422, "sellers must be between 1 and 10000, not 0"),
        ("seed", json!({"sellers": 1, "orders": 1, "sed": 1}), 422, "unknown field `sed`"),
        ("settings", json!({"speed": 0.0}), 422, "speed must be between 0.001 and 1000000, not 0"),
        (
            "settings",
            json!({"leak_buyer_data": true, "document_url_seconds": 100_000}),
            422,
            "document_url_seconds must be between 0 and 86400, not 100000",
        ),
        ("products", json!({"seller": "A0"}), 404, "there is no seller \\\"A0\\\""),
        ("faults", json!({"operation": "getReport", "fault": "fatal", "times": 1}), 422, "createReport"),
        ("orders", json!({"seller": "A0"}), 404, "there is no seller \\\"A0\\\""),
        ("sellers/A0/revoke", json!({}), 404, "there is no seller \\\"A0\\\""),
        ("faults", json!({"operation": "*", "fault": "cut", "times": 0}), 422, "times must be between 1"),
        ("faults", json!({"operation": "token", "fault": "empty_actions", "times": 1}), 422, "empty_actions"),
        ("fault", json!({}), 404, "there is no /control/fault"),
    ] {
        let answer = stage.control_post(path, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.text.contains(says), "{path}: {}", answer.text);
    }
    assert_eq!(stage.control().summary().refused, [""; 0], "control is not Amazon's side");
}

#[tokio::test]
async fn it_listens_on_loopback_only_and_is_gone_when_dropped() {
    let open = Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() };
    let refused = Sandbox::start(open).await.err().expect("it refuses");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);

    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let url = format!("{}/control/summary", sandbox.base_url());
    let client = http();
    assert_eq!(read(client.get(&url)).await.unwrap().status, 200);
    drop(sandbox);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while read(client.get(&url)).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "it still answers");
    }
}

#[tokio::test]
async fn the_truth_over_http_is_the_librarys() {
    let stage = Stage::set().await;
    let (seller, control) = (stage.seller(1).to_owned(), stage.control().clone());
    let of_seller = |what: &str| format!("sellers/{seller}/{what}");
    let changed =
        stage.control_post("products", json!({"seller": seller, "delete": 1, "count": 1})).await.json();
    assert_eq!(changed["deleted"].as_array().unwrap().len(), 1);
    let products: Vec<ProductRecord> = stage.control_get(&of_seller("products")).await;
    assert_eq!(products, control.products(&seller).unwrap());
    assert!(!products.iter().any(|product| changed["deleted"][0] == product.sku.as_str()));

    let left = json!({"marketplace_id": "A1F83G8C2ARO7P", "is_participating": false, "has_suspended_listings": true});
    assert_eq!(stage.control_post(&of_seller("participations"), left).await.status, 200);
    let participations: Vec<ParticipationRecord> = stage.control_get(&of_seller("participations")).await;
    assert_eq!(participations, control.participations(&seller).unwrap());
    assert!(!participations[0].is_participating && participations[0].has_suspended_listings);

    let wanted = "metrics?marketplace_id=A1F83G8C2ARO7P&time_zone=Europe/London";
    let days: Vec<DayRecord> = stage.control_get(&of_seller(wanted)).await;
    assert!(!days.is_empty());

    let feedback: Vec<FeedbackRecord> = stage.control_get(&of_seller("feedback")).await;
    let removal = json!({"seller": seller, "count": 1});
    let removed = stage.control_post("feedback/remove", removal).await.json();
    assert_eq!(removed["removed"], json!([feedback[0].order_id]));
    assert_eq!(control.feedback(&seller).unwrap(), feedback[1..]);
    let health: Vec<AccountHealthRecord> = stage.control_get(&of_seller("account_health")).await;
    assert_eq!(health, control.account_health(&seller).unwrap());

    stage.control_post("messages", json!({"body": "not even JSON"})).await;
    let queue: QueueRecord = stage.control_get("messages").await;
    assert_eq!((queue.visible, queue.messages.len()), (1, 1));
}
