//! The Solicitations API: may the buyer be asked for a review, and ask.
//!
//! An order is asked for once, ever. The window opens 5 days after the earliest promised delivery and closes 30 days after the
//! latest one. Amazon answers every refusal with 403 `Unauthorized`; only the message tells them apart.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::orders::{FulfillmentStatus, Order, OrderBook, Window};
use crate::query::Query;
use crate::state::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

const OPENS_AFTER: TimeDelta = TimeDelta::days(5);
const CLOSES_AFTER: TimeDelta = TimeDelta::days(30);
const ACTION: &str = "productReviewAndSellerFeedback";

/// Whether the buyer of an order may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The action is offered.
    Offered,
    /// Not shipped, asked already, or the buyer wants no requests: Amazon does not say which.
    NotAvailable,
    /// Too early or too late.
    OutsideWindow,
}

/// When the buyer may be asked, given when delivery was promised.
pub(crate) fn window(deliver_by: Window) -> Window {
    Window { earliest: deliver_by.earliest + OPENS_AFTER, latest: deliver_by.latest + CLOSES_AFTER }
}

/// How an order stands at `now`.
pub(crate) fn standing(order: &Order, now: DateTime<Utc>) -> Standing {
    let asked = order.solicited_elsewhere || order.solicited_at.is_some();
    if order.status != FulfillmentStatus::Shipped || order.opted_out || asked {
        return Standing::NotAvailable;
    }
    let window = window(order.deliver_by);
    if (window.earliest..=window.latest).contains(&now) { Standing::Offered } else { Standing::OutsideWindow }
}

/// `getSolicitationActionsForOrder`
pub(crate) fn get_actions(state: &State, ask: &Ask<'_>) -> Answer {
    offered_actions(&state.orders, ask.seller, ask.first_subject(), ask.query, ask.now)
}

/// `createProductReviewAndSellerFeedbackSolicitation`
pub(crate) fn create_solicitation(state: &mut State, ask: &Ask<'_>) -> Answer {
    ask_buyer(&mut state.orders, ask.seller, ask.first_subject(), ask.query, ask.now)
}

/// Answers which actions an order offers.
fn offered_actions(
    orders: &OrderBook,
    seller: &str,
    order_id: &str,
    query: &Query,
    now: DateTime<Utc>,
) -> Answer {
    match find(orders, seller, order_id, query) {
        Ok(order) => {
            actions_answer(order_id, order.marketplace.id, standing(order, now) == Standing::Offered)
        }
        Err(refusal) => *refusal,
    }
}

/// The same answer with nothing in it, as Amazon gives it at times for orders that are eligible.
pub(crate) fn no_actions(order_id: &str, query: &Query) -> Answer {
    actions_answer(order_id, query.list("marketplaceIds").first().copied().unwrap_or_default(), false)
}

/// Asks the buyer, if that is allowed.
fn ask_buyer(
    orders: &mut OrderBook,
    seller: &str,
    order_id: &str,
    query: &Query,
    now: DateTime<Utc>,
) -> Answer {
    let standing = match find(orders, seller, order_id, query) {
        Ok(order) => standing(order, now),
        Err(refusal) => return *refusal,
    };
    match standing {
        Standing::Offered => {
            if let Some(order) = orders.get_mut(order_id) {
                order.solicited_at = Some(now);
            }
            Answer::hal(StatusCode::CREATED, &json!({}))
        }
        Standing::NotAvailable => {
            refused("The requested solicitation is not available for this amazonOrderId.")
        }
        Standing::OutsideWindow => refused(
            "You can't use this feature to request a review outside the 5-30 day range after the order \
             delivery date.",
        ),
    }
}

// The refusal is boxed because it is several times the size of the reference that a success returns.
fn find<'a>(
    orders: &'a OrderBook,
    seller: &str,
    order_id: &str,
    query: &Query,
) -> Result<&'a Order, Box<Answer>> {
    let invalid = |details: &str| {
        Box::new(Answer::invalid_input("Missing or invalid request parameters: [marketplaceIds]", details))
    };
    let [marketplace] = query.list("marketplaceIds")[..] else {
        return Err(invalid("Exactly one marketplace is required."));
    };
    query.allow_only(&["marketplaceIds"]).map_err(|why| {
        Box::new(Answer::invalid_input("Missing or invalid request parameters", why.0.as_str()))
    })?;
    let order = orders
        .of_seller(seller, order_id)
        .ok_or_else(|| Box::new(Answer::not_found("The order was not found.")))?;
    if order.marketplace.id != marketplace {
        return Err(invalid("The order was placed in another marketplace."));
    }
    Ok(order)
}

