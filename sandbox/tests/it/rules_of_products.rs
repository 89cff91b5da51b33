//! The rules a client can break when it asks about products and sales, and that answers agree with the truth.

use crate::client::Stage;
use chrono::TimeDelta;
use reqwest::StatusCode;
use sandbox::{MetricsWanted, ParticipationRecord, ProductChanges, ProductRecord, SettingsChange};
use serde_json::{Value, json};

const GB: &str = "A1F83G8C2ARO7P";
const DE: &str = "A1PA6795UKMFR9";

impl Stage {
    /// All items of a paged answer: `items` finds a page's, `token` the next page's token.
    async fn all(&self, path: &str, token: &str, parameter: &str, items: &str) -> Vec<Value> {
        let (mut found, mut more) = (Vec::new(), String::new());
        loop {
            let answer = self.get(&format!("{path}{more}"), token).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let page = answer.json();
            found.extend(page.pointer(items).and_then(Value::as_array).expect("a list").iter().cloned());
            self.clock.advance(TimeDelta::seconds(1));
            match page["pagination"]["nextToken"].as_str() {
                Some(next) => more = format!("&{parameter}={next}"),
                None => return found,
            }
        }
    }

    fn products_in(&self, number: usize, marketplace: &str) -> Vec<ProductRecord> {
        let mut products = self.control().products(self.seller(number)).expect("a seller");
        products.retain(|product| product.marketplace_id == marketplace);
        products
    }
}

fn inventory(marketplace: &str) -> String {
    let base = "/fba/inventory/v1/summaries?granularityType=Marketplace&details=true";
    format!("{base}&granularityId={marketplace}&marketplaceIds={marketplace}")
}

#[tokio::test]
async fn the_second_seller_could_sell_in_one_marketplace_more() {
    let stage = Stage::set().await;
    let path = "/sellers/v1/marketplaceParticipations";
    let read = async |number: usize| -> Vec<(String, bool)> {
        let answer = stage.get(path, &stage.access_token(number).await).await.json();
        let one = |entry: &Value| {
            let id = entry["marketplace"]["id"].as_str().unwrap().to_owned();
            (id, entry["participation"]["isParticipating"].as_bool().unwrap())
        };
        answer["payload"].as_array().unwrap().iter().map(one).collect()
    };
    assert_eq!(read(0).await.iter().filter(|(_, sells)| !sells).count(), 0);
    assert_eq!(read(1).await.last(), Some(&("A28R8C7NBKEWEA".to_owned(), false)));
    let joins = ParticipationRecord {
        marketplace_id: "A28R8C7NBKEWEA".to_owned(),
        is_participating: true,
        has_suspended_listings: false,
    };
    stage.control().change_participation(stage.seller(1), &joins).unwrap();
    assert_eq!(read(1).await.last(), Some(&("A28R8C7NBKEWEA".to_owned(), true)));
}

#[tokio::test]
async fn the_inventory_has_every_product_that_amazon_ships_with_its_true_stock() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    for marketplace in [GB, DE] {
        let found =
            stage.all(&inventory(marketplace), &token, "nextToken", "/payload/inventorySummaries").await;
        let told: Vec<_> = found
            .iter()
            .map(|summary| {
                let details = &summary["inventoryDetails"];
                (
                    summary["sellerSku"].as_str().unwrap().to_owned(),
                    summary["totalQuantity"].as_u64().unwrap(),
                    details["fulfillableQuantity"].as_u64().unwrap(),
                    details["reservedQuantity"]["totalReservedQuantity"].as_u64().unwrap(),
                )
            })
            .collect();
        let known: Vec<_> = stage
            .products_in(0, marketplace)
            .into_iter()
            .filter(|product| product.fulfilled_by_amazon)
            .map(|it| (it.sku, it.stock.total.into(), it.stock.fulfillable.into(), it.stock.reserved.into()))
            .collect();
        assert_eq!(told, known);
    }
}

