//! Amazon's marketplaces, and where the days of each begin.
//!
//! Ids and countries: Amazon's page "Marketplace IDs", read 2026-11-23. Time zones: ours, after the country's capital or the
//! one that Amazon's own reports for it count days in; a marketplace that is not listed here counts days in UTC.

use chrono_tz::Tz;

use crate::sp_api::Region;

/// A marketplace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marketplace {
    /// Amazon's id.
    pub id: &'static str,
    /// Which endpoint answers for it.
    pub region: Region,
    /// ISO 3166 code of its country.
    pub country: &'static str,
    /// IANA time zone in which its days are counted.
    zone: &'static str,
}

const fn of(id: &'static str, region: Region, country: &'static str, zone: &'static str) -> Marketplace {
    Marketplace { id, region, country, zone }
}

/// All that Amazon lists.
pub const MARKETPLACES: [Marketplace; 23] = [
    of("ATVPDKIKX0DER", Region::Na, "US", "America/Los_Angeles"),
    of("A2EUQ1WTGCTBG2", Region::Na, "CA", "America/Los_Angeles"),
    of("A1AM78C64UM0Y8", Region::Na, "MX", "America/Los_Angeles"),
    of("A2Q3Y263D00KWC", Region::Na, "BR", "America/Sao_Paulo"),
    of("A1RKKUPIHCS9HS", Region::Eu, "ES", "Europe/Paris"),
    of("A1F83G8C2ARO7P", Region::Eu, "GB", "Europe/London"),
    of("A13V1IB3VIYZZH", Region::Eu, "FR", "Europe/Paris"),
    of("AMEN7PMS3EDWL", Region::Eu, "BE", "Europe/Paris"),
    of("A1805IZSGTT6HS", Region::Eu, "NL", "Europe/Paris"),
    of("A1PA6795UKMFR9", Region::Eu, "DE", "Europe/Paris"),
    of("APJ6JRA9NG5V4", Region::Eu, "IT", "Europe/Paris"),
    of("A2NODRKZP88ZB9", Region::Eu, "SE", "Europe/Paris"),
    of("A1C3SOZRARQ6R3", Region::Eu, "PL", "Europe/Paris"),
    of("A28R8C7NBKEWEA", Region::Eu, "IE", "Europe/Dublin"),
    of("A33AVAJ2PDY3EV", Region::Eu, "TR", "Europe/Istanbul"),
    of("AE08WJ6YKNBMC", Region::Eu, "ZA", "Africa/Johannesburg"),
    of("ARBP9OOSHTCHU", Region::Eu, "EG", "Africa/Cairo"),
    of("A17E79C6D8DWNP", Region::Eu, "SA", "Asia/Riyadh"),
    of("A2VIGQ35RCS4UG", Region::Eu, "AE", "Asia/Dubai"),
    of("A21TJRUUN4KGV", Region::Eu, "IN", "Asia/Kolkata"),
    of("A19VAU5U5O7RUS", Region::Fe, "SG", "Asia/Singapore"),
    of("A39IBJ37TRP1C6", Region::Fe, "AU", "Australia/Sydney"),
    of("A1VC38T7YXB528", Region::Fe, "JP", "Asia/Tokyo"),
];

/// The marketplace with this id, if Amazon lists it.
#[must_use]
pub fn marketplace(id: &str) -> Option<&'static Marketplace> {
    MARKETPLACES.iter().find(|marketplace| marketplace.id == id)
}

/// The time zone in which the days of a marketplace are counted; UTC for one that is not listed.
#[must_use]
pub fn time_zone(id: &str) -> Tz {
    marketplace(id).and_then(|marketplace| marketplace.zone.parse().ok()).unwrap_or(Tz::UTC)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_is_listed_once_and_has_a_zone_that_exists() {
        let ids: BTreeSet<_> = MARKETPLACES.iter().map(|marketplace| marketplace.id).collect();
        assert_eq!(ids.len(), MARKETPLACES.len());
        for marketplace in MARKETPLACES {
            assert!(marketplace.zone.parse::<Tz>().is_ok(), "{}", marketplace.zone);
        }
    }

    #[test]
    fn days_are_those_of_the_marketplace() {
        assert_eq!(time_zone("A1F83G8C2ARO7P"), Tz::Europe__London);
        assert_eq!(time_zone("a new one"), Tz::UTC);
    }
}
