//! Sellers, and the marketplaces they sell in.

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

/// A marketplace, as far as orders show it.
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
}

const fn marketplace(
    id: &'static str,
    name: &'static str,
    country_code: &'static str,
    currency_code: &'static str,
) -> Marketplace {
    Marketplace { id, name, country_code, currency_code }
}

static NORTH_AMERICA: [Marketplace; 2] = [
    marketplace("ATVPDKIKX0DER", "Amazon.com", "US", "USD"),
    marketplace("A2EUQ1WTGCTBG2", "Amazon.ca", "CA", "CAD"),
];

static EUROPE: [Marketplace; 3] = [
    marketplace("A1F83G8C2ARO7P", "Amazon.co.uk", "GB", "GBP"),
    marketplace("A1PA6795UKMFR9", "Amazon.de", "DE", "EUR"),
    marketplace("A13V1IB3VIYZZH", "Amazon.fr", "FR", "EUR"),
];

static FAR_EAST: [Marketplace; 2] = [
    marketplace("A1VC38T7YXB528", "Amazon.co.jp", "JP", "JPY"),
    marketplace("A39IBJ37TRP1C6", "Amazon.com.au", "AU", "AUD"),
];

impl Region {
    /// The marketplaces that seeded sellers of this region sell in; the first is the one everybody has.
    pub(crate) fn marketplaces(self) -> &'static [Marketplace] {
        match self {
            Region::Na => &NORTH_AMERICA,
            Region::Eu => &EUROPE,
            Region::Fe => &FAR_EAST,
        }
    }
}

/// A selling partner that authorised the application.
#[derive(Clone, Debug)]
pub(crate) struct Seller {
    /// Amazon's id of the seller.
    pub(crate) selling_partner_id: String,
    /// Where it sells.
    pub(crate) region: Region,
    /// The marketplaces it sells in, never empty.
    pub(crate) marketplaces: &'static [Marketplace],
}