#[tokio::test]
async fn an_inventory_token_dies_after_30_seconds_however_fast_the_sandbox_runs() {
    let stage = Stage::with_orders(400).await;
    stage
        .control()
        .change_settings(SettingsChange { speed: Some(60.0), ..SettingsChange::default() })
        .unwrap();
    let token = stage.access_token(0).await;
    let first = stage.get(&inventory(GB), &token).await.json();
    assert_eq!(first["payload"]["inventorySummaries"].as_array().unwrap().len(), 50);
    assert!(first["payload"].get("pagination").is_none(), "it stands outside of the payload");
    let next = first["pagination"]["nextToken"].as_str().expect("there are more pages");
    let resumed = format!("{}&nextToken={next}", inventory(GB));

    stage.clock.advance(TimeDelta::milliseconds(29_900));
    assert_eq!(stage.get(&resumed, &token).await.status, 200);
    let since = format!("{resumed}&startDateTime=2026-12-01T00:00:00Z");
    assert_eq!(stage.get(&since, &token).await.status, 400, "other parameters than the first page's");
    stage.clock.advance(TimeDelta::milliseconds(100));
    let dead = stage.get(&resumed, &stage.access_token(0).await).await;
    assert_eq!(dead.status, 400);
    assert_eq!(dead.json()["errors"][0]["code"], "InvalidInput");
}

#[tokio::test]
async fn tests_choose_how_long_an_inventory_token_lives() {
    let stage = Stage::with_orders(400).await;
    let change = SettingsChange { inventory_token_seconds: Some(2.0), ..SettingsChange::default() };
    assert_eq!(stage.control().change_settings(change).unwrap().inventory_token_seconds, 2.0);
    let token = stage.access_token(0).await;
    let next = stage.get(&inventory(GB), &token).await.json()["pagination"]["nextToken"].clone();
    stage.clock.advance(TimeDelta::seconds(2));
    let resumed = format!("{}&nextToken={}", inventory(GB), next.as_str().unwrap());
    assert_eq!(stage.get(&resumed, &token).await.status, 400);
}

#[tokio::test]
async fn the_inventory_refuses_what_amazon_would() {
    let stage = Stage::set().await;
    stage
        .control()
        .change_settings(SettingsChange { speed: Some(1e6), ..SettingsChange::default() })
        .unwrap();
    for (name, wrong) in [
        ("another granularity", inventory(GB).replace("=Marketplace", "=Country")),
        ("no granularity", inventory(GB).replace("granularityType=Marketplace&", "")),
        ("another marketplace", inventory(GB).replacen(GB, DE, 1)),
        ("two marketplaces", format!("{},{DE}", inventory(GB))),
        ("a foreign marketplace", inventory("ATVPDKIKX0DER")),
        ("too long ago", format!("{}&startDateTime=2025-06-01T00:00:00Z", inventory(GB))),
        ("an unknown parameter", format!("{}&pageSize=10", inventory(GB))),
    ] {
        let token = stage.access_token(0).await;
        stage.clock.advance(TimeDelta::milliseconds(10));
        assert_eq!(stage.get(&wrong, &token).await.status, 400, "{name}");
    }
}

#[tokio::test]
async fn what_changed_is_found_and_what_was_deleted_is_not() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let since = stage.clock.now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = ProductChanges {
        seller: stage.seller(0).to_owned(),
        count: 2,
        touch: 6,
        delete: 3,
        ..ProductChanges::default()
    };
    let changed = stage.control().change_products(&change).unwrap();
    let mut expected = [changed.added.clone(), changed.touched.clone()].concat();
    expected.sort();

    let listings = format!(
        "/listings/2021-08-01/items/{}?marketplaceIds={GB}&sortBy=sku&sortOrder=ASC",
        stage.seller(0)
    );
    let updated = format!("{listings}&lastUpdatedAfter={since}");
    let sku = |item: &Value| item["sku"].as_str().unwrap().to_owned();
    let found: Vec<String> =
        stage.all(&updated, &token, "pageToken", "/items").await.iter().map(sku).collect();
    assert_eq!(found, expected);

    let everything: Vec<String> =
        stage.all(&listings, &token, "pageToken", "/items").await.iter().map(sku).collect();
    assert!(changed.deleted.iter().all(|gone| !everything.contains(gone)));
    let known: Vec<String> = stage.products_in(0, GB).into_iter().map(|product| product.sku).collect();
    assert_eq!(everything, known);

    let by_amazon: Vec<String> = stage
        .products_in(0, GB)
        .into_iter()
        .filter(|product| product.fulfilled_by_amazon && expected.contains(&product.sku))
        .map(|product| product.sku)
        .collect();
    let since = format!("{}&startDateTime={since}", inventory(GB));
    let moved = stage.all(&since, &token, "nextToken", "/payload/inventorySummaries").await;
    let moved: Vec<&str> = moved.iter().map(|summary| summary["sellerSku"].as_str().unwrap()).collect();
    assert_eq!(moved, by_amazon);
}

