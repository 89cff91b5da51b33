//! What buyers said of sellers, and the report that tells it.
//!
//! As Amazon's report, it has what is worth three stars or less. Feedback follows from the orders: some of those that were
//! delivered have one, and sellers in the third place of a seeding have none at all.

use crate::charsets::ReportCharset;
use crate::dice::Dice;
use crate::orders::{FulfillmentStatus, Order, OrderBook};
use crate::planted::{FEEDBACK_COMMENT, RATER_EMAIL, SELLER_NAME};
use crate::sellers::{Marketplace, Seller};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeSet;

/// A buyer's words about an order.
#[derive(Clone, Debug)]
pub(crate) struct Feedback {
    /// The order.
    pub(crate) order_id: String,
    /// Where it was placed.
    pub(crate) marketplace: &'static Marketplace,
    /// When it was given.
    pub(crate) at: DateTime<Utc>,
    /// Stars, 1 to 3.
    pub(crate) rating: u64,
}

/// The orders whose feedback Amazon removed.
pub(crate) type RemovedFeedback = BTreeSet<String>;

/// All feedback of a seller until `now`, by the moment it was given, without what Amazon removed.
pub(crate) fn feedback_of(
    orders: &OrderBook,
    removed: &RemovedFeedback,
    seller: &Seller,
    now: DateTime<Utc>,
) -> Vec<Feedback> {
    if seller.number % 3 == 2 {
        return Vec::new();
    }
    let mut found: Vec<Feedback> =
        orders.timeline(&seller.selling_partner_id).filter_map(|order| feedback_on(order, now)).collect();
    found.retain(|one| !removed.contains(&one.order_id));
    found.sort_by(|one, other| (one.at, &one.order_id).cmp(&(other.at, &other.order_id)));
    found
}

fn feedback_on(order: &Order, now: DateTime<Utc>) -> Option<Feedback> {
    let mut dice = Dice::of("feedback", &order.order_id, 0);
    if order.status != FulfillmentStatus::Shipped || !dice.percent(25) {
        return None;
    }
    let hours = TimeDelta::hours(i64::try_from(1 + dice.below(96)).unwrap_or(1));
    let at = order.deliver_by.earliest + hours;
    (at <= now).then(|| Feedback {
        order_id: order.order_id.clone(),
        marketplace: order.marketplace,
        at,
        rating: 1 + dice.below(3),
    })
}

/// The report, with the buyers' words and addresses in it.
pub(crate) fn feedback_report(feedback: &[Feedback], charset: ReportCharset) -> Vec<u8> {
    let mut text = "Date\tRating\tComments\tYour Response\tOrder ID\tRater Email\n".to_owned();
    for one in feedback {
        let date = written(one.at, one.marketplace.country_code);
        let comment = format!("{FEEDBACK_COMMENT} \"{}", charset.flavour());
        let response = if one.rating == 1 { format!("Sorry! {SELLER_NAME}") } else { String::new() };
        let Feedback { rating, order_id, .. } = one;
        text.push_str(&format!("{date}\t{rating}\t{comment}\t{response}\t{order_id}\t{RATER_EMAIL}\n"));
    }
    charset.encode(&text)
}

/// Dates are written as the country does.
fn written(at: DateTime<Utc>, country_code: &str) -> String {
    let format = match country_code {
        "US" => "%-m/%-d/%y",
        "CA" | "JP" => "%Y/%m/%d",
        "DE" => "%d.%m.%y",
        _ => "%d/%m/%y",
    };
    at.format(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::PLANTED;
    use crate::sellers::Region;

    #[test]
    fn days_are_written_as_the_country_does() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp");
        let told = ["US", "GB", "DE", "JP"].map(|country| written(at, country));
        assert_eq!(told, ["1/15/27", "15/01/27", "15.01.27", "2027/01/15"]);
    }

    #[test]
    fn the_report_has_a_line_for_each_and_the_buyers_words_in_it() {
        let feedback = Feedback {
            order_id: "026-0000000-0000001".to_owned(),
            marketplace: &Region::Eu.marketplaces()[0],
            at: DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp"),
            rating: 1,
        };
        let report = feedback_report(&[feedback.clone(), feedback], ReportCharset::Utf8);
        let text = String::from_utf8(report).expect("UTF-8 was asked for");
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.split('\t').count() == 6), "{text}");
        for planted in [FEEDBACK_COMMENT, RATER_EMAIL, SELLER_NAME] {
            assert!(text.contains(planted) && PLANTED.contains(&planted), "{planted}");
        }
    }
}
