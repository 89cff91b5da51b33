//! `getMarketplaceParticipations`: in which marketplaces a seller sells, or could.
//!
//! Every third seller has a marketplace more, in which it takes no part. The store's name is a person's: sole traders sell under
//! their own, so it is planted.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::planted::SELLER_NAME;
use crate::query::InvalidQuery;
use crate::sellers::{Participation, Seller};
use crate::state::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// `getMarketplaceParticipations`
pub(crate) fn get_marketplace_participations(state: &State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&[])?;
    let Some(seller) = state.sellers.get(ask.seller) else { return Ok(Answer::access_denied("")) };
    Ok(Answer::json(StatusCode::OK, &json!({"payload": documents(seller)})))
}

fn documents(seller: &Seller) -> Vec<Value> {
    seller.participations.iter().map(document).collect()
}

fn document(participation: &Participation) -> Value {
    let marketplace = participation.marketplace;
    json!({
        "marketplace": {
            "id": marketplace.id,
            "countryCode": marketplace.country_code,
            "name": marketplace.name,
            "defaultCurrencyCode": marketplace.currency_code,
            "defaultLanguageCode": marketplace.language_code,
            "domainName": format!("www.{}", marketplace.name.to_lowercase()),
        },
        "participation": {
            "isParticipating": participation.is_participating,
            "hasSuspendedListings": participation.has_suspended_listings,
        },
        "storeName": SELLER_NAME,
    })
}
