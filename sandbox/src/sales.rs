//! `getOrderMetrics`: how much a seller sold, in stretches of time.
//!
//! The numbers are counted from the orders at each call, by the moment an order was placed. What was cancelled does not count, so
//! that a number may fall after it was read.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::orders::{FulfilledBy, FulfillmentStatus, Item, Order};
use crate::query::{InvalidQuery, Query};
use crate::state::State;
use crate::stretches::{Granularity, Stretch, stretches};
use axum::http::StatusCode;
use chrono::{DateTime, Days, FixedOffset, Months, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

const PARAMETERS: [&str; 10] = [
    "marketplaceIds",
    "interval",
    "granularityTimeZone",
    "granularity",
    "buyerType",
    "fulfillmentNetwork",
    "firstDayOfWeek",
    "asin",
    "sku",
    "amazonProgram",
];
const OLDEST_HOUR: Days = Days::new(30);
const OLDEST: Months = Months::new(24);

/// `getOrderMetrics`
pub(crate) fn get_order_metrics(state: &State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    let query = ask.query;
    query.allow_only(&PARAMETERS)?;
    let Some(seller) = state.sellers.get(ask.seller) else { return Ok(Answer::access_denied("")) };
    let marketplace = seller.one_marketplace(query)?;
    let granularity = granularity(query)?;
    let interval = Interval::parse(query.one("interval")?.unwrap_or_default())?;
    interval.check_age(granularity, ask.now)?;
    let zone = zone(query, granularity, &interval)?;
    let wanted = Wanted::parse(query)?;
    let parts = match zone {
        Some(zone) => stretches(interval.start, interval.end, granularity, &zone),
        None => stretches(interval.start, interval.end, granularity, interval.start.offset()),
    };
    let mut counts = vec![Counts::default(); parts.len()];
    for order in state.orders.timeline(ask.seller) {
        if order.marketplace.id == marketplace.id
            && let Some(place) = place_of(&parts, order.created_at)
        {
            counts[place].add(order, &wanted);
        }
    }
    let payload: Vec<Value> = parts
        .iter()
        .zip(&counts)
        .map(|(part, counts)| document(part, counts, marketplace.currency_code))
        .collect();
    Ok(Answer::json(StatusCode::OK, &json!({"payload": payload})))
}

fn granularity(query: &Query) -> Result<Granularity, InvalidQuery> {
    let week_starts_on_sunday = match query.one("firstDayOfWeek")? {
        None | Some("Monday") => false,
        Some("Sunday") => true,
        Some(_) => return Err(InvalidQuery("firstDayOfWeek must be Monday or Sunday.".to_owned())),
    };
    match query.one("granularity")? {
        Some("Hour") => Ok(Granularity::Hour),
        Some("Day") => Ok(Granularity::Day),
        Some("Week") => Ok(Granularity::Week { week_starts_on_sunday }),
        Some("Month") => Ok(Granularity::Month),
        Some("Year") => Ok(Granularity::Year),
        Some("Total") => Ok(Granularity::Total),
        _ => Err(InvalidQuery("granularity must be Hour, Day, Week, Month, Year or Total.".to_owned())),
    }
}

/// The stretch of time that a client asks for. Its end is not part of it.
struct Interval {
    start: DateTime<FixedOffset>,
    end: DateTime<FixedOffset>,
    /// Both ends are written with `Z` instead of an offset.
    in_utc: bool,
}

impl Interval {
    fn parse(text: &str) -> Result<Interval, InvalidQuery> {
        let refuse =
            || InvalidQuery("interval must be two absolute times with two hyphens between.".to_owned());
        let (start_text, end_text) = text.split_once("--").ok_or_else(refuse)?;
        let read = |text: &str| {
            let moment = DateTime::parse_from_rfc3339(text);
            moment.or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M%:z")).map_err(|_| refuse())
        };
        let (start, end) = (read(start_text)?, read(end_text)?);
        if end <= start {
            return Err(InvalidQuery("interval must end after it starts.".to_owned()));
        }
        Ok(Interval { start, end, in_utc: start_text.ends_with('Z') && end_text.ends_with('Z') })
    }

    fn check_age(&self, granularity: Granularity, now: DateTime<Utc>) -> Result<(), InvalidQuery> {
        let (oldest, said) = match granularity {
            Granularity::Hour => (now.checked_sub_days(OLDEST_HOUR), "30 days"),
            _ => (now.checked_sub_months(OLDEST), "2 years"),
        };
        if oldest.is_some_and(|oldest| self.start < oldest) {
            return Err(InvalidQuery(format!("interval starts more than {said} ago.")));
        }
        Ok(())
    }
}

/// The zone whose days are counted. It is required for more than hours, and must fit the interval's offsets.
fn zone(query: &Query, granularity: Granularity, interval: &Interval) -> Result<Option<Tz>, InvalidQuery> {
    let Some(name) = query.one("granularityTimeZone")? else {
        let needless = matches!(granularity, Granularity::Hour);
        let required = || InvalidQuery("granularityTimeZone is required above Hour.".to_owned());
        return needless.then_some(None).ok_or_else(required);
    };
    let zone: Tz =
        name.parse().map_err(|_| InvalidQuery(format!("granularityTimeZone has no value {name}.")))?;
    let fits = if interval.in_utc {
        ["UTC", "Etc/UTC"].contains(&name)
    } else {
        [interval.start, interval.end].iter().all(|moment| {
            let there = moment.with_timezone(&zone).fixed_offset();
            there.offset() == moment.offset()
        })
    };
    fits.then_some(Some(zone)).ok_or_else(|| {
        InvalidQuery("granularityTimeZone does not match the offset of the interval.".to_owned())
    })
}

/// Which lines of which orders count.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    asin: Option<String>,
    sku: Option<String>,
    fulfilled_by: Option<FulfilledBy>,
    nobody: bool,
}

