//! Tests of `searchOrders`: its rules about time, and the life of its paging tokens.

use super::*;
use crate::orders::tests::delivered;
use chrono::TimeDelta;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
}

/// Orders `o00`, `o01`, … last updated 20, 19, … days ago, and a client that asks about them.
struct Searcher {
    orders: OrderBook,
    tokens: PagingTokens,
    pace: Pace,
    now: DateTime<Utc>,
}

impl Searcher {
    fn with_orders(count: u32) -> Searcher {
        let mut orders = OrderBook::default();
        for number in 0..count {
            orders.insert(delivered(&format!("o{number:02}"), now(), 20 - i64::from(number)));
        }
        Searcher { orders, tokens: PagingTokens::default(), pace: Pace::new(now(), 1.0), now: now() }
    }

    fn ask_as(&mut self, seller: &str, query: &str) -> Result<Value, String> {
        let scope =
            Scope { orders: &self.orders, seller, now: self.now, pace: &self.pace, leak_buyer_data: false };
        search(&scope, &mut self.tokens, &Query::parse(query)).map_err(|InvalidQuery(why)| why)
    }

    fn ask(&mut self, query: &str) -> Result<Value, String> {
        self.ask_as("A1", query)
    }

    fn refusal(&mut self, query: &str) -> String {
        self.ask(query).expect_err("the query is refused")
    }
}

fn ids(answer: &Value) -> Vec<&str> {
    let orders = answer["orders"].as_array().expect("orders is an array");
    orders.iter().map(|order| order["orderId"].as_str().expect("an id is a string")).collect()
}

fn next_token(answer: &Value) -> String {
    answer["pagination"]["nextToken"].as_str().expect("there is another page").to_owned()
}

fn days_ago(days: i64) -> String {
    iso8601(now() - TimeDelta::days(days))
}

#[test]
fn exactly_one_beginning_is_required_and_the_families_exclude_each_other() {
    let mut searcher = Searcher::with_orders(1);
    let (after, before) = (days_ago(3), days_ago(2));
    for query in [
        String::new(),
        format!("createdAfter={after}&lastUpdatedAfter={after}"),
        format!("createdBefore={before}"),
    ] {
        assert_eq!(
            searcher.refusal(&query),
            "Exactly one of createdAfter and lastUpdatedAfter is required.",
            "{query}"
        );
    }
    assert_eq!(
        searcher.refusal(&format!("lastUpdatedAfter={after}&createdBefore={before}")),
        "createdBefore cannot be combined with lastUpdatedAfter."
    );
}

#[test]
fn the_end_lies_behind_the_beginning_and_two_minutes_in_the_past() {
    let mut searcher = Searcher::with_orders(1);
    let after = days_ago(2);
    assert_eq!(
        searcher.refusal(&format!("lastUpdatedAfter={after}&lastUpdatedBefore={}", days_ago(3))),
        "lastUpdatedBefore is before lastUpdatedAfter."
    );
    let too_late = iso8601(now() - TimeDelta::seconds(119));
    assert_eq!(
        searcher.refusal(&format!("lastUpdatedAfter={after}&lastUpdatedBefore={too_late}")),
        "lastUpdatedBefore must be at least two minutes before now."
    );
    let latest = iso8601(now() - TimeDelta::seconds(120));
    let answer = searcher.ask(&format!("lastUpdatedAfter={after}&lastUpdatedBefore={latest}"));
    assert_eq!(answer.expect("120 s are enough")["lastUpdatedBefore"], latest);
}

#[test]
fn a_search_without_end_ends_two_minutes_ago_and_says_so() {
    let mut searcher = Searcher::with_orders(0);
    let mut settling = delivered("settling", now(), 1);
    settling.last_updated_at = now() - TimeDelta::seconds(119);
    searcher.orders.insert(settling);
    let mut settled = delivered("settled", now(), 1);
    settled.last_updated_at = now() - TimeDelta::seconds(120);
    searcher.orders.insert(settled);

    let answer = searcher.ask(&format!("lastUpdatedAfter={}", days_ago(1))).expect("it is answered");
    assert_eq!(ids(&answer), ["settled"]);
    assert_eq!(answer["lastUpdatedBefore"], iso8601(now() - TimeDelta::minutes(2)));
}