#[tokio::test]
async fn prices_come_only_when_offers_are_asked_for() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let path = format!("/listings/2021-08-01/items/{}?marketplaceIds={GB}", stage.seller(0));
    let silent = "summaries,attributes,issues,fulfillmentAvailability,relationships,productTypes";
    let answer = stage.get(&format!("{path}&includedData={silent}"), &token).await;
    assert!(!answer.text.contains("currencyCode"), "{}", answer.text);
    let offers = stage.get(&format!("{path}&includedData=offers"), &token).await.json();
    assert_eq!(offers["items"][0]["offers"][0]["price"]["currencyCode"], "GBP");
}

#[tokio::test]
async fn listings_carry_their_true_status_and_issues() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let path = format!(
        "/listings/2021-08-01/items/{}?marketplaceIds={DE}&includedData=summaries,issues&pageSize=20&sortBy=sku&sortOrder=ASC",
        stage.seller(0)
    );
    let codes = |item: &Value| -> Vec<String> {
        let issues = item["issues"].as_array().unwrap();
        issues.iter().map(|issue| issue["code"].as_str().unwrap().to_owned()).collect()
    };
    let told: Vec<_> = stage
        .all(&path, &token, "pageToken", "/items")
        .await
        .iter()
        .map(|item| {
            let status = item["summaries"][0]["status"].as_array().unwrap();
            let is = |name: &str| status.contains(&json!(name));
            (item["sku"].as_str().unwrap().to_owned(), is("BUYABLE"), is("DISCOVERABLE"), codes(item))
        })
        .collect();
    let known: Vec<_> = stage
        .products_in(0, DE)
        .into_iter()
        .map(|it| {
            let issues = it.issues.into_iter().map(|issue| issue.code).collect();
            (it.sku, it.buyable, it.discoverable, issues)
        })
        .collect();
    assert_eq!(told, known);
    assert!(known.iter().any(|(_, _, _, codes): &(_, _, _, Vec<String>)| !codes.is_empty()));

    let with_errors =
        stage.all(&format!("{path}&withIssueSeverity=ERROR"), &token, "pageToken", "/items").await;
    assert!(!with_errors.is_empty() && with_errors.len() < told.len());
}

#[tokio::test]
async fn twenty_asins_a_call_and_an_unknown_one_is_simply_missing() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let products: Vec<ProductRecord> = stage.products_in(0, GB).into_iter().take(20).collect();
    let asins: Vec<&str> = products.iter().map(|product| product.asin.as_str()).collect();
    let search = |asins: &[&str]| {
        format!(
            "/catalog/2022-04-01/items?identifiersType=ASIN&includedData=salesRanks&marketplaceIds={GB}&pageSize=20&identifiers={}",
            asins.join(",")
        )
    };
    let mut asked = asins[..19].to_vec();
    asked.push("B000UNKNOWN");
    let found = stage.get(&search(&asked), &token).await.json();
    assert_eq!(found["numberOfResults"], 19);
    for item in found["items"].as_array().unwrap() {
        let known = products.iter().find(|product| item["asin"] == product.asin.as_str()).unwrap();
        let ranks = &item["salesRanks"][0];
        assert_eq!(ranks["classificationRanks"][0]["rank"], known.class_rank);
        assert_eq!(ranks["displayGroupRanks"][0]["rank"], known.group_rank);
    }
    asked.push(asins[19]);
    assert_eq!(stage.get(&search(&asked), &token).await.status, 400, "21 are too many");
    let throttled = stage.get(&search(&asked), &token).await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS, "two calls are the burst");
    stage.clock.advance(TimeDelta::seconds(1));
    let small = stage.get(&search(&asins[..11]).replace("&pageSize=20", ""), &token).await.json();
    assert_eq!((small["items"].as_array().unwrap().len(), &small["numberOfResults"]), (10, &json!(11)));
    assert!(small["pagination"]["nextToken"].is_string());
}

