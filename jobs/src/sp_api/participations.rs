//! Sellers API v1, `getMarketplaceParticipations`: where a seller may sell, and where it does.
//!
//! The store's name is not read: a sole trader's may be the name of a person.

use serde::Deserialize;

use crate::sp_api::{
    CallError, Operation, lenient,
    request::{Request, Success},
};

/// A marketplace, and whether the seller sells there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participation {
    /// The marketplace.
    pub marketplace: Marketplace,
    /// How the seller stands to it.
    pub participation: Standing,
}

/// A marketplace as Amazon describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marketplace {
    /// Amazon's id.
    pub id: String,
    /// ISO 3166 code of its country.
    #[serde(default, deserialize_with = "lenient::text")]
    pub country_code: Option<String>,
    /// ISO 4217 code of its usual currency.
    #[serde(default, deserialize_with = "lenient::text")]
    pub default_currency_code: Option<String>,
    /// Code of its usual language.
    #[serde(default, deserialize_with = "lenient::text")]
    pub default_language_code: Option<String>,
    /// Its address.
    #[serde(default, deserialize_with = "lenient::text")]
    pub domain_name: Option<String>,
}

/// How a seller stands to a marketplace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Whether it sells there.
    pub is_participating: bool,
    /// Whether its listings there are suspended.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub has_suspended_listings: bool,
}

/// The request. It has no parameters and no pages.
#[must_use]
pub fn request() -> Request {
    Request::new(Operation::GetMarketplaceParticipations)
}

/// Reads an answer. One without a list is none: nobody shall conclude from it that the seller left everywhere.
///
/// # Errors
/// [`CallError::NoAnswer`] when it does not parse.
pub fn parse(answer: &Success) -> Result<Vec<Participation>, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        payload: Vec<Participation>,
    }
    let answer: Answer = lenient::read(Operation::GetMarketplaceParticipations, &answer.body)?;
    Ok(answer.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<Participation>, CallError> {
        parse(&Success { body: body.into(), request_id: None })
    }

    #[test]
    fn the_name_of_the_store_is_not_even_parsed() {
        let body = r#"{"payload":[{"marketplace":{"id":"A1F83G8C2ARO7P","name":"Amazon.co.uk","countryCode":"GB",
            "defaultCurrencyCode":"GBP","defaultLanguageCode":"en_GB","domainName":"www.amazon.co.uk"},
            "storeName":"Planted Canary","participation":{"isParticipating":true,"hasSuspendedListings":false}}]}"#;
        let participations = read(body).expect("an answer");
        assert_eq!(participations[0].marketplace.id, "A1F83G8C2ARO7P");
        assert!(participations[0].participation.is_participating);
        assert!(!format!("{participations:?}").contains("Canary"));
    }

    #[test]
    fn an_answer_without_a_list_is_none() {
        assert_eq!(read(r#"{"payload":[]}"#).expect("an empty list is a list"), []);
        for body in ["{}", r#"{"payload":null}"#, r#"{"payload":[{"marketplace":{"id":"x"}}]}"#] {
            assert!(read(body).expect_err(body).ambiguous(), "{body}");
        }
    }
}
