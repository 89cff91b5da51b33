//! The report GET_V2_SELLER_PERFORMANCE_REPORT: how Amazon judges an account in each marketplace, as JSON.
//!
//! Read leniently: Amazon's own example differs from its schema in four names, and metrics come and go. Of text, only words
//! in capitals are taken over, as GOOD; a report has no other text that we need.

use std::io::Read;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sp_api::{moments::moment, report_document::DocumentError};

/// Most bytes of the report: it has about ten kilobytes for each marketplace.
pub const MAX_HEALTH_BYTES: u64 = 4 * 1024 * 1024;
/// The metric that is the account as a whole.
pub const ACCOUNT_STATUS: &str = "account_status";

/// How Amazon judges one metric in one marketplace.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Where.
    pub marketplace_id: String,
    /// Which metric, as `late_shipment_rate`.
    pub metric: &'static str,
    /// Amazon's word, as GOOD.
    pub status: String,
    /// The rate, 0 to 1.
    pub rate: Option<f64>,
    /// What the rate or the count has to keep to.
    pub target: Option<f64>,
    /// How, as LESS_THAN.
    pub target_condition: Option<String>,
    /// How often it happened.
    pub counted: Option<i64>,
    /// Of how many.
    pub out_of: Option<i64>,
    /// Start of the time that was measured.
    pub measured_from: Option<DateTime<Utc>>,
    /// End of the time that was measured.
    pub measured_until: Option<DateTime<Utc>>,
}

/// Our name of a metric, and Amazon's names of it.
const METRICS: [(&str, &[&str]); 17] = [
    ("account_health_rating", &["accountHealthRating"]),
    ("invoice_defect_rate", &["invoiceDefectRate"]),
    ("late_shipment_rate", &["lateShipmentRate"]),
    ("on_time_delivery_rate", &["onTimeDeliveryRate"]),
    ("unit_on_time_delivery_rate", &["unitOnTimeDeliveryRate"]),
    ("valid_tracking_rate", &["validTrackingRate"]),
    ("cancellation_rate", &["preFulfillmentCancellationRate", "prefulfillmentCancelRate"]),
    ("listing_policy_violations", &["listingPolicyViolations"]),
    ("product_authenticity_complaints", &["productAuthenticityCustomerComplaints"]),
    ("product_condition_complaints", &["productConditionCustomerComplaints"]),
    ("product_safety_complaints", &["productSafetyCustomerComplaints"]),
    ("intellectual_property_complaints", &["receivedIntellectualPropertyComplaints"]),
    ("suspected_intellectual_property_violations", &["suspectedIntellectualPropertyViolations"]),
    ("restricted_product_violations", &["restrictedProductPolicyViolations"]),
    ("food_and_product_safety_issues", &["foodAndProductSafetyIssues"]),
    ("other_policy_violations", &["otherPolicyViolations"]),
    ("document_requests", &["documentRequests", "documentRequest"]),
];
/// The order defect rate comes by who fulfils: our names, and Amazon's.
const ORDER_DEFECT_RATES: [(&str, &str); 2] =
    [("order_defect_rate_by_seller", "mfn"), ("order_defect_rate_by_amazon", "afn")];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(default)]
    account_statuses: Vec<AccountStatus>,
    #[serde(default)]
    performance_metrics: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountStatus {
    marketplace_id: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    #[serde(alias = "accountHealthRatingStatus", alias = "ahrStatus")]
    status: String,
    #[serde(default)]
    rate: Option<f64>,
    #[serde(default)]
    target_value: Option<f64>,
    #[serde(default)]
    target_condition: Option<String>,
    #[serde(
        default,
        alias = "defectsCount",
        alias = "lateShipmentCount",
        alias = "onTimeDeliveryCount",
        alias = "unitOnTimeDeliveryCount",
        alias = "validTrackingCount",
        alias = "cancellationCount"
    )]
    counted: Option<f64>,
    #[serde(default, alias = "invoiceDefect")]
    order_with_defects: Option<Defects>,
    #[serde(
        default,
        alias = "shipmentCountWithValidTracking",
        alias = "totalUnitCount",
        alias = "shipmentCount"
    )]
    order_count: Option<f64>,
    #[serde(default)]
    reporting_date_range: Option<Range>,
}

#[derive(Deserialize)]
struct Defects {
    count: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    #[serde(default)]
    reporting_date_from: Option<String>,
    #[serde(default)]
    reporting_date_to: Option<String>,
}

/// Reads the report: what can be read of it, in the order of marketplaces.
///
/// # Errors
/// When it is not the JSON of such a report, or not whole.
pub fn read_health(text: impl Read) -> Result<Vec<Judgement>, DocumentError> {
    let report: Report = serde_json::from_reader(text).map_err(unreadable)?;
    let mut judgements = Vec::new();
    for AccountStatus { marketplace_id, status } in report.account_statuses {
        if !is_marketplace(&marketplace_id) {
            continue;
        }
        judgements.extend(word(&status).map(|status| bare(&marketplace_id, ACCOUNT_STATUS, status)));
    }
    for metrics in report.performance_metrics {
        let marketplace = metrics.get("marketplaceId").and_then(Value::as_str);
        let Some(marketplace) = marketplace.filter(|id| is_marketplace(id)) else { continue };
        let single = METRICS
            .iter()
            .filter_map(|(ours, amazons)| Some((*ours, amazons.iter().find_map(|name| metrics.get(*name))?)));
        let by_who = ORDER_DEFECT_RATES
            .iter()
            .filter_map(|(ours, who)| Some((*ours, metrics.get("orderDefectRate")?.get(*who)?)));
        judgements.extend(single.chain(by_who).filter_map(|(name, value)| judged(marketplace, name, value)));
    }
    Ok(judgements)
}

