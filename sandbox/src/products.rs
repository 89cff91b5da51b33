//! What sellers sell: each product with its listing, stock and sales ranks in every marketplace of its seller.
//!
//! Products follow from the seller's id and their number, so that an order can name one that nobody has looked at yet; a seller's
//! shelf is filled when it is first looked at. What is deleted is gone from listings and stock for ever; the catalogue, which is
//! Amazon's, still knows it. An ASIN that the seller never had is unknown, although Amazon would know that of others.

use crate::dice::Dice;
use crate::orders::FulfilledBy;
use crate::sellers::{Marketplace, Seller};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashMap};

/// A sort of goods: what its products are called, what they cost, and where Amazon ranks them.
#[derive(Debug)]
pub(crate) struct Goods {
    /// What the product is called.
    pub(crate) title: &'static str,
    /// Price of one, in hundredths of the marketplace's currency.
    pub(crate) unit_price_cents: u32,
    /// Amazon's product type.
    pub(crate) product_type: &'static str,
    /// Id and title of the broad group it is ranked in.
    pub(crate) display_group: (&'static str, &'static str),
    /// Id and title of the narrow class it is ranked in.
    pub(crate) classification: (&'static str, &'static str),
}

const fn goods(
    title: &'static str,
    unit_price_cents: u32,
    product_type: &'static str,
    display_group: (&'static str, &'static str),
    classification: (&'static str, &'static str),
) -> Goods {
    Goods { title, unit_price_cents, product_type, display_group, classification }
}

const HOME: (&str, &str) = ("home_display_on_website", "Home & Kitchen");
const OFFICE: (&str, &str) = ("office_product_display_on_website", "Stationery & Office Supplies");
const GARDEN: (&str, &str) = ("lawn_and_garden_display_on_website", "Garden");
const SPORTS: (&str, &str) = ("sports_display_on_website", "Sports & Outdoors");
const FASHION: (&str, &str) = ("fashion_display_on_website", "Fashion");

static GOODS: [Goods; 8] = [
    goods("Tea towel, linen, set of 3", 1_499, "TOWEL", HOME, ("3187036031", "Tea Towels")),
    goods("Bicycle bell, brass", 1_150, "BICYCLE_BELL", SPORTS, ("550086031", "Bells")),
    goods("Notebook, dotted, A5", 899, "NOTEBOOK", OFFICE, ("197745031", "Notebooks")),
    goods("Enamel mug, 350 ml", 1_099, "DRINKING_CUP", HOME, ("3187029031", "Mugs")),
    goods("Door stop, felt", 1_325, "DOOR_STOP", HOME, ("3187041031", "Door Stops")),
    goods("Seed tray with lid", 749, "PLANTER", GARDEN, ("4294870031", "Seed Trays")),
    goods("Wool socks, grey", 1_675, "SOCKS", FASHION, ("1731028031", "Socks")),
    goods("Desk lamp, clamp", 3_990, "LAMP", HOME, ("3187044031", "Desk Lamps")),
];

/// What a product is, whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Amazon's id.
    pub(crate) asin: String,
    /// The seller's id.
    pub(crate) sku: String,
    /// What sort of thing it is.
    pub(crate) goods: &'static Goods,
}

/// The product with this number of a seller.
pub(crate) fn identity(seller: &str, number: usize) -> Identity {
    let mut dice = Dice::of("product", seller, number as u64);
    let goods = dice.one_of(&GOODS);
    Identity {
        asin: format!("B0{}", dice.characters(8)),
        // The number makes it the seller's only one, and lets SKUs sort otherwise than products are numbered.
        sku: format!("AMZ-{}-{number}", dice.characters(5)),
        goods,
    }
}

/// What Amazon complains about in a listing.
#[derive(Debug)]
pub(crate) struct Issue {
    /// Amazon's code.
    pub(crate) code: &'static str,
    /// In English.
    pub(crate) message: &'static str,
    /// `ERROR`, `WARNING` or `INFO`.
    pub(crate) severity: &'static str,
    /// The attribute it is about, where it is about one.
    pub(crate) attribute: Option<&'static str>,
    /// Amazon's categories.
    pub(crate) categories: &'static [&'static str],
    /// What Amazon does about it.
    pub(crate) enforcement: Option<&'static str>,
}

