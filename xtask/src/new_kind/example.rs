//! Counts a seller's marketplaces. Written by `cargo xtask new-kind`: an example to replace.
//!
//! When: on request.
//! Safe to repeat: it changes nothing.
//! Limits: none, as it calls nobody.
//! Does not promise: anything about a seller that is not connected.
//! In dead letters: deploy/runbooks/<kind>.md.

use queue::{Failure, Group, Job, Outcome, Policy, Run, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use jobs::{
    context::Context,
    store::sellers::{self, Seller, SellerId},
};

/// The seller whose marketplaces are counted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountMarketplaces {
    /// Our id of the seller.
    pub seller: SellerId,
}

impl Job for CountMarketplaces {
    const KIND: &'static str = "count_marketplaces";
    const SUMMARY: &'static str = "Counts a seller's marketplaces.";
    const POLICY: Policy = Policy::sync().timeout(minutes(1)).max_attempts(5).unique();
    const GROUP: Group = Group::Field("seller");

    type Context = Context;
    type Report = Counted;

    async fn run(&self, context: &Context, _: &Run) -> Outcome<Counted> {
        let seller = load_seller(context, self.seller).await?;
        Ok(count(seller.as_ref()))
    }
}

/// What a run found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Marketplaces that are synced.
    pub marketplaces: usize,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

async fn load_seller(context: &Context, id: SellerId) -> Outcome<Option<Seller>> {
    let mut connection = context.pool.acquire().await?;
    sellers::get(&mut connection, id).await.map_err(Failure::retry)
}

/// Decides what a run reports. A seller that is gone meanwhile is nothing to do, not a failure.
fn count(seller: Option<&Seller>) -> Counted {
    match seller {
        Some(seller) if seller.active => {
            Counted { marketplaces: seller.marketplace_ids.len(), ..Counted::default() }
        }
        _ => Counted { skipped: Some("the seller is not connected"), ..Counted::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_do_for_a_seller_that_is_gone() {
        assert_eq!(count(None).skipped, Some("the seller is not connected"));
    }
}
