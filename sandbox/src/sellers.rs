//! Sellers, and the marketplaces they sell in.

use crate::query::{InvalidQuery, Query};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Amazon's regions: a refresh token is good for one seller in one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    /// North America
    Na,
    /// Europe
    #[default]
    Eu,
    /// Far East
    Fe,
}

/// A marketplace, as far as answers show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Marketplace {
    /// Amazon's id.
    pub(crate) id: &'static str,
    /// As `salesChannel.marketplaceName` has it.
    pub(crate) name: &'static str,
    /// ISO 3166 code of the country.
    pub(crate) country_code: &'static str,
    /// ISO 4217 code of its prices.
    pub(crate) currency_code: &'static str,
    /// The language it speaks unless told otherwise, as `en_GB`.
    pub(crate) language_code: &'static str,
}

const fn marketplace(
    id: &'static str,
    name: &'static str,
    country_code: &'static str,
    currency_code: &'static str,
    language_code: &'static str,
) -> Marketplace {
    Marketplace { id, name, country_code, currency_code, language_code }
}

static NORTH_AMERICA: [Marketplace; 2] = [
    marketplace("ATVPDKIKX0DER", "Amazon.com", "US", "USD", "en_US"),
    marketplace("A2EUQ1WTGCTBG2", "Amazon.ca", "CA", "CAD", "en_CA"),
];
static MEXICO: Marketplace = marketplace("A1AM78C64UM0Y8", "Amazon.com.mx", "MX", "MXN", "es_MX");

static EUROPE: [Marketplace; 3] = [
    marketplace("A1F83G8C2ARO7P", "Amazon.co.uk", "GB", "GBP", "en_GB"),
    marketplace("A1PA6795UKMFR9", "Amazon.de", "DE", "EUR", "de_DE"),
    marketplace("A13V1IB3VIYZZH", "Amazon.fr", "FR", "EUR", "fr_FR"),
];
static IRELAND: Marketplace = marketplace("A28R8C7NBKEWEA", "Amazon.ie", "IE", "EUR", "en_IE");

static FAR_EAST: [Marketplace; 2] = [
    marketplace("A1VC38T7YXB528", "Amazon.co.jp", "JP", "JPY", "ja_JP"),
    marketplace("A39IBJ37TRP1C6", "Amazon.com.au", "AU", "AUD", "en_AU"),
];
static SINGAPORE: Marketplace = marketplace("A19VAU5U5O7RUS", "Amazon.sg", "SG", "SGD", "en_SG");

impl Region {
    /// The marketplaces that seeded sellers of this region sell in; the first is the one everybody has.
    pub(crate) fn marketplaces(self) -> &'static [Marketplace] {
        match self {
            Region::Na => &NORTH_AMERICA,
            Region::Eu => &EUROPE,
            Region::Fe => &FAR_EAST,
        }
    }

    /// A marketplace of this region that nobody sells in, though some could.
    fn unused_marketplace(self) -> &'static Marketplace {
        match self {
            Region::Na => &MEXICO,
            Region::Eu => &IRELAND,
            Region::Fe => &SINGAPORE,
        }
    }
}

/// How a seller stands in a marketplace.
#[derive(Clone, Debug)]
pub(crate) struct Participation {
    /// The marketplace.
    pub(crate) marketplace: &'static Marketplace,
    /// Whether it sells there.
    pub(crate) is_participating: bool,
    /// Whether Amazon suspended listings of it there.
    pub(crate) has_suspended_listings: bool,
}

/// A selling partner that authorised the application.
#[derive(Clone, Debug)]
pub(crate) struct Seller {
    /// Amazon's id of the seller.
    pub(crate) selling_partner_id: String,
    /// Its place among those seeded with it.
    pub(crate) number: usize,
    /// Where it sells.
    pub(crate) region: Region,
    /// The marketplaces it sells in, never empty.
    pub(crate) marketplaces: &'static [Marketplace],
    /// How it stands in them, and in one it does not sell in.
    pub(crate) participations: Vec<Participation>,
    /// How many products it began with.
    pub(crate) products: usize,
    /// When it was seeded.
    pub(crate) seeded_at: DateTime<Utc>,
}

/// A seller without orders has this many products.
pub(crate) const FEWEST_PRODUCTS: usize = 8;
const MOST_PRODUCTS: usize = 2_000;

/// How many products a seller with so many orders has.
pub(crate) fn products_for(orders: usize) -> usize {
    (orders * 2 / 3).clamp(FEWEST_PRODUCTS, MOST_PRODUCTS)
}

/// How the seller at a place stands in its marketplaces: every third has one that it does not sell in.
pub(crate) fn participations_of(
    number: usize,
    region: Region,
    marketplaces: &'static [Marketplace],
) -> Vec<Participation> {
    let sold_in = marketplaces.iter().map(|marketplace| Participation {
        marketplace,
        is_participating: true,
        has_suspended_listings: number % 5 == 4,
    });
    let unused = (number % 3 == 1).then(|| Participation {
        marketplace: region.unused_marketplace(),
        is_participating: false,
        has_suspended_listings: false,
    });
    sold_in.chain(unused).collect()
}

impl Seller {
    /// One of the marketplaces it sells in.
    pub(crate) fn marketplace(&self, id: &str) -> Option<&'static Marketplace> {
        self.marketplaces.iter().find(|marketplace| marketplace.id == id)
    }

    /// The one marketplace that a query names, of those the seller sells in.
    pub(crate) fn one_marketplace(&self, query: &Query) -> Result<&'static Marketplace, InvalidQuery> {
        let [id] = query.list("marketplaceIds")[..] else {
            return Err(InvalidQuery("marketplaceIds must name exactly one marketplace.".to_owned()));
        };
        self.marketplace(id).ok_or_else(|| {
            InvalidQuery(format!("marketplaceIds names {id}, where the seller does not sell."))
        })
    }
}
