//! The rules a client can break: sign-in, user agent, quotas, paging, windows, once per order.

use crate::client::{Solicitation, Stage, USER_AGENT, read};
use chrono::TimeDelta;
use sandbox::{Operation, SettingsChange};
use std::collections::BTreeSet;

const DENIED: &str = "Access to requested resource is denied.";

#[tokio::test]
async fn a_token_opens_its_sellers_orders_for_an_hour() {
    let stage = Stage::set().await;
    let signed_in = stage.sign_in(0).await;
    assert_eq!(signed_in.header("cache-control"), Some("no-store"));
    assert_eq!(signed_in.json()["expires_in"], 3600);
    let token = stage.access_token(0).await;

    stage.clock.advance(TimeDelta::seconds(3599));
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 200);
    stage.clock.advance(TimeDelta::seconds(1));
    let expired = stage.get(&stage.search(""), &token).await;
    assert_eq!(expired.status, 403);
    let details = "The access token you provided has expired.";
    assert_eq!(expired.complaint(), (DENIED.to_owned(), details.to_owned()));
    assert_eq!(expired.header("x-amzn-ratelimit-limit"), None);
    assert_eq!(stage.get(&stage.search(""), &stage.access_token(0).await).await.status, 200);
}

#[tokio::test]
async fn a_call_without_token_or_user_agent_is_refused() {
    let stage = Stage::set().await;
    let url = format!("{}{}", stage.base_url, stage.search(""));
    let bare = read(stage.client.get(&url).header("user-agent", USER_AGENT)).await.unwrap();
    assert_eq!(bare.status, 403);
    let details = "Access token is missing in the request header.";
    assert_eq!(bare.complaint(), (DENIED.to_owned(), details.to_owned()));

    let token = stage.access_token(0).await;
    let nameless = read(stage.client.get(&url).header("x-amz-access-token", &token)).await.unwrap();
    assert_eq!(nameless.status, 400);
    assert_eq!(nameless.complaint().1, "The user-agent header is missing.");
}

#[tokio::test]
async fn a_speed_shortens_lives_and_raises_the_rate_that_the_header_names() {
    let stage = Stage::set().await;
    stage
        .control()
        .change_settings(SettingsChange { speed: Some(600.0), ..SettingsChange::default() })
        .expect("a fitting speed");
    let signed_in = stage.sign_in(0).await.json();
    assert_eq!(signed_in["expires_in"], 6);
    let token = stage.access_token(0).await;

    let first = stage.get(&stage.search(""), &token).await;
    assert_eq!(first.header("x-amzn-ratelimit-limit"), Some("3.36"));
    stage.clock.advance(TimeDelta::seconds(6));
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 403);
}

#[tokio::test]
async fn an_empty_bucket_answers_429_until_a_token_has_come_back() {
    let stage = Stage::set().await;
    let (token, other) = (stage.access_token(0).await, stage.access_token(1).await);
    for call in 1..=20 {
        let answer = stage.get(&stage.search("&maxResultsPerPage=1"), &token).await;
        assert_eq!(answer.status, 200, "call {call} is within the burst");
        assert_eq!(answer.header("x-amzn-ratelimit-limit"), Some("0.0056"));
    }
    let throttled = stage.get(&stage.search(""), &token).await;
    assert_eq!(throttled.status, 429);
    assert_eq!(
        throttled.text,
        r#"{"errors":[{"code":"QuotaExceeded","details":"","message":"You exceeded your quota for the requested resource."}]}"#
    );
    assert_eq!(throttled.header("x-amzn-ratelimit-limit"), None);
    assert_eq!(throttled.header("retry-after"), None);
    assert!(throttled.header("x-amzn-requestid").is_some());
    assert_eq!(stage.get(&stage.search(""), &other).await.status, 200, "another seller has its own bucket");

    stage.clock.advance(TimeDelta::seconds(179));
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 200);
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 429);
    assert_eq!(stage.control().summary().throttled, 2);
}

#[tokio::test]
async fn paging_finds_every_order_of_the_seller_once_and_none_of_others() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let (mut found, mut more) = (Vec::new(), String::new());
    loop {
        let query = format!("&maxResultsPerPage=40&includedData=FULFILLMENT{more}");
        let page = stage.get(&stage.search(&query), &token).await.json();
        let orders = page["orders"].as_array().unwrap();
        found.extend(orders.iter().map(|order| order["orderId"].as_str().unwrap().to_owned()));
        match page["pagination"]["nextToken"].as_str() {
            Some(next) => more = format!("&paginationToken={next}"),
            None => break,
        }
    }
    let known: Vec<String> =
        stage.control().orders()[stage.seller(0)].iter().map(|order| order.id.clone()).collect();
    assert_eq!(found, known, "in the same order, too");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
}