#[test]
fn values_outside_an_enumeration_or_range_are_refused() {
    let mut searcher = Searcher::with_orders(1);
    let after = days_ago(30);
    for (parameter, expected) in [
        ("fulfillmentStatuses=Canceled", "fulfillmentStatuses has no value Canceled."),
        ("fulfilledBy=MFN", "fulfilledBy has no value MFN."),
        ("includedData=EVERYTHING", "includedData has no value EVERYTHING."),
        ("maxResultsPerPage=0", "maxResultsPerPage must be between 1 and 100."),
        ("maxResultsPerPage=101", "maxResultsPerPage must be between 1 and 100."),
        ("nextToken=abc", "Unknown parameter nextToken."),
    ] {
        assert_eq!(searcher.refusal(&format!("lastUpdatedAfter={after}&{parameter}")), expected);
    }
}

#[test]
fn filters_choose_by_marketplace_status_and_carrier() {
    let mut searcher = Searcher::with_orders(2);
    let mut cancelled = delivered("cancelled", now(), 2);
    cancelled.status = FulfillmentStatus::Cancelled;
    cancelled.fulfilled_by = FulfilledBy::Merchant;
    searcher.orders.insert(cancelled);
    let after = format!("createdAfter={}", days_ago(30));
    for (filter, expected) in [
        ("", vec!["o00", "o01", "cancelled"]),
        ("&fulfillmentStatuses=CANCELLED,PENDING", vec!["cancelled"]),
        ("&fulfilledBy=AMAZON", vec!["o00", "o01"]),
        ("&marketplaceIds=A1F83G8C2ARO7P", vec!["o00", "o01", "cancelled"]),
        ("&marketplaceIds=A1PA6795UKMFR9", vec![]),
    ] {
        let answer = searcher.ask(&format!("{after}{filter}")).expect("it is answered");
        assert_eq!(ids(&answer), expected, "{filter}");
        assert!(answer["createdBefore"].is_string(), "{filter}");
    }
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition_while_orders_change() {
    let mut searcher = Searcher::with_orders(7);
    let query = format!("lastUpdatedAfter={}&maxResultsPerPage=3", days_ago(30));
    let first = searcher.ask(&query).expect("it is answered");
    assert_eq!(ids(&first), ["o00", "o01", "o02"]);

    searcher.orders.advance_oldest("A1", 4, now());
    let second = searcher.ask(&format!("{query}&paginationToken={}", next_token(&first)));
    let second = second.expect("it is answered");
    assert_eq!(ids(&second), ["o04", "o05", "o06"], "o03 changed and belongs to the next search");
    assert!(second.get("pagination").is_none(), "the last page names no other");
    assert_eq!(first["lastUpdatedBefore"], second["lastUpdatedBefore"], "the search is frozen");
}

#[test]
fn a_page_may_be_asked_for_again_and_with_another_size_or_other_data() {
    let mut searcher = Searcher::with_orders(4);
    let query = format!("lastUpdatedAfter={}", days_ago(30));
    let first = searcher.ask(&format!("{query}&maxResultsPerPage=2")).expect("it is answered");
    let rest = format!("{query}&includedData=FULFILLMENT&paginationToken={}", next_token(&first));
    for _ in 0..2 {
        let second = searcher.ask(&rest).expect("it is answered");
        assert_eq!(ids(&second), ["o02", "o03"]);
    }
}

#[test]
fn a_token_is_bound_to_its_seller_and_filters_and_dies_after_a_day() {
    let mut searcher = Searcher::with_orders(4);
    let query = format!("lastUpdatedAfter={}&maxResultsPerPage=2", days_ago(30));
    let token = next_token(&searcher.ask(&query).expect("it is answered"));
    let resumed = format!("{query}&paginationToken={token}");

    let other_filters = format!("{resumed}&fulfilledBy=AMAZON");
    assert_eq!(
        searcher.refusal(&other_filters),
        "paginationToken belongs to a request with other parameters."
    );
    let dead = "paginationToken is invalid or has expired.";
    assert_eq!(searcher.ask_as("A2", &resumed).expect_err("it is another seller's"), dead);

    searcher.now = now() + TimeDelta::hours(24) - TimeDelta::seconds(1);
    assert!(searcher.ask(&resumed).is_ok(), "it lives for 24 hours");
    searcher.now = now() + TimeDelta::hours(24);
    assert_eq!(searcher.refusal(&resumed), dead);
}
