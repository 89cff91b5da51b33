//! What a test does to products and participations, and the truth about them, to compare with what a client stored.

use super::{Control, ControlError, in_range, known_seller};
use crate::orders::FulfilledBy;
use crate::products::{Listing, Product};
use crate::sales::{Counts, Wanted};
use chrono::{DateTime, NaiveDate, SubsecRound, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MOST_PRODUCTS: f64 = 100_000.0;

/// Asks for changes to what a seller sells. First some are deleted, then others touched, then new ones added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductChanges {
    /// The seller's id.
    pub seller: String,
    /// How many new products appear.
    #[serde(default)]
    pub count: usize,
    /// How many existing products, those that were quiet for longest, get other stock, status, issues and ranks.
    #[serde(default)]
    pub touch: usize,
    /// How many existing products, those that were quiet for longest, are no longer sold.
    #[serde(default)]
    pub delete: usize,
    /// How many seconds ago this happened.
    #[serde(default)]
    pub seconds_ago: u32,
}

/// The SKUs of the products that changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangedProducts {
    /// New products.
    pub added: Vec<String>,
    /// Products with other stock, status, issues and ranks.
    pub touched: Vec<String>,
    /// Products that are no longer sold.
    pub deleted: Vec<String>,
}

/// A product in one marketplace, as Amazon knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRecord {
    /// The marketplace.
    pub marketplace_id: String,
    /// The seller's id of the product.
    pub sku: String,
    /// Amazon's id of the product.
    pub asin: String,
    /// Amazon's id of the seller's units.
    pub fn_sku: String,
    /// What it is called.
    pub title: String,
    /// Amazon's product type.
    pub product_type: String,
    /// Whether Amazon ships it; other products have no stock with Amazon.
    pub fulfilled_by_amazon: bool,
    /// When it was listed, in whole seconds.
    pub created_time: DateTime<Utc>,
    /// When the listing last changed, in whole seconds.
    pub last_updated_time: DateTime<Utc>,
    /// Whether buyers can buy it.
    pub buyable: bool,
    /// Whether buyers can find it.
    pub discoverable: bool,
    /// What Amazon complains about.
    pub issues: Vec<IssueRecord>,
    /// Where its units are.
    pub stock: StockRecord,
    /// When the stock last changed, in whole seconds.
    pub stock_updated_time: DateTime<Utc>,
    /// Its sales rank in the broad group.
    pub group_rank: u32,
    /// Its sales rank in the narrow class.
    pub class_rank: u32,
}

/// Something that Amazon complains about in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueRecord {
    /// Amazon's code.
    pub code: String,
    /// `ERROR`, `WARNING` or `INFO`.
    pub severity: String,
}

/// Units of a product with Amazon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRecord {
    /// All of them.
    pub total: u32,
    /// Can be sold at once.
    pub fulfillable: u32,
    /// Told to Amazon, not sent yet.
    pub inbound_working: u32,
    /// On their way.
    pub inbound_shipped: u32,
    /// Arriving.
    pub inbound_receiving: u32,
    /// Kept for orders, between warehouses, or in a warehouse's hands.
    pub reserved: u32,
    /// Looked for.
    pub researching: u32,
    /// Damaged.
    pub unfulfillable: u32,
}

/// How a seller stands in a marketplace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipationRecord {
    /// The marketplace.
    pub marketplace_id: String,
    /// Whether it sells there.
    pub is_participating: bool,
    /// Whether Amazon suspended listings of it there.
    pub has_suspended_listings: bool,
}

/// Asks what a seller sold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsWanted {
    /// In this marketplace.
    pub marketplace_id: String,
    /// The IANA name of the zone whose days are counted.
    pub time_zone: String,
    /// Only of this product.
    #[serde(default)]
    pub asin: Option<String>,
}

/// What a seller sold in a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRecord {
    /// The day, in the zone that was asked for.
    pub date: NaiveDate,
    /// Units.
    pub units: u64,
    /// Lines of orders.
    pub order_items: u64,
    /// Orders.
    pub orders: u64,
    /// For how much, in hundredths of the marketplace's currency.
    pub sales_cents: u64,
}

impl Control {
    /// Lets products of a seller appear, change and go.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`]; [`ControlError::OutOfRange`] for too many products.
    pub fn change_products(&self, changes: &ProductChanges) -> Result<ChangedProducts, ControlError> {
        in_range("count", changes.count as f64, 0.0, MOST_PRODUCTS)?;
        let mut state = self.shared.state();
        let seller = known_seller(&state.sellers, &changes.seller)?.clone();
        let at = self.shared.now().trunc_subsecs(0) - TimeDelta::seconds(i64::from(changes.seconds_ago));
        let shelf = state.shelves.of(&seller);
        Ok(ChangedProducts {
            deleted: shelf.delete_oldest(changes.delete),
            touched: shelf.touch_oldest(&changes.seller, changes.touch, at),
            added: shelf.add(&seller, changes.count, at),
        })
    }

