//! How Amazon judges a seller, and the report that tells it: one chapter for each marketplace.
//!
//! What is counted in orders follows from the orders of the last sixty days; the rest follows from the seller's id.

use crate::dice::Dice;
use crate::orders::{FulfilledBy, OrderBook};
use crate::sellers::{Marketplace, Seller};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

const MEASURED: TimeDelta = TimeDelta::days(60);

/// How a seller stands in a marketplace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountHealth {
    /// The marketplace.
    pub(crate) marketplace: &'static Marketplace,
    /// `NORMAL`, `AT_RISK` or `DEACTIVATED`.
    pub(crate) status: &'static str,
    /// Orders that Amazon shipped, and those among them that went wrong.
    pub(crate) by_amazon: (u64, u64),
    /// Orders that the seller shipped, and those among them that went wrong.
    pub(crate) by_seller: (u64, u64),
    /// Orders that the seller shipped late.
    pub(crate) late_shipments: u64,
    /// Orders that the seller cancelled.
    pub(crate) cancellations: u64,
    /// Listings that break a policy.
    pub(crate) policy_violations: u64,
}

/// How a seller stands in each of these marketplaces.
pub(crate) fn account_health(
    orders: &OrderBook,
    seller: &Seller,
    marketplaces: &[&'static Marketplace],
    now: DateTime<Utc>,
) -> Vec<AccountHealth> {
    let judge = |marketplace: &&'static Marketplace| {
        let mut shipped = [0, 0];
        let of_late = orders
            .timeline(&seller.selling_partner_id)
            .filter(|order| order.marketplace == *marketplace && order.created_at > now - MEASURED);
        for order in of_late {
            shipped[usize::from(order.fulfilled_by == FulfilledBy::Merchant)] += 1;
        }
        let [by_amazon, by_seller] = shipped;
        let mut dice = Dice::of(marketplace.id, &seller.selling_partner_id, 0);
        let mut some_of = |all: u64| dice.below(all / 20 + 2).min(all);
        AccountHealth {
            marketplace,
            by_amazon: (by_amazon, some_of(by_amazon)),
            by_seller: (by_seller, some_of(by_seller)),
            late_shipments: some_of(by_seller),
            cancellations: some_of(by_seller),
            policy_violations: dice.below(3),
            status: if dice.percent(10) { "AT_RISK" } else { "NORMAL" },
        }
    };
    marketplaces.iter().map(judge).collect()
}

/// The report, in the shape of Amazon's schema `accountHealthReport-2020-11-18`.
pub(crate) fn account_health_report(health: &[AccountHealth], now: DateTime<Utc>) -> Vec<u8> {
    let status = |one: &AccountHealth| json!({"marketplaceId": one.marketplace.id, "status": one.status});
    let statuses: Vec<Value> = health.iter().map(status).collect();
    let metrics: Vec<Value> = health.iter().map(|one| metrics_document(one, now)).collect();
    json!({"accountStatuses": statuses, "performanceMetrics": metrics}).to_string().into_bytes()
}

fn metrics_document(health: &AccountHealth, now: DateTime<Utc>) -> Value {
    let range = range_document(now);
    let violations = |count: u64| {
        json!({
            "reportingDateRange": range,
            "defectsCount": count,
            "status": if count == 0 { "GOOD" } else { "BAD" },
            "targetValue": 0,
            "targetCondition": "EQUALS",
        })
    };
    let (shipped, _) = health.by_seller;
    let at_most = |count: u64, target: f64, named: Value| {
        let rate = share(count, shipped);
        let mut metric = json!({
            "reportingDateRange": range,
            "orderCount": shipped,
            "status": if rate < target { "GOOD" } else { "BAD" },
            "rate": rate,
            "targetValue": target,
            "targetCondition": "LESS_THAN",
        });
        add(&mut metric, named);
        metric
    };
    let at_least = |target: f64, named: Value| {
        let mut metric = json!({
            "reportingDateRange": range,
            "status": "GOOD",
            "rate": 1.0,
            "targetValue": target,
            "targetCondition": "GREATER_THAN",
        });
        add(&mut metric, named);
        metric
    };
    let none = || json!({"count": 0, "status": "NONE"});
    json!({
        "marketplaceId": health.marketplace.id,
        "invoiceDefectRate": at_most(0, 0.05, json!({
            "invoiceDefect": none(), "missingInvoice": none(), "lateInvoice": none(),
        })),
        "lateShipmentRate":
            at_most(health.late_shipments, 0.04, json!({"lateShipmentCount": health.late_shipments})),
        "orderDefectRate": {
            "mfn": defects_document(health.by_seller, "mfn", &range),
            "afn": defects_document(health.by_amazon, "afn", &range),
        },
        "onTimeDeliveryRate": at_least(0.9, json!({
            "shipmentCountWithValidTracking": shipped, "onTimeDeliveryCount": shipped,
        })),
        "unitOnTimeDeliveryRate":
            at_least(0.9, json!({"unitOnTimeDeliveryCount": shipped, "totalUnitCount": shipped})),
        "validTrackingRate":
            at_least(0.95, json!({"shipmentCount": shipped, "validTrackingCount": shipped})),
        "preFulfillmentCancellationRate":
            at_most(health.cancellations, 0.025, json!({"cancellationCount": health.cancellations})),
        "warningStates": [],
        // Required by the schema, which then describes it under another name; its example has this one.
        "accountHealthRating": {"ahrStatus": "GREAT", "reportingDateRange": range},
        "listingPolicyViolations": violations(health.policy_violations),
        "productAuthenticityCustomerComplaints": violations(0),
        "productConditionCustomerComplaints": violations(0),
        "productSafetyCustomerComplaints": violations(0),
        "receivedIntellectualPropertyComplaints": violations(0),
        "restrictedProductPolicyViolations": violations(0),
        "suspectedIntellectualPropertyViolations": violations(0),
        "foodAndProductSafetyIssues": violations(0),
        "otherPolicyViolations": violations(0),
        "documentRequests": violations(0),
    })
}

fn defects_document((orders, defects): (u64, u64), fulfilled: &str, range: &Value) -> Value {
    let rate = share(defects, orders);
    let status = if rate < 0.01 { "GOOD" } else { "BAD" };
    let none = || json!({"count": 0, "status": "NONE"});
    json!({
        "reportingDateRange": range,
        "orderCount": orders,
        "orderWithDefects": {"count": defects, "status": status},
        "claims": none(),
        "chargebacks": none(),
        "negativeFeedback": {"count": defects, "status": "NONE"},
        "fulfillmentType": fulfilled,
        "status": status,
        "rate": rate,
        "targetValue": 0.01,
        "targetCondition": "LESS_THAN",
    })
}

/// In the examples of Amazon's schema: no seconds.
fn range_document(now: DateTime<Utc>) -> Value {
    json!({
        "reportingDateFrom": (now - MEASURED).format("%Y-%m-%dT00:00Z").to_string(),
        "reportingDateTo": now.format("%Y-%m-%dT23:59Z").to_string(),
    })
}

/// To four decimals.
fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (count as f64 / of as f64 * 1e4).round() / 1e4 }
}

fn add(metric: &mut Value, named: Value) {
    if let (Value::Object(metric), Value::Object(named)) = (metric, named) {
        metric.extend(named);
    }
}