impl Wanted {
    /// All lines, or those of the product with this ASIN.
    pub(crate) fn of_product(asin: Option<String>) -> Wanted {
        Wanted { asin, ..Wanted::default() }
    }

    fn parse(query: &Query) -> Result<Wanted, InvalidQuery> {
        let (asin, sku) = (query.one("asin")?, query.one("sku")?);
        if asin.is_some() && sku.is_some() {
            return Err(InvalidQuery("asin and sku exclude each other.".to_owned()));
        }
        // Every buyer here is a consumer, and no order comes from a special programme.
        let nobody = match query.one("buyerType")? {
            None | Some("All" | "B2C") => query.one("amazonProgram")?.is_some(),
            Some("B2B") => true,
            Some(other) => return Err(InvalidQuery(format!("buyerType has no value {other}."))),
        };
        let fulfilled_by = match query.one("fulfillmentNetwork")? {
            None => None,
            Some("AFN") => Some(FulfilledBy::Amazon),
            Some("MFN") => Some(FulfilledBy::Merchant),
            Some(other) => return Err(InvalidQuery(format!("fulfillmentNetwork has no value {other}."))),
        };
        Ok(Wanted { asin: asin.map(str::to_owned), sku: sku.map(str::to_owned), fulfilled_by, nobody })
    }

    fn fits_order(&self, order: &Order) -> bool {
        !self.nobody
            && order.status != FulfillmentStatus::Cancelled
            && self.fulfilled_by.is_none_or(|who| who == order.fulfilled_by)
    }

    fn fits_item(&self, item: &Item) -> bool {
        self.asin.as_ref().is_none_or(|asin| *asin == item.asin)
            && self.sku.as_ref().is_none_or(|sku| *sku == item.seller_sku)
    }
}

/// What was sold in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Units.
    pub(crate) units: u64,
    /// Lines of orders.
    pub(crate) order_items: u64,
    /// Orders.
    pub(crate) orders: u64,
    /// For how much, in hundredths of the marketplace's currency.
    pub(crate) sales_cents: u64,
}