    /// What a seller sells: each product once for each of its marketplaces, by SKU.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn products(&self, seller: &str) -> Result<Vec<ProductRecord>, ControlError> {
        let mut state = self.shared.state();
        let seller = known_seller(&state.sellers, seller)?.clone();
        let each = |product: &Product| -> Vec<ProductRecord> {
            product.listings.iter().map(|listing| record(product, listing)).collect()
        };
        Ok(state.shelves.of(&seller).products().flat_map(each).collect())
    }

    /// How a seller stands in each marketplace.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn participations(&self, seller: &str) -> Result<Vec<ParticipationRecord>, ControlError> {
        let state = self.shared.state();
        let participations = &known_seller(&state.sellers, seller)?.participations;
        Ok(participations
            .iter()
            .map(|participation| ParticipationRecord {
                marketplace_id: participation.marketplace.id.to_owned(),
                is_participating: participation.is_participating,
                has_suspended_listings: participation.has_suspended_listings,
            })
            .collect())
    }

    /// Changes how a seller stands in a marketplace. Its orders and listings stay as they are.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`] or [`ControlError::UnknownMarketplace`].
    pub fn change_participation(
        &self,
        seller: &str,
        change: &ParticipationRecord,
    ) -> Result<(), ControlError> {
        let mut state = self.shared.state();
        known_seller(&state.sellers, seller)?;
        let mut participations =
            state.sellers.get_mut(seller).into_iter().flat_map(|seller| &mut seller.participations);
        let participation = participations
            .find(|participation| participation.marketplace.id == change.marketplace_id)
            .ok_or_else(|| ControlError::UnknownMarketplace(change.marketplace_id.clone()))?;
        participation.is_participating = change.is_participating;
        participation.has_suspended_listings = change.has_suspended_listings;
        Ok(())
    }

    /// What a seller sold on each day on which it sold something, as `getOrderMetrics` counts.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`], [`ControlError::UnknownMarketplace`] or [`ControlError::UnknownTimeZone`].
    pub fn metrics(&self, seller: &str, wanted: &MetricsWanted) -> Result<Vec<DayRecord>, ControlError> {
        let state = self.shared.state();
        let marketplace = known_seller(&state.sellers, seller)?
            .marketplace(&wanted.marketplace_id)
            .ok_or_else(|| ControlError::UnknownMarketplace(wanted.marketplace_id.clone()))?;
        let zone: Tz =
            wanted.time_zone.parse().map_err(|_| ControlError::UnknownTimeZone(wanted.time_zone.clone()))?;
        let lines = Wanted::of_product(wanted.asin.clone());
        let mut days: BTreeMap<NaiveDate, Counts> = BTreeMap::new();
        for order in state.orders.timeline(seller).filter(|order| order.marketplace == marketplace) {
            let date = order.created_at.with_timezone(&zone).date_naive();
            days.entry(date).or_default().add(order, &lines);
        }
        let day = |(date, counts): (NaiveDate, Counts)| DayRecord {
            date,
            units: counts.units,
            order_items: counts.order_items,
            orders: counts.orders,
            sales_cents: counts.sales_cents,
        };
        Ok(days.into_iter().filter(|(_, counts)| counts.orders > 0).map(day).collect())
    }
}

fn record(product: &Product, listing: &Listing) -> ProductRecord {
    let stock = &listing.stock;
    let issue = |issue: &&crate::products::Issue| IssueRecord {
        code: issue.code.to_owned(),
        severity: issue.severity.to_owned(),
    };
    ProductRecord {
        marketplace_id: listing.marketplace.id.to_owned(),
        sku: product.identity.sku.clone(),
        asin: product.identity.asin.clone(),
        fn_sku: listing.fn_sku.clone(),
        title: product.identity.goods.title.to_owned(),
        product_type: product.identity.goods.product_type.to_owned(),
        fulfilled_by_amazon: product.fulfilled_by == FulfilledBy::Amazon,
        created_time: product.created_at,
        last_updated_time: product.updated_at,
        buyable: listing.buyable,
        discoverable: listing.discoverable,
        issues: listing.issues.iter().map(issue).collect(),
        stock: StockRecord {
            total: stock.total(),
            fulfillable: stock.fulfillable,
            inbound_working: stock.inbound_working,
            inbound_shipped: stock.inbound_shipped,
            inbound_receiving: stock.inbound_receiving,
            reserved: stock.reserved(),
            researching: stock.researching,
            unfulfillable: stock.unfulfillable(),
        },
        stock_updated_time: listing.stock_updated_at,
        group_rank: listing.group_rank,
        class_rank: listing.class_rank,
    }
}