#[tokio::test]
async fn a_foreign_paging_token_is_invalid_input_and_names_the_rate() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let page = stage.get(&stage.search("&maxResultsPerPage=1"), &token).await.json();
    let next = page["pagination"]["nextToken"].as_str().expect("there are more pages").to_owned();
    let resumed = stage.search(&format!("&maxResultsPerPage=1&paginationToken={next}"));
    assert_eq!(stage.get(&resumed, &token).await.status, 200);

    let foreign = stage.get(&resumed, &stage.access_token(1).await).await;
    assert_eq!(foreign.status, 400);
    assert_eq!(foreign.json()["errors"][0]["code"], "InvalidInput");
    assert_eq!(foreign.header("x-amzn-ratelimit-limit"), Some("0.0056"));
}

#[tokio::test]
async fn an_order_is_solicited_once_and_the_second_attempt_is_counted() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let order = stage.solicitation(0, true);
    let offered = stage.get(&order.actions, &token).await;
    assert_eq!(offered.header("content-type"), Some("application/hal+json"));
    let action = offered.json()["_links"]["actions"][0].clone();
    assert_eq!(
        (action["name"].as_str(), action["href"].as_str()),
        (Some("productReviewAndSellerFeedback"), Some(order.create.as_str()))
    );

    let sent = stage.post(&order.create, &token).await;
    assert_eq!((sent.status.as_u16(), sent.text.as_str()), (201, "{}"));
    assert_eq!(stage.control().summary().duplicate_requests, 0);
    assert_eq!(stage.get(&order.actions, &token).await.json()["_links"]["actions"], serde_json::json!([]));

    let again = stage.post(&order.create, &token).await;
    assert_eq!(again.status, 403);
    let message = "The requested solicitation is not available for this amazonOrderId.";
    assert_eq!(again.complaint().0, message);
    let summary = stage.control().summary();
    assert_eq!((summary.review_requests_sent, summary.duplicate_requests), (1, 1));
    let orders = stage.control().orders();
    let record = orders[stage.seller(0)].iter().find(|record| record.id == order.order_id).unwrap();
    assert_eq!((record.solicited_count, record.solicited_at), (2, Some(stage.clock.now())));
}

#[tokio::test]
async fn the_window_opens_and_closes_by_the_wall_clock() {
    let stage = Stage::set().await;
    let order = stage.solicitation(0, true);
    stage.clock.advance(TimeDelta::days(40));
    let closed = stage.post(&order.create, &stage.access_token(0).await).await;
    assert_eq!(closed.status, 403);
    let message = "You can't use this feature to request a review outside the 5-30 day range after the order delivery date.";
    assert_eq!(closed.complaint().0, message);
}

#[tokio::test]
async fn eligible_stays_the_same_when_everything_eligible_was_solicited() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let before = stage.control().summary();
    let orders = stage.control().orders();
    let mine = &orders[stage.seller(0)];
    for order in mine.iter().filter(|order| order.eligible) {
        stage.clock.advance(TimeDelta::seconds(1));
        let solicitation = Solicitation::new(&order.id, &order.marketplace_id);
        assert_eq!(stage.post(&solicitation.create, &token).await.status, 201, "{}", order.id);
    }
    let after = stage.control().summary();
    assert_eq!(before.review_requests_eligible, 60, "a third of the orders");
    assert_eq!(after.review_requests_eligible, 60);
    assert_eq!(after.review_requests_sent, mine.iter().filter(|order| order.eligible).count());
    assert_eq!(after.duplicate_requests, 0);
}

#[tokio::test]
async fn what_is_not_an_operation_is_refused_and_remembered() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let pricing = stage.get("/products/pricing/v0/price?MarketplaceId=A1F83G8C2ARO7P", &token).await;
    assert_eq!((pricing.status.as_u16(), pricing.complaint().0), (403, DENIED.to_owned()));
    assert_eq!(stage.get("/favicon.ico", &token).await.status, 404);

    let summary = stage.control().summary();
    assert_eq!(summary.refused, ["GET /products/pricing/v0/price", "GET /favicon.ico"]);
    assert_eq!(summary.calls.keys().copied().collect::<Vec<_>>(), [Operation::Token]);
}