fn refused(message: &str) -> Answer {
    Answer::error(StatusCode::FORBIDDEN, "Unauthorized", message, "")
}

fn actions_answer(order_id: &str, marketplace: &str, offered: bool) -> Answer {
    let order = format!("/solicitations/v1/orders/{order_id}");
    let action = format!("{order}/solicitations/{ACTION}");
    let parameter = format!("?marketplaceIds={marketplace}");
    let mut actions: Vec<Value> = Vec::new();
    let mut embedded: Vec<Value> = Vec::new();
    if offered {
        let link = json!({"href": format!("{action}{parameter}"), "name": ACTION});
        embedded.push(json!({
            "_links": {"self": link, "schema": {"href": format!("{action}/schema"), "name": ACTION}},
            "payload": {"name": ACTION},
        }));
        actions.push(link);
    }
    let body = json!({
        "_links": {"actions": actions, "self": {"href": format!("{order}{parameter}")}},
        "_embedded": {"actions": embedded},
    });
    Answer::hal(StatusCode::OK, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::tests::delivered;

    const ID: &str = "026-0000000-0000001";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    #[test]
    fn the_window_is_open_from_day_5_after_the_earliest_to_day_30_after_the_latest_delivery() {
        let mut order = delivered(ID, now(), 0);
        order.deliver_by.latest = now() + TimeDelta::days(2);
        let second = TimeDelta::seconds(1);
        let (opens, closes) = (now() + TimeDelta::days(5), now() + TimeDelta::days(32));
        for (moment, expected) in [
            (opens - second, Standing::OutsideWindow),
            (opens, Standing::Offered),
            (closes, Standing::Offered),
            (closes + second, Standing::OutsideWindow),
        ] {
            assert_eq!(standing(&order, moment), expected, "{moment}");
        }
    }

    #[test]
    fn what_was_not_shipped_asked_for_or_opted_out_is_not_available() {
        let eligible = delivered(ID, now(), 10);
        assert_eq!(standing(&eligible, now()), Standing::Offered);
        for order in [
            Order { status: FulfillmentStatus::Pending, ..eligible.clone() },
            Order { status: FulfillmentStatus::Cancelled, ..eligible.clone() },
            Order { opted_out: true, ..eligible.clone() },
            Order { solicited_elsewhere: true, ..eligible.clone() },
            Order { solicited_at: Some(now()), ..eligible.clone() },
        ] {
            assert_eq!(standing(&order, now()), Standing::NotAvailable, "{order:?}");
        }
    }

    #[test]
    fn an_order_is_asked_for_once_ever() {
        let mut orders = OrderBook::default();
        orders.insert(delivered(ID, now(), 10));
        let query = Query::parse("marketplaceIds=A1F83G8C2ARO7P");
        let first = ask_buyer(&mut orders, "A1", ID, &query, now());
        assert_eq!((first.status, first.text().as_str()), (StatusCode::CREATED, "{}"));

        let again = ask_buyer(&mut orders, "A1", ID, &query, now() + TimeDelta::days(1));
        assert_eq!(again.status, StatusCode::FORBIDDEN);
        assert!(again.text().contains("The requested solicitation is not available for this amazonOrderId."));
        let actions = offered_actions(&orders, "A1", ID, &query, now());
        assert_eq!(actions.text(), no_actions(ID, &query).text());
    }

    #[test]
    fn exactly_one_marketplace_is_required_and_it_must_be_the_orders() {
        let mut orders = OrderBook::default();
        orders.insert(delivered(ID, now(), 10));
        for query in ["", "marketplaceIds=A1F83G8C2ARO7P,A1PA6795UKMFR9", "marketplaceIds=A1PA6795UKMFR9"] {
            let answer = ask_buyer(&mut orders, "A1", ID, &Query::parse(query), now());
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
            let message = "Missing or invalid request parameters: [marketplaceIds]";
            assert!(answer.text().contains(message), "{query}");
        }
    }
}