impl Counts {
    /// Counts what is wanted of an order.
    pub(crate) fn add(&mut self, order: &Order, wanted: &Wanted) {
        if !wanted.fits_order(order) {
            return;
        }
        let before = self.order_items;
        for item in order.items.iter().filter(|item| wanted.fits_item(item)) {
            self.order_items += 1;
            self.units += u64::from(item.quantity);
            self.sales_cents += u64::from(item.quantity) * u64::from(item.unit_price_cents);
        }
        self.orders += u64::from(self.order_items > before);
    }
}

fn place_of(parts: &[Stretch], at: DateTime<Utc>) -> Option<usize> {
    let behind = parts.partition_point(|part| part.start <= at);
    let place = behind.checked_sub(1)?;
    (at < parts[place].end).then_some(place)
}

fn document(part: &Stretch, counts: &Counts, currency_code: &str) -> Value {
    let average = counts.sales_cents.checked_div(counts.units).unwrap_or_default();
    json!({
        "interval": format!("{}--{}", written(part.start), written(part.end)),
        "unitCount": counts.units,
        "orderItemCount": counts.order_items,
        "orderCount": counts.orders,
        "averageUnitPrice": {"amount": amount(average), "currencyCode": currency_code},
        "totalSales": {"amount": amount(counts.sales_cents), "currencyCode": currency_code},
    })
}

/// As in Amazon's examples: no seconds where there are none.
fn written(moment: DateTime<FixedOffset>) -> String {
    let utc = moment.offset().local_minus_utc() == 0;
    let seconds = moment.timestamp() % 60 != 0;
    let format = match (seconds, utc) {
        (false, true) => "%Y-%m-%dT%H:%MZ",
        (false, false) => "%Y-%m-%dT%H:%M%:z",
        (true, true) => "%Y-%m-%dT%H:%M:%SZ",
        (true, false) => "%Y-%m-%dT%H:%M:%S%:z",
    };
    moment.format(format).to_string()
}

/// As in Amazon's examples: `12.5`, `25` and `0`, without zeros at the end.
fn amount(cents: u64) -> String {
    match (cents / 100, cents % 100) {
        (whole, 0) => format!("{whole}"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}", part / 10),
        (whole, part) => format!("{whole}.{part:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::tests::delivered;

    #[test]
    fn amounts_are_written_as_in_amazons_examples() {
        let written = [0, 2_500, 1_250, 2_295, 205].map(amount);
        assert_eq!(written, ["0", "25", "12.5", "22.95", "2.05"]);
    }

    #[test]
    fn an_order_counts_once_and_a_cancelled_one_not_at_all() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp");
        let order = delivered("026-0000000-0000001", now, 10);
        let cancelled = Order { status: FulfillmentStatus::Cancelled, ..order.clone() };
        let mut counts = Counts::default();
        for order in [&order, &cancelled] {
            counts.add(order, &Wanted::default());
        }
        assert_eq!(counts, Counts { units: 2, order_items: 1, orders: 1, sales_cents: 2_598 });
        let other = Wanted { asin: Some("B000000000".to_owned()), ..Wanted::default() };
        counts.add(&order, &other);
        assert_eq!(counts.orders, 1);
    }

    #[test]
    fn a_zone_must_fit_both_ends_and_z_means_utc() {
        let check = |interval: &str, zone_name: &str| {
            let interval = Interval::parse(interval).expect("an interval");
            let query = Query::parse(&format!("granularityTimeZone={zone_name}"));
            zone(&query, Granularity::Day, &interval).is_ok()
        };
        let winter = "2026-11-01T00:00:00+01:00--2026-11-03T00:00:00+01:00";
        assert!(check(winter, "Europe/Berlin"));
        assert!(!check(winter, "Europe/London"));
        let across = "2026-10-24T00:00:00+02:00--2026-10-27T00:00:00+01:00";
        assert!(check(across, "Europe/Berlin"));
        assert!(!check("2026-10-24T00:00:00+02:00--2026-10-27T00:00:00+02:00", "Europe/Berlin"));
        let utc = "2026-11-01T00:00:00Z--2026-11-03T00:00:00Z";
        assert!(check(utc, "UTC"));
        assert!(!check(utc, "Europe/London"), "Amazon wants UTC where Z is written");
    }
}
