//! Budgets as people look at them.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use jobs::sp_api::{Operation, budgets::budget};
use queue::limit::{Budgets, Grant};
use runtime::clock::{Clock, FakeClock, SystemClock};
use serde_json::json;

use crate::deployment::{Deployment, SELLER};

#[tokio::test]
async fn what_is_used_told_and_set_aside_is_shown() {
    let deployment = Deployment::new().await;
    assert!(deployment.does(&["budgets"]).contains("No seller is connected"));
    let seller = deployment.amzigo.seller();
    let budgets = Budgets::new(deployment.redis.redis.clone(), Arc::new(SystemClock));
    let search = budget(seller.parse().expect("an id"), Operation::SearchOrders);
    budgets.move_rate(&search, 0.001).await.expect("it is told");
    for n in 0..search.burst {
        let grant = budgets.ask(std::slice::from_ref(&search), &format!("job {n}")).await.expect("an answer");
        assert_eq!(grant, Grant::Now);
    }
    budgets.ask(std::slice::from_ref(&search), "one more").await.expect("an answer");

    let shown = deployment.run(&["budgets", "--json"]).json();
    let shown = shown["budgets"].as_array().expect("a list");
    let operations: Vec<_> = shown.iter().map(|budget| &budget["operation"]).collect();
    let expected = Operation::ALL.map(|operation| json!(operation.entry().name));
    assert_eq!(operations, expected.iter().collect::<Vec<_>>());
    let [orders, stock] = ["searchOrders", "getInventorySummaries"].map(|operation| {
        shown.iter().find(|budget| budget["operation"] == operation).expect("it is one of ours")
    });
    assert_eq!(
        ["seller", "calls", "burst", "rate", "set_aside"].map(|field| &orders[field]),
        [&json!(seller), &json!(0), &json!(search.burst), &json!(0.001), &json!(1)]
    );
    assert!(orders["told_until"].is_string() && stock["told_until"].is_null(), "{shown:?}");

    let table = deployment.does(&["budgets", "--seller", &seller]);
    assert!(table.contains("0 of 19") && table.contains("(documented)"), "{table}");
    let unknown = deployment.run(&["budgets", "--seller", SELLER]);
    assert!(unknown.error(3).contains("there is no seller"), "{}", unknown.err);
}

#[tokio::test]
async fn a_quota_that_another_application_uses_too_is_visible() {
    let deployment = Deployment::new().await;
    let seller = deployment.amzigo.seller();
    let search = budget(seller.parse().expect("an id"), Operation::SearchOrders);
    let clock = FakeClock::at(SystemClock.now() - TimeDelta::seconds(90));
    let budgets = Budgets::new(deployment.redis.redis.clone(), Arc::new(clock.clone()));
    budgets.drain(&search).await.expect("Redis is there");
    assert!(
        !deployment.does(&["budgets", "--seller", &seller]).contains("somebody else"),
        "once may be chance"
    );
    clock.advance(Duration::from_secs(60));
    budgets.drain(&search).await.expect("Redis is there");
    let table = deployment.does(&["budgets", "--seller", &seller]);
    let line = table.lines().find(|line| line.contains("75 % until")).unwrap_or_default();
    assert!(line.contains("searchOrders"), "{table}");
    assert_eq!(table.matches("75 %").count(), 1, "{table}");
}

#[tokio::test]
async fn of_many_sellers_one_must_be_named() {
    let deployment = Deployment::new().await;
    let seller = deployment.amzigo.seller();
    sqlx::query(
        "insert into sellers select (jsonb_populate_record(sellers, jsonb_build_object(
            'id', gen_random_uuid(), 'selling_partner_id', 'A' || n))).* from sellers, generate_series(1, 20) as n",
    )
    .execute(&deployment.amzigo.database.pool)
    .await
    .expect("the rows fit");
    let refused = deployment.run(&["budgets"]);
    assert!(refused.error(2).contains("21 sellers are connected: name one with --seller"), "{}", refused.err);
    assert!(deployment.does(&["budgets", "--seller", &seller]).contains("searchOrders"));
}
