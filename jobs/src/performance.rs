//! What `sync_performance` does next, decided without asking anybody: which days, which products, which step of a report.
//!
//! The kind loads a [`Standing`] and does what [`next_step`] says until it says that nothing is left. A simulator can do the
//! same with clocks and answers of its own.

use chrono::{DateTime, Days as CalendarDays, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::sp_api::{order_metrics::Days, reports::ReportType};

/// So many whole days before today are asked for each time: cancellations change them.
const DAYS_BACK: u64 = 30;
/// What was asked for less than this long ago is fresh: shorter than a day, so that a run that comes a bit early does its
/// work, and longer than a run takes.
pub const FRESH: TimeDelta = TimeDelta::hours(20);
/// Products that were ordered this long ago at most are asked about one by one.
pub const ORDERED_LATELY: TimeDelta = TimeDelta::days(60);
/// A feedback report goes back this far. Amazon answers with nothing to very long ranges, and to ranges below five days
/// (its documentation's issues 2744 and 1101).
pub const FEEDBACK_REACH: TimeDelta = TimeDelta::days(60);
/// First pause before Amazon is asked whether a report is ready; doubled each time.
const FIRST_LOOK: TimeDelta = TimeDelta::seconds(30);
/// Longest pause between two looks.
const LONGEST_LOOK: TimeDelta = TimeDelta::minutes(15);
/// A report that is not ready after so long is given up and asked for again the next day.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(12);

/// How a seller's figures stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its marketplaces, each with the moment when its days were last told, of all products together.
    pub marketplaces: Vec<(String, Option<DateTime<Utc>>)>,
    /// The latest report of each type and marketplace; the marketplace is empty for those about all of them.
    pub reports: Vec<Report>,
    /// Products that were ordered lately.
    pub products: Vec<Product>,
}

/// A product that was ordered lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Where.
    pub marketplace_id: String,
    /// Which.
    pub asin: String,
    /// When its figures were found to be needed.
    pub wanted_at: DateTime<Utc>,
    /// When they were last told.
    pub asked_at: Option<DateTime<Utc>>,
}

/// The latest report of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub report_type: ReportType,
    /// About which marketplace; empty for all of them.
    pub marketplace_id: String,
    /// Amazon's id.
    pub report_id: String,
    /// When Amazon was asked for it.
    pub asked_at: DateTime<Utc>,
    /// Start of the time that it is about.
    pub data_from: Option<DateTime<Utc>>,
    /// How far it is.
    pub state: ReportState,
}

/// How far a report is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportState {
    /// Amazon makes it.
    Asked {
        /// How often we looked.
        looks: i32,
        /// When to look again.
        next_look_at: DateTime<Utc>,
    },
    /// It can be fetched.
    Ready {
        /// Amazon's id of the document.
        document_id: String,
    },
    /// It was stored, or comes to nothing.
    Ended,
    /// Amazon would not make it, for this reason.
    Refused(String),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for the days of a marketplace, of all products together.
    Marketplace(String),
    /// Ask for a report.
    AskForReport(ReportType, String),
    /// Ask how far it is.
    Look(Report),
    /// It has taken too long.
    GiveUp(Report),
    /// Fetch it.
    Fetch(Report),
    /// Ask for the days of a product.
    Product(Product),
    /// Nothing can be done before this moment: reports are being made.
    Wait(DateTime<Utc>),
    /// All is fresh.
    Nothing,
}

/// What comes next. Reports before products, because they take their time while products are asked for.
#[must_use]
pub fn next_step(standing: &Standing, now: DateTime<Utc>) -> Step {
    let is_late = |at: Option<DateTime<Utc>>| at.is_none_or(|at| now - at >= FRESH);
    let late = standing.marketplaces.iter().filter(|(_, at)| is_late(*at));
    if let Some((marketplace, _)) = late.min_by_key(|(_, at)| *at) {
        return Step::Marketplace(marketplace.clone());
    }
    let ready = standing.reports.iter().find(|report| matches!(report.state, ReportState::Ready { .. }));
    if let Some(report) = ready {
        return Step::Fetch(report.clone());
    }
    if let Some(report) = standing.reports.iter().find(|report| looked_at_now(report, now)) {
        let too_old = now - report.asked_at >= GIVEN_UP_AFTER;
        return if too_old { Step::GiveUp(report.clone()) } else { Step::Look(report.clone()) };
    }
    if let Some((report_type, marketplace)) =
        wanted(standing).into_iter().find(|which| is_wanted(standing, which, now))
    {
        return Step::AskForReport(report_type, marketplace);
    }
    if let Some(product) = next_product(&standing.products) {
        return Step::Product(product.clone());
    }
    let looks = standing.reports.iter().filter_map(|report| match report.state {
        ReportState::Asked { next_look_at, .. } => Some(next_look_at),
        _ => None,
    });
    looks.min().map_or(Step::Nothing, Step::Wait)
}