#[tokio::test]
async fn metrics_are_those_of_the_orders_by_day_of_the_zone() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let interval = "2026-11-10T00:00:00%2B01:00--2027-01-16T00:00:00%2B01:00";
    let path = format!(
        "/sales/v1/orderMetrics?marketplaceIds={DE}&interval={interval}&granularityTimeZone=Europe/Berlin"
    );
    let asin = stage.products_in(0, DE).into_iter().map(|product| product.asin).find(|asin| {
        let wanted = wanted(Some(asin.clone()));
        !stage.control().metrics(stage.seller(0), &wanted).unwrap().is_empty()
    });
    let asin = asin.expect("something was sold");
    for (more, asin) in [(String::new(), None), (format!("&asin={asin}"), Some(asin.clone()))] {
        let days = stage.get(&format!("{path}&granularity=Day{more}"), &token).await.json();
        let days = days["payload"].as_array().unwrap().clone();
        assert_eq!(days.len(), 67);
        assert_eq!(days[0]["interval"], "2026-11-10T00:00+01:00--2026-11-11T00:00+01:00");
        let told: Vec<_> = days
            .iter()
            .filter(|day| day["orderCount"] != 0)
            .map(|day| {
                let date = day["interval"].as_str().unwrap()[..10].to_owned();
                let counts =
                    ["unitCount", "orderItemCount", "orderCount"].map(|name| day[name].as_u64().unwrap());
                (date, counts, cents(&day["totalSales"]))
            })
            .collect();
        let known: Vec<_> = stage
            .control()
            .metrics(stage.seller(0), &wanted(asin))
            .unwrap()
            .into_iter()
            .filter(|day| (day.date.to_string().as_str()) >= "2026-11-10")
            .map(|day| (day.date.to_string(), [day.units, day.order_items, day.orders], day.sales_cents))
            .collect();
        assert_eq!(told, known);
        let total = stage.get(&format!("{path}&granularity=Total{more}"), &token).await.json();
        assert_eq!(
            cents(&total["payload"][0]["totalSales"]),
            known.iter().map(|(_, _, cents)| cents).sum::<u64>()
        );
    }
}

fn wanted(asin: Option<String>) -> MetricsWanted {
    MetricsWanted { marketplace_id: DE.to_owned(), time_zone: "Europe/Berlin".to_owned(), asin }
}

/// Reads an amount as Amazon writes it, in hundredths.
fn cents(money: &Value) -> u64 {
    assert_eq!(money["currencyCode"], "EUR");
    let amount: f64 = money["amount"].as_str().unwrap().parse().unwrap();
    (amount * 100.0).round() as u64
}

#[tokio::test]
async fn metrics_refuse_a_zone_that_does_not_fit_and_both_of_asin_and_sku() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let path = format!("/sales/v1/orderMetrics?marketplaceIds={GB}");
    let utc = "&interval=2027-01-01T00:00:00Z--2027-01-03T00:00:00Z";
    for (query, status) in [
        (format!("{utc}&granularity=Hour"), 200),
        (format!("{utc}&granularity=Day"), 400),
        (format!("{utc}&granularity=Day&granularityTimeZone=UTC"), 200),
        (format!("{utc}&granularity=Day&granularityTimeZone=Europe/London"), 400),
        (format!("{utc}&granularity=Day&granularityTimeZone=UTC&asin=B01&sku=S"), 400),
        (format!("{utc}&granularity=Decade&granularityTimeZone=UTC"), 400),
        ("&interval=2027-01-01--2027-01-03&granularity=Hour".to_owned(), 400),
        ("&interval=2026-11-01T00:00:00Z--2027-01-03T00:00:00Z&granularity=Hour".to_owned(), 400),
        (
            "&interval=2025-01-01T00:00:00Z--2025-01-03T00:00:00Z&granularity=Total&granularityTimeZone=UTC"
                .to_owned(),
            400,
        ),
    ] {
        let answer = stage.get(&format!("{path}{query}"), &token).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
    }
}