static ISSUES: [Issue; 4] = [
    Issue {
        code: "90220",
        message: "'size' is required but not supplied.",
        severity: "ERROR",
        attribute: Some("size"),
        categories: &["MISSING_ATTRIBUTE"],
        enforcement: None,
    },
    Issue {
        code: "18027",
        message: "We believe the main image has text, logo, graphic, or watermark that is not permitted.",
        severity: "ERROR",
        attribute: None,
        categories: &["INVALID_IMAGE"],
        enforcement: Some("SEARCH_SUPPRESSED"),
    },
    Issue {
        code: "99300",
        message: "Product Detail Page Rules Violation.",
        severity: "WARNING",
        attribute: None,
        categories: &[],
        enforcement: Some("ATTRIBUTE_SUPPRESSED"),
    },
    Issue {
        code: "8541",
        message: "The title differs from that of the product in the catalogue.",
        severity: "INFO",
        attribute: Some("item_name"),
        categories: &["CATALOG_ITEM"],
        enforcement: None,
    },
];

/// Where a seller's units of a product are, in one marketplace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    /// Can be sold at once.
    pub(crate) fulfillable: u32,
    /// Told to Amazon, not sent yet.
    pub(crate) inbound_working: u32,
    /// On their way.
    pub(crate) inbound_shipped: u32,
    /// Arriving.
    pub(crate) inbound_receiving: u32,
    /// Kept for orders.
    pub(crate) reserved_for_orders: u32,
    /// Between warehouses.
    pub(crate) reserved_in_transfer: u32,
    /// In a warehouse's hands.
    pub(crate) reserved_in_processing: u32,
    /// Looked for.
    pub(crate) researching: u32,
    /// Damaged by buyers.
    pub(crate) customer_damaged: u32,
    /// Damaged in a warehouse.
    pub(crate) warehouse_damaged: u32,
}

impl Stock {
    fn roll(dice: &mut Dice) -> Stock {
        let mut up_to = |most: u64| u32::try_from(dice.below(most + 1)).unwrap_or_default();
        Stock {
            fulfillable: up_to(400),
            inbound_working: up_to(20),
            inbound_shipped: up_to(60),
            inbound_receiving: up_to(30),
            reserved_for_orders: up_to(12),
            reserved_in_transfer: up_to(9),
            reserved_in_processing: up_to(5),
            researching: up_to(2),
            customer_damaged: up_to(4),
            warehouse_damaged: up_to(3),
        }
    }

    /// Set aside, for whatever reason.
    pub(crate) fn reserved(&self) -> u32 {
        self.reserved_for_orders + self.reserved_in_transfer + self.reserved_in_processing
    }

    /// Cannot be sold.
    pub(crate) fn unfulfillable(&self) -> u32 {
        self.customer_damaged + self.warehouse_damaged
    }

    /// All of them.
    pub(crate) fn total(&self) -> u32 {
        let inbound = self.inbound_working + self.inbound_shipped + self.inbound_receiving;
        self.fulfillable + inbound + self.reserved() + self.researching + self.unfulfillable()
    }
}

/// A product as one marketplace has it.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// The marketplace.
    pub(crate) marketplace: &'static Marketplace,
    /// Amazon's id of the seller's units.
    pub(crate) fn_sku: String,
    /// Buyers can buy it.
    pub(crate) buyable: bool,
    /// Buyers can find it.
    pub(crate) discoverable: bool,
    /// What Amazon complains about.
    pub(crate) issues: Vec<&'static Issue>,
    /// Units with Amazon; none are for products that the seller ships.
    pub(crate) stock: Stock,
    /// When the stock last changed.
    pub(crate) stock_updated_at: DateTime<Utc>,
    /// Its rank in the broad group.
    pub(crate) group_rank: u32,
    /// Its rank in the narrow class.
    pub(crate) class_rank: u32,
}