/// Of the products whose figures are needed, the one whose figures are the oldest.
#[must_use]
pub fn next_product(products: &[Product]) -> Option<&Product> {
    let late = products.iter().filter(|product| product.asked_at.is_none_or(|at| at < product.wanted_at));
    late.min_by_key(|product| (product.asked_at, &product.marketplace_id, &product.asin))
}

fn looked_at_now(report: &Report, now: DateTime<Utc>) -> bool {
    matches!(report.state, ReportState::Asked { next_look_at, .. } if next_look_at <= now)
}

/// The reports that a seller has: account health for all marketplaces together, feedback for each, because its lines do
/// not say where they are from, and days are written as each country does.
fn wanted(standing: &Standing) -> Vec<(ReportType, String)> {
    let feedback = standing.marketplaces.iter().map(|(id, _)| (ReportType::SellerFeedback, id.clone()));
    [(ReportType::AccountHealth, String::new())].into_iter().chain(feedback).collect()
}

fn is_wanted(standing: &Standing, which: &(ReportType, String), now: DateTime<Utc>) -> bool {
    let latest = standing
        .reports
        .iter()
        .find(|report| report.report_type == which.0 && report.marketplace_id == which.1);
    latest.is_none_or(|report| {
        let over = matches!(report.state, ReportState::Ended | ReportState::Refused(_));
        over && now - report.asked_at >= FRESH
    })
}

/// From when on a report asked for now is to tell.
#[must_use]
pub fn data_from(report: ReportType, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match report {
        ReportType::AccountHealth => None,
        ReportType::SellerFeedback => Some(now - FEEDBACK_REACH),
    }
}

/// When to look after a report for the next time, after so many looks.
#[must_use]
pub fn next_look(looks: i32, now: DateTime<Utc>) -> DateTime<Utc> {
    // Half an hour is reached after six.
    let doubled = FIRST_LOOK * 2_i32.pow(looks.clamp(0, 6).unsigned_abs());
    now + doubled.min(LONGEST_LOOK)
}

/// The last whole days and today, as the marketplace counts days. Across a change of the clocks a day has 23 or 25 hours.
#[must_use]
pub fn days(zone: Tz, now: DateTime<Utc>) -> Days {
    let last = now.with_timezone(&zone).date_naive();
    let first = last - CalendarDays::new(DAYS_BACK);
    Days { first, last, from: midnight(zone, first), until: midnight(zone, last + CalendarDays::new(1)) }
}

