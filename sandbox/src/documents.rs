//! Orders as the Orders API 2026-01-01 writes them, with the data sets a request asked for.
//!
//! Orders here have no promotions, points, taxes or payments, so these data sets add nothing; the model requires none of them.
//! The buyer is always the same planted one, see [`crate::planted`].

use crate::orders::{FulfilledBy, FulfillmentStatus, Item, Order, Window, iso8601};
use crate::planted;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What `includedData` may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DataSet {
    /// Who bought.
    Buyer,
    /// Who receives.
    Recipient,
    /// What the seller earns.
    Proceeds,
    /// What the seller pays.
    Expense,
    /// Discounts.
    Promotion,
    /// Why and by whom it was cancelled.
    Cancellation,
    /// How far it has come, and what was promised.
    Fulfillment,
    /// Parcels, for orders the seller ships.
    Packages,
    /// Taxes.
    Tax,
    /// Payments.
    Payment,
    /// Amazon's own fulfilment orders.
    FulfillmentOrders,
}

/// Which parts of an order to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// The data sets the request asked for.
    pub(crate) included: BTreeSet<DataSet>,
    /// Send the buyer's data whatever was asked for: a careless Amazon.
    pub(crate) leak_buyer_data: bool,
}

impl Parts {
    fn has(&self, set: DataSet) -> bool {
        self.included.contains(&set)
    }

    fn buyer(&self) -> bool {
        self.leak_buyer_data || self.has(DataSet::Buyer)
    }

    fn recipient(&self) -> bool {
        self.leak_buyer_data || self.has(DataSet::Recipient)
    }

    fn cancellation(&self, order: &Order) -> bool {
        self.has(DataSet::Cancellation) && order.status == FulfillmentStatus::Cancelled
    }
}

/// Writes one order.
pub(crate) fn order_document(order: &Order, parts: &Parts) -> Value {
    let items: Vec<Value> = (0..).zip(&order.items).map(|line| item_document(order, line, parts)).collect();
    let mut document = json!({
        "orderId": order.order_id,
        "createdTime": iso8601(order.created_at),
        "lastUpdatedTime": iso8601(order.last_updated_at),
        "programs": [],
        "salesChannel": {
            "channelName": "AMAZON",
            "marketplaceId": order.marketplace.id,
            "marketplaceName": order.marketplace.name,
        },
        "orderItems": items,
    });
    if parts.has(DataSet::Fulfillment) {
        document["fulfillment"] = json!({
            "fulfillmentStatus": order.status,
            "fulfilledBy": order.fulfilled_by,
            "fulfillmentServiceLevel": "STANDARD",
            "shipByWindow": window_document(order.ship_by),
            "deliverByWindow": window_document(order.deliver_by),
        });
    }
    if parts.buyer() {
        document["buyer"] = json!({
            "buyerName": planted::BUYER_NAME,
            "buyerEmail": planted::BUYER_EMAIL,
            "buyerCompanyName": planted::COMPANY,
        });
    }
    if parts.recipient() {
        document["recipient"] = recipient_document(order);
    }
    if parts.has(DataSet::Proceeds) {
        let total = order.items.iter().map(item_total_cents).sum();
        document["proceeds"] = json!({"grandTotal": money(total, order)});
    }
    if parts.has(DataSet::Packages)
        && order.fulfilled_by == FulfilledBy::Merchant
        && order.status == FulfillmentStatus::Shipped
    {
        document["packages"] = json!([package_document(order)]);
    }
    document
}

fn item_document(order: &Order, (line, item): (usize, &Item), parts: &Parts) -> Value {
    let mut document = json!({
        "orderItemId": item.order_item_id,
        "quantityOrdered": item.quantity,
        "product": {
            "asin": item.asin,
            "title": item.title,
            "sellerSku": item.seller_sku,
            "condition": {"conditionType": "NEW", "conditionSubtype": "NEW"},
            "price": {"unitPrice": money(u64::from(item.unit_price_cents), order)},
        },
    });
    if parts.has(DataSet::Fulfillment) {
        let fulfilled = match order.status {
            FulfillmentStatus::Shipped => item.quantity,
            // The first line has left the warehouse, the others follow.
            FulfillmentStatus::PartiallyShipped if line == 0 => item.quantity,
            _ => 0,
        };
        document["fulfillment"] = json!({
            "quantityFulfilled": fulfilled,
            "quantityUnfulfilled": item.quantity - fulfilled,
        });
    }
    if parts.buyer() {
        document["fulfillment"]["packing"] = json!({"giftOption": {"giftMessage": planted::GIFT_MESSAGE}});
        document["product"]["customization"] = json!({"customizedUrl": planted::CUSTOMIZED_URL});
    }
    if parts.has(DataSet::Proceeds) {
        document["proceeds"] = json!({"proceedsTotal": money(item_total_cents(item), order)});
    }
    if parts.cancellation(order) {
        document["cancellation"] =
            json!({"cancellationExecution": {"cancelledBy": "BUYER", "cancelReason": "ORDERED_BY_MISTAKE"}});
    }
    document
}

fn recipient_document(order: &Order) -> Value {
    json!({
        "deliveryAddress": {
            "name": planted::RECIPIENT_NAME,
            "companyName": planted::COMPANY,
            "addressLine1": planted::ADDRESS_LINE,
            "city": planted::CITY,
            "postalCode": planted::POSTCODE,
            "countryCode": order.marketplace.country_code,
            "phone": planted::PHONE,
            "addressType": "RESIDENTIAL",
        },
    })
}

fn package_document(order: &Order) -> Value {
    let items: Vec<Value> = order
        .items
        .iter()
        .map(|item| json!({"orderItemId": item.order_item_id, "quantity": item.quantity}))
        .collect();
    json!({
        "packageReferenceId": format!("{}-1", order.order_id),
        "packageStatus": {"status": "SHIPPED"},
        "shipTime": iso8601(order.ship_by.earliest),
        "packageItems": items,
    })
}

fn window_document(window: Window) -> Value {
    json!({"earliestDateTime": iso8601(window.earliest), "latestDateTime": iso8601(window.latest)})
}

fn item_total_cents(item: &Item) -> u64 {
    u64::from(item.quantity) * u64::from(item.unit_price_cents)
}

fn money(cents: u64, order: &Order) -> Value {
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    json!({"amount": amount, "currencyCode": order.marketplace.currency_code})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::tests::delivered;
    use crate::planted::{OF_AN_ORDER, PLANTED};
    use chrono::DateTime;

    fn written(included: &[DataSet], leak_buyer_data: bool) -> String {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp");
        let order = delivered("026-0000000-0000001", now, 10);
        order_document(&order, &Parts { included: included.iter().copied().collect(), leak_buyer_data })
            .to_string()
    }

    #[test]
    fn nobody_is_named_unless_asked_for() {
        let document = written(&[DataSet::Fulfillment, DataSet::Packages, DataSet::Cancellation], false);
        for value in PLANTED {
            assert!(!document.contains(value), "{value} is in {document}");
        }
    }

    #[test]
    fn everything_planted_comes_when_asked_for_and_when_leaked() {
        for document in [written(&[DataSet::Buyer, DataSet::Recipient], false), written(&[], true)] {
            for value in OF_AN_ORDER {
                assert!(document.contains(value), "{value} is not in {document}");
            }
        }
    }

    #[test]
    fn money_has_two_decimals() {
        let document = written(&[DataSet::Proceeds], false);
        assert!(document.contains(r#""grandTotal":{"amount":"25.98","currencyCode":"GBP"}"#), "{document}");
    }
}