impl Listing {
    fn roll(&mut self, dice: &mut Dice, fulfilled_by: FulfilledBy, at: DateTime<Utc>) {
        self.issues = if dice.percent(20) { vec![dice.one_of(&ISSUES)] } else { Vec::new() };
        // Some have two, but none has one twice.
        let another = dice.one_of(&ISSUES);
        if self.issues.iter().any(|issue| issue.code != another.code) && dice.percent(30) {
            self.issues.push(another);
        }
        let suppressed = self.issues.iter().any(|issue| issue.enforcement == Some("SEARCH_SUPPRESSED"));
        self.discoverable = !suppressed && dice.percent(95);
        self.buyable = !self.issues.iter().any(|issue| issue.severity == "ERROR") && dice.percent(90);
        if fulfilled_by == FulfilledBy::Amazon {
            self.stock = Stock::roll(dice);
            self.stock_updated_at = at;
        }
        let rank = |dice: &mut Dice, most| u32::try_from(1 + dice.below(most)).unwrap_or(1);
        self.class_rank = rank(dice, 5_000);
        self.group_rank = self.class_rank + rank(dice, 400_000);
    }
}

/// Something a seller sells.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// What it is.
    pub(crate) identity: Identity,
    /// Who ships it.
    pub(crate) fulfilled_by: FulfilledBy,
    /// When it was listed.
    pub(crate) created_at: DateTime<Utc>,
    /// When its listing last changed, in any marketplace.
    pub(crate) updated_at: DateTime<Utc>,
    /// How often it was touched.
    changes: u64,
    /// Its listings, in the order of the seller's marketplaces.
    pub(crate) listings: Vec<Listing>,
}

impl Product {
    fn make(seller: &Seller, number: usize, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Product {
        let identity = identity(&seller.selling_partner_id, number);
        let mut dice = Dice::of("product details", &seller.selling_partner_id, number as u64);
        let fulfilled_by = if dice.percent(75) { FulfilledBy::Amazon } else { FulfilledBy::Merchant };
        let listing = |marketplace: &'static Marketplace| {
            let mut listing = Listing {
                marketplace,
                fn_sku: format!("X00{}", dice.characters(7)),
                buyable: true,
                discoverable: true,
                issues: Vec::new(),
                stock: Stock::default(),
                stock_updated_at: updated_at,
                group_rank: 0,
                class_rank: 0,
            };
            listing.roll(&mut dice, fulfilled_by, updated_at);
            listing
        };
        let listings = seller.marketplaces.iter().map(listing).collect();
        Product { identity, fulfilled_by, created_at, updated_at, changes: 0, listings }
    }

    /// Changes everything that may change: stock, status, issues, ranks.
    fn touch(&mut self, seller: &str, at: DateTime<Utc>) {
        self.changes += 1;
        self.updated_at = at;
        let mut dice = Dice::of(seller, &self.identity.sku, self.changes);
        for listing in &mut self.listings {
            listing.roll(&mut dice, self.fulfilled_by, at);
        }
    }

    /// How a marketplace has it.
    pub(crate) fn listing(&self, marketplace: &str) -> Option<&Listing> {
        self.listings.iter().find(|listing| listing.marketplace.id == marketplace)
    }
}

/// What one seller sells.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    products: BTreeMap<String, Product>,
    delisted: BTreeMap<String, Product>,
    made: usize,
}

impl Shelf {
    fn fill(seller: &Seller) -> Shelf {
        let mut shelf = Shelf { made: seller.products, ..Shelf::default() };
        for number in 0..seller.products {
            let mut dice = Dice::of("product dates", &seller.selling_partner_id, number as u64);
            let ago = |minutes: u64| {
                seller.seeded_at - TimeDelta::minutes(i64::try_from(minutes).unwrap_or_default())
            };
            let updated_at = ago(10 + dice.below(60 * 24 * 60));
            let created_at = updated_at - TimeDelta::minutes(i64::from(u16::MAX)) * 2;
            let product = Product::make(seller, number, created_at, updated_at);
            shelf.products.insert(product.identity.sku.clone(), product);
        }
        shelf
    }