/// When a day begins: at midnight, or later where the clocks are changed then.
fn midnight(zone: Tz, day: NaiveDate) -> DateTime<Tz> {
    let midnight = day.and_time(NaiveTime::MIN);
    let quarters = (0..=12).map(|quarter| midnight + TimeDelta::minutes(15 * quarter));
    let begins = quarters.into_iter().find_map(|local| zone.from_local_datetime(&local).earliest());
    begins.unwrap_or_else(|| zone.from_utc_datetime(&midnight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a moment")
    }

    fn span(zone: Tz, now: &str) -> (String, String) {
        let days = days(zone, at(now));
        assert_eq!((days.last - days.first).num_days(), 30);
        (days.from.to_rfc3339(), days.until.to_rfc3339())
    }

    #[test]
    fn days_begin_and_end_at_the_marketplaces_midnights() {
        let own = |from: &str, until: &str| (from.to_owned(), until.to_owned());
        assert_eq!(
            span(Tz::Europe__London, "2026-11-24T10:00:00Z"),
            own("2026-10-25T00:00:00+01:00", "2026-11-25T00:00:00+00:00"),
            "the clocks went back on the first day"
        );
        assert_eq!(
            span(Tz::America__Los_Angeles, "2026-03-10T06:59:59Z"),
            own("2026-02-07T00:00:00-08:00", "2026-03-10T00:00:00-07:00"),
            "there it is still the ninth"
        );
        assert_eq!(
            span(Tz::Asia__Tokyo, "2026-03-09T15:00:00Z"),
            own("2026-02-08T00:00:00+09:00", "2026-03-11T00:00:00+09:00"),
            "there it is already the tenth"
        );
        assert_eq!(
            span(Tz::UTC, "2026-03-01T00:00:00Z"),
            own("2026-01-30T00:00:00+00:00", "2026-03-02T00:00:00+00:00")
        );
    }

    #[test]
    fn a_midnight_that_the_clocks_skip_is_the_first_moment_of_its_day() {
        // In Cairo, 2026-04-24 begins at one o'clock.
        let day = NaiveDate::from_ymd_opt(2026, 4, 24).expect("a day");
        assert_eq!(midnight(Tz::Africa__Cairo, day).to_rfc3339(), "2026-04-24T01:00:00+03:00");
    }

    #[test]
    fn every_hour_of_two_years_is_within_the_days_of_every_zone() {
        for zone in [Tz::Europe__London, Tz::Africa__Cairo, Tz::America__Los_Angeles, Tz::Australia__Sydney] {
            for hour in 0..2 * 366 * 24 {
                let now = at("2026-01-01T00:30:00Z") + TimeDelta::hours(hour);
                let days = days(zone, now);
                assert!(days.from < now && now < days.until, "{zone} {now}");
                let length = days.until - days.from;
                let whole = TimeDelta::days(31);
                assert!((length - whole).abs() <= TimeDelta::hours(1), "{zone} {now}: {length}");
            }
        }
    }

    const NOW: &str = "2026-11-24T10:00:00Z";

    fn ended(report_type: ReportType, marketplace: &str, asked_at: DateTime<Utc>) -> Report {
        Report {
            report_type,
            marketplace_id: marketplace.to_owned(),
            report_id: "1".to_owned(),
            asked_at,
            data_from: None,
            state: ReportState::Ended,
        }
    }

    fn product(asin: &str, asked_at: Option<DateTime<Utc>>) -> Product {
        let wanted_at = at(NOW) - TimeDelta::minutes(1);
        Product { marketplace_id: "GB".into(), asin: asin.into(), wanted_at, asked_at }
    }

    /// Everything was done a minute ago.
    fn fresh() -> Standing {
        let then = at(NOW) - TimeDelta::minutes(1);
        Standing {
            marketplaces: vec![("GB".into(), Some(then)), ("DE".into(), Some(then))],
            reports: vec![
                ended(ReportType::AccountHealth, "", then),
                ended(ReportType::SellerFeedback, "GB", then),
                ended(ReportType::SellerFeedback, "DE", then),
            ],
            products: vec![product("B1", Some(then))],
        }
    }

    #[test]
    fn one_thing_comes_after_the_other() {
        let now = at(NOW);
        let mut standing = Standing {
            marketplaces: vec![("GB".into(), Some(now - TimeDelta::days(1))), ("DE".into(), None)],
            reports: vec![],
            products: vec![product("B1", Some(now - TimeDelta::days(1))), product("B2", None)],
        };
        assert_eq!(next_step(&standing, now), Step::Marketplace("DE".into()), "never asked is the latest");
        standing.marketplaces[1].1 = Some(now);
        assert_eq!(next_step(&standing, now), Step::Marketplace("GB".into()));
        standing.marketplaces[0].1 = Some(now);
        assert_eq!(next_step(&standing, now), Step::AskForReport(ReportType::AccountHealth, String::new()));

        let look = now + TimeDelta::seconds(30);
        for report in &fresh().reports {
            let asked = ReportState::Asked { looks: 0, next_look_at: look };
            standing.reports.push(Report { state: asked, ..report.clone() });
        }
        let never_asked = standing.products[1].clone();
        assert_eq!(next_step(&standing, now), Step::Product(never_asked), "while it is made");
        standing.products[1].asked_at = Some(now);
        let oldest = standing.products[0].clone();
        assert_eq!(next_step(&standing, now), Step::Product(oldest));
        standing.products.clear();
        assert_eq!(next_step(&standing, now), Step::Wait(look));
        assert_eq!(next_step(&standing, look), Step::Look(standing.reports[0].clone()));
        standing.reports[2].state = ReportState::Ready { document_id: "d".into() };
        assert_eq!(next_step(&standing, look), Step::Fetch(standing.reports[2].clone()));
        assert_eq!(next_step(&fresh(), now), Step::Nothing);
    }

    #[test]
    fn a_report_that_is_never_ready_is_given_up_and_asked_for_the_next_day() {
        let now = at(NOW);
        let mut standing = fresh();
        standing.reports[0].asked_at = now - GIVEN_UP_AFTER;
        standing.reports[0].state = ReportState::Asked { looks: 40, next_look_at: now };
        assert_eq!(next_step(&standing, now), Step::GiveUp(standing.reports[0].clone()));
        standing.reports[0].state = ReportState::Ended;
        assert_eq!(next_step(&standing, now), Step::Nothing);
        standing.reports[0].asked_at = now - FRESH;
        assert_eq!(next_step(&standing, now), Step::AskForReport(ReportType::AccountHealth, String::new()));
    }

    #[test]
    fn looks_grow_rare() {
        let now = at(NOW);
        let pauses: Vec<_> = (0..8).map(|looks| (next_look(looks, now) - now).num_seconds()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(next_look(i32::MAX, now) - now, LONGEST_LOOK);
    }
}