fn judged(marketplace: &str, name: &'static str, value: &Value) -> Option<Judgement> {
    let metric = Metric::deserialize(value).ok()?;
    let count = metric.counted.or(metric.order_with_defects.map(|defects| defects.count));
    let (from, until) = match &metric.reporting_date_range {
        Some(range) => (range.reporting_date_from.as_deref(), range.reporting_date_to.as_deref()),
        None => (None, None),
    };
    Some(Judgement {
        rate: metric.rate,
        target: metric.target_value,
        target_condition: metric.target_condition.as_deref().and_then(word),
        counted: count.map(|count| count as i64),
        out_of: metric.order_count.map(|count| count as i64),
        measured_from: from.and_then(moment),
        measured_until: until.and_then(moment),
        ..bare(marketplace, name, word(&metric.status)?)
    })
}

fn bare(marketplace: &str, metric: &'static str, status: String) -> Judgement {
    Judgement {
        marketplace_id: marketplace.to_owned(),
        metric,
        status,
        rate: None,
        target: None,
        target_condition: None,
        counted: None,
        out_of: None,
        measured_from: None,
        measured_until: None,
    }
}

/// Letters and digits, as Amazon's ids of marketplaces are.
fn is_marketplace(id: &str) -> bool {
    (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A word in capitals, as Amazon's statuses are.
fn word(text: &str) -> Option<String> {
    let fits =
        (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    fits.then(|| text.to_owned())
}

fn unreadable(error: serde_json::Error) -> DocumentError {
    if error.is_eof() {
        return DocumentError::CutShort { why: "its JSON has no end" };
    }
    if error.is_io() {
        return std::io::Error::from(error).into();
    }
    // Place and category only: the parser's own words may quote the report.
    let why = format!("its JSON is wrong ({:?} in line {})", error.classify(), error.line());
    DocumentError::Unreadable { why }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let range = json!({"reportingDateFrom": "2026-10-20T00:00Z", "reportingDateTo": "2026-11-18T23:59Z"});
        let rate = |status: &str, rate: f64| {
            json!({"reportingDateRange": range, "status": status, "rate": rate, "targetValue": 0.04,
                "targetCondition": "LESS_THAN", "orderCount": 1000, "lateShipmentCount": 32})
        };
        json!({
            "accountStatuses": [{"marketplaceId": "A1F83G8C2ARO7P", "status": "AT_RISK"},
                {"marketplaceId": "A1PA6795UKMFR9", "status": "Jane Planted of 1 Planted Lane"},
                {"marketplaceId": "1 Planted Lane", "status": "NORMAL"}],
            "performanceMetrics": [{
                "marketplaceId": "A1F83G8C2ARO7P",
                "lateShipmentRate": rate("GOOD", 0.032),
                "orderDefectRate": {"mfn": {"status": "BAD", "rate": 0.02, "orderCount": 100,
                    "orderWithDefects": {"count": 2, "status": "BAD"}}},
                "accountHealthRating": {"ahrStatus": "WARNED", "reportingDateRange": range},
                "prefulfillmentCancelRate": {"status": "GOOD", "cancellationCount": 5},
                "productSafetyCustomerComplaints": {"status": "BAD", "defectsCount": 165, "targetValue": 0},
                "somethingNew": {"status": "GOOD"},
                "listingPolicyViolations": "odd",
            }],
        })
    }

    #[test]
    fn what_is_known_is_read_and_the_rest_is_left() {
        let judgements = read_health(report().to_string().as_bytes()).expect("a report");
        let seen: Vec<_> =
            judgements.iter().map(|one| (one.metric, one.status.as_str(), one.counted, one.out_of)).collect();
        assert_eq!(
            seen,
            [
                ("account_status", "AT_RISK", None, None),
                ("account_health_rating", "WARNED", None, None),
                ("late_shipment_rate", "GOOD", Some(32), Some(1000)),
                ("cancellation_rate", "GOOD", Some(5), None),
                ("product_safety_complaints", "BAD", Some(165), None),
                ("order_defect_rate_by_seller", "BAD", Some(2), Some(100)),
            ]
        );
        let late = &judgements[2];
        assert_eq!((late.rate, late.target), (Some(0.032), Some(0.04)));
        assert_eq!(late.target_condition.as_deref(), Some("LESS_THAN"));
        assert_eq!(late.measured_until, "2026-11-18T23:59:00Z".parse().ok());
        assert!(!format!("{judgements:?}").contains("Planted"));
    }

    #[test]
    fn a_report_that_is_cut_short_is_an_error_that_does_not_quote_it() {
        let text = report().to_string();
        let cut = read_health(&text.as_bytes()[..text.len() - 1]).expect_err("cut").to_string();
        assert!(cut.contains("cut short"), "{cut}");
        let wrong =
            read_health(r#"{"accountStatuses":"Planted"}"#.as_bytes()).expect_err("wrong").to_string();
        assert!(wrong.contains("JSON is wrong") && !wrong.contains("Planted"), "{wrong}");
    }
}
