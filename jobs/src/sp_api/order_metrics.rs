//! Sales API v1, `getOrderMetrics`: what was ordered on each day of a marketplace, of everything or of one product.
//!
//! The average price that Amazon adds is not read: it is the total by the units. Answers are read leniently: an amount that
//! is not a number is left out, a day that cannot be told is counted, so that nobody takes it for a day without orders.

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::sp_api::{CallError, Operation, lenient, moments::moment, request::Request};

/// Whole days of a marketplace, each from midnight to midnight in its own time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day.
    pub first: NaiveDate,
    /// The last day.
    pub last: NaiveDate,
    /// When the first day begins.
    pub from: DateTime<Tz>,
    /// When the last day is over.
    pub until: DateTime<Tz>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsQuestion {
    /// Where.
    pub marketplace_id: String,
    /// Of which product; of all when it is `None`.
    pub asin: Option<String>,
    /// On which days.
    pub days: Days,
}

/// What was ordered on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayMetrics {
    /// The day, in the marketplace's time zone.
    pub day: NaiveDate,
    /// Units ordered.
    pub unit_count: i64,
    /// Lines of orders.
    pub order_item_count: i64,
    /// Orders.
    pub order_count: i64,
    /// What the units were ordered for, and the currency's ISO 4217 code.
    pub total_sales: Option<(Decimal, String)>,
}

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The days that could be told, in order.
    pub days: Vec<DayMetrics>,
    /// Intervals that are not a day which was asked for: then the days above may not be all.
    pub unreadable: usize,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    payload: Vec<Interval>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interval {
    interval: String,
    unit_count: i64,
    order_item_count: i64,
    order_count: i64,
    #[serde(default)]
    total_sales: Option<Money>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Money {
    currency_code: String,
    amount: Amount,
}

/// Amazon's model says text; numbers have been seen.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Text(String),
    Number(serde_json::Number),
}