    /// Everything on it, by SKU.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Product> {
        self.products.values()
    }

    /// The product with this SKU.
    pub(crate) fn product(&self, sku: &str) -> Option<&Product> {
        self.products.get(sku)
    }

    /// The product with this ASIN, as Amazon's catalogue knows it: also when the seller no longer lists it.
    pub(crate) fn in_catalogue(&self, asin: &str) -> Option<&Product> {
        let all = self.products.values().chain(self.delisted.values());
        all.into_iter().find(|product| product.identity.asin == asin)
    }

    /// Adds new products. Returns their SKUs.
    pub(crate) fn add(&mut self, seller: &Seller, count: usize, at: DateTime<Utc>) -> Vec<String> {
        let add = |_| {
            let product = Product::make(seller, self.made, at, at);
            self.made += 1;
            let sku = product.identity.sku.clone();
            self.products.insert(sku.clone(), product);
            sku
        };
        (0..count).map(add).collect()
    }

    /// Changes the products that were quiet for longest. Returns their SKUs.
    pub(crate) fn touch_oldest(&mut self, seller: &str, count: usize, at: DateTime<Utc>) -> Vec<String> {
        let oldest = self.oldest(count);
        for sku in &oldest {
            if let Some(product) = self.products.get_mut(sku) {
                product.touch(seller, at);
            }
        }
        oldest
    }

    /// Takes the products that were quiet for longest off the shelf. Returns their SKUs.
    pub(crate) fn delete_oldest(&mut self, count: usize) -> Vec<String> {
        let oldest = self.oldest(count);
        for sku in &oldest {
            if let Some(product) = self.products.remove(sku) {
                self.delisted.insert(sku.clone(), product);
            }
        }
        oldest
    }

    fn oldest(&self, count: usize) -> Vec<String> {
        let mut by_age: Vec<_> =
            self.products.iter().map(|(sku, product)| (product.updated_at, sku)).collect();
        by_age.sort();
        by_age.into_iter().take(count).map(|(_, sku)| sku.clone()).collect()
    }
}

/// The shelves that somebody has looked at.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    by_seller: HashMap<String, Shelf>,
}

impl Shelves {
    /// A seller's shelf, filled now if nobody has looked at it before.
    pub(crate) fn of(&mut self, seller: &Seller) -> &mut Shelf {
        self.by_seller.entry(seller.selling_partner_id.clone()).or_insert_with(|| Shelf::fill(seller))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sellers::{Region, participations_of};

    pub(crate) fn seller(id: &str, products: usize) -> Seller {
        let marketplaces = Region::Eu.marketplaces();
        Seller {
            selling_partner_id: id.to_owned(),
            number: 0,
            region: Region::Eu,
            marketplaces,
            participations: participations_of(0, Region::Eu, marketplaces),
            products,
            seeded_at: now(),
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    #[test]
    fn a_shelf_is_the_same_whenever_it_is_looked_at() {
        let written = |id: &str| format!("{:?}", Shelves::default().of(&seller(id, 30)));
        assert_eq!(written("A1"), written("A1"));
        assert_ne!(written("A1"), written("A2"));
    }

    #[test]
    fn a_few_products_have_every_trouble_there_is() {
        let mut shelves = Shelves::default();
        let shelf = shelves.of(&seller("A1", 300));
        for issue in &ISSUES {
            let has = |product: &&Product| {
                product.listings.iter().any(|listing| listing.issues.iter().any(|it| it.code == issue.code))
            };
            assert!(shelf.products().filter(has).count() > 3, "{}", issue.code);
        }
        let merchants: Vec<&Product> =
            shelf.products().filter(|product| product.fulfilled_by == FulfilledBy::Merchant).collect();
        assert!(merchants.len() > 30);
        for product in merchants {
            assert!(product.listings.iter().all(|listing| listing.stock == Stock::default()));
        }
    }

    #[test]
    fn touching_changes_the_oldest_and_deleting_leaves_it_to_the_catalogue() {
        let seller = seller("A1", 20);
        let mut shelves = Shelves::default();
        let shelf = shelves.of(&seller);
        let before = shelf.oldest(3);
        assert_eq!(shelf.touch_oldest("A1", 1, now()), before[..1]);
        assert_eq!(shelf.product(&before[0]).expect("it is there").updated_at, now());
        assert_eq!(shelf.delete_oldest(1), before[1..2]);
        assert!(shelf.product(&before[1]).is_none());
        let gone = shelf.delisted[&before[1]].identity.asin.clone();
        assert!(shelf.in_catalogue(&gone).is_some());
        assert_eq!(shelf.add(&seller, 1, now()), [identity("A1", 20).sku]);
    }
}