impl MetricsQuestion {
    /// The request.
    #[must_use]
    pub fn request(&self) -> Request {
        // With an offset, never with a Z: Amazon takes Z for UTC alone, and London in winter is not UTC.
        let local = |at: DateTime<Tz>| at.format("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let Days { from, until, .. } = self.days;
        let mut query = vec![
            ("marketplaceIds", self.marketplace_id.clone()),
            ("interval", format!("{}--{}", local(from), local(until))),
            ("granularity", "Day".to_owned()),
            ("granularityTimeZone", from.timezone().name().to_owned()),
        ];
        query.extend(self.asin.clone().map(|asin| ("asin", asin)));
        Request::new(Operation::GetOrderMetrics).query(query)
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// When it does not parse: then nobody can say what was told, and the call counts as unanswered.
    pub fn parse(&self, body: &[u8]) -> Result<Metrics, CallError> {
        let answer: Answer = lenient::read(Operation::GetOrderMetrics, body)?;
        let mut metrics = Metrics::default();
        for interval in answer.payload {
            match self.day_of(&interval.interval) {
                Some(day) => metrics.days.push(interval.on(day)),
                None => metrics.unreadable += 1,
            }
        }
        metrics.days.sort_by_key(|metrics| metrics.day);
        metrics.days.dedup_by_key(|metrics| metrics.day);
        Ok(metrics)
    }

    /// The day that begins with the interval, if it was asked for.
    fn day_of(&self, interval: &str) -> Option<NaiveDate> {
        let (start, _) = interval.split_once("--")?;
        let start = moment(start)?.with_timezone(&self.days.from.timezone()).date_naive();
        (self.days.first..=self.days.last).contains(&start).then_some(start)
    }
}

impl Interval {
    fn on(self, day: NaiveDate) -> DayMetrics {
        DayMetrics {
            day,
            unit_count: self.unit_count,
            order_item_count: self.order_item_count,
            order_count: self.order_count,
            total_sales: self.total_sales.and_then(Money::exact),
        }
    }
}

impl Money {
    /// The amount and its currency, if they are ones.
    fn exact(self) -> Option<(Decimal, String)> {
        let is_currency =
            self.currency_code.len() == 3 && self.currency_code.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_currency { Some((self.amount.exact()?, self.currency_code)) } else { None }
    }
}

impl Amount {
    fn exact(&self) -> Option<Decimal> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::performance::days;

    fn question(now: &str, zone: Tz) -> MetricsQuestion {
        let days = days(zone, now.parse().expect("a moment"));
        MetricsQuestion { marketplace_id: "A1F83G8C2ARO7P".into(), asin: None, days }
    }

    fn interval(of: &str, amount: serde_json::Value) -> serde_json::Value {
        json!({"interval": of, "unitCount": 2, "orderItemCount": 2, "orderCount": 1,
            "averageUnitPrice": {"amount": "11.4750", "currencyCode": "GBP"},
            "totalSales": {"amount": amount, "currencyCode": "GBP"}})
    }

    #[test]
    fn the_question_is_about_whole_days_of_the_marketplace() {
        let london = question("2026-11-24T10:00:00Z", Tz::Europe__London);
        let query = MetricsQuestion { asin: Some("B000000001".into()), ..london }.request().query;
        let expected = [
            ("marketplaceIds", "A1F83G8C2ARO7P"),
            ("interval", "2026-10-25T00:00:00+01:00--2026-11-25T00:00:00+00:00"),
            ("granularity", "Day"),
            ("granularityTimeZone", "Europe/London"),
            ("asin", "B000000001"),
        ];
        assert_eq!(query, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn days_are_those_of_the_marketplace_and_money_is_exact() {
        let seattle = question("2026-11-24T10:00:00Z", Tz::America__Los_Angeles);
        let body = json!({"payload": [
            interval("2026-11-01T00:00-07:00--2026-11-02T00:00-08:00", json!("22.95")),
            interval("2026-11-02T08:00Z--2026-11-03T08:00Z", json!(1234567.1)),
            interval("2026-11-03T00:00:00-08:00--2026-11-04T00:00:00-08:00", json!("string")),
            json!({"interval": "2026-11-04T08:00Z--2026-11-05T08:00Z", "unitCount": 1, "orderItemCount": 1,
                "orderCount": 1, "totalSales": {"amount": "1", "currencyCode": "string"}}),
        ]});
        let metrics = seattle.parse(body.to_string().as_bytes()).expect("an answer");
        let told: Vec<_> = metrics
            .days
            .iter()
            .map(|day| (day.day.to_string(), day.total_sales.as_ref().map(|(amount, _)| amount.to_string())))
            .collect();
        let day = |day: &str, amount: Option<&str>| (day.to_owned(), amount.map(str::to_owned));
        assert_eq!(
            told,
            [
                day("2026-11-01", Some("22.95")),
                day("2026-11-02", Some("1234567.1")),
                day("2026-11-03", None),
                day("2026-11-04", None),
            ]
        );
        assert_eq!(metrics.unreadable, 0);
    }

    #[test]
    fn what_is_no_day_that_was_asked_for_is_counted_and_not_taken_for_a_day() {
        let london = question("2026-11-24T10:00:00Z", Tz::Europe__London);
        let body = json!({"payload": [
            interval("string", json!("1")),
            interval("2020-01-01T00:00Z--2020-01-02T00:00Z", json!("1")),
        ]});
        let metrics = london.parse(body.to_string().as_bytes()).expect("an answer");
        assert_eq!((metrics.days.len(), metrics.unreadable), (0, 2));
    }

    #[test]
    fn a_broken_answer_is_an_error_that_does_not_quote_it() {
        let london = question("2026-11-24T10:00:00Z", Tz::Europe__London);
        let error = london.parse(br#"{"payload":["Planted Canary"#).expect_err("cut").to_string();
        assert!(error.contains("does not parse") && !error.contains("Canary"), "{error}");
    }
}
