//! Copies where a seller sells into `participations`, and lets `sellers.marketplace_ids`, which is what is synced, follow.
//!
//! When: daily for each connected seller, and on request.
//! Safe to repeat: rows are upserted by marketplace, an earlier answer never over a later one; what is synced changes only
//! from what the run found.
//! Limits: `getMarketplaceParticipations`, one budget a seller; an empty one snoozes.
//! Does not promise: to sync a marketplace that `sp_api/marketplaces.rs` does not list (Amazon tells of some that are no shop
//! of its own), or that another region answers for. Where nothing would be left to sync, everything stays as it is.
//! In dead letters: deploy/runbooks/sync_participations.md.

use chrono::{DateTime, Utc};
use queue::{Failure, Group, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{AMAZONS, Connected, NOT_CONNECTED},
    context::Context,
    sp_api::{
        Operation, Region,
        budgets::budget,
        marketplaces::marketplace,
        participations::{self as questions, Participation},
    },
    store::{inventory, listings, participations, sellers, sellers::SellerId, walks},
};

/// The seller whose marketplaces are looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncParticipations {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct ParticipationsSynced {
    /// Marketplaces that Amazon told of.
    pub marketplaces: usize,
    /// Those that are synced from now on.
    pub joined: Vec<String>,
    /// Those that are no longer synced.
    pub left: Vec<String>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

impl Job for SyncParticipations {
    const KIND: &'static str = "sync_participations";
    const SUMMARY: &'static str =
        "Copies in which marketplaces a seller sells, so that only those are synced.";
    const POLICY: Policy = AMAZONS.timeout(minutes(2));
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("0 1 * * *").spread(minutes(24 * 60)));

    type Context = Context;
    type Report = ParticipationsSynced;

    fn budgets(&self) -> Vec<Budget> {
        vec![budget(self.seller, Operation::GetMarketplaceParticipations)]
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<ParticipationsSynced> {
        let Some(amazon) = Connected::open(context, self.seller, run).await? else {
            return Ok(ParticipationsSynced {
                skipped: Some(NOT_CONNECTED),
                ..ParticipationsSynced::default()
            });
        };
        let asked_at = context.clock.now();
        let answer = amazon.call(&questions::request()).await.and_then(|answer| questions::parse(&answer));
        match answer {
            Ok(told) => save(&amazon, &told, asked_at).await,
            Err(error) => Err(amazon.failed(error).await),
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

/// What is to be synced: where the seller sells, of what its region answers for. What stays keeps its order, so that nothing
/// changes where nothing is new. `None` where nothing would be left.
pub(crate) fn to_sync(present: &[String], told: &[Participation], region: Region) -> Option<Vec<String>> {
    let sells_in = |id: &str| {
        marketplace(id).is_some_and(|known| known.region == region)
            && told.iter().any(|told| told.marketplace.id == id && told.participation.is_participating)
    };
    let mut wanted: Vec<_> = present.iter().filter(|id| sells_in(id)).cloned().collect();
    for told in told {
        let id = &told.marketplace.id;
        if sells_in(id) && !wanted.contains(id) {
            wanted.push(id.clone());
        }
    }
    (!wanted.is_empty()).then_some(wanted)
}

/// Stores the answer and what follows from it in one transaction.
async fn save(
    amazon: &Connected<'_>,
    told: &[Participation],
    asked_at: DateTime<Utc>,
) -> Outcome<ParticipationsSynced> {
    let seller = &amazon.seller;
    let present = &seller.marketplace_ids;
    let wanted = to_sync(present, told, seller.region).unwrap_or_else(|| {
        tracing::warn!(
            seller.id = %seller.id,
            "Amazon says that the seller sells nowhere; what is synced stays as it is"
        );
        present.clone()
    });
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|id| !those.contains(id)).cloned().collect()
    };
    let (joined, left) = (only(&wanted, present), only(present, &wanted));
    let now = amazon.context.clock.now();
    let mut transaction = amazon.context.pool.begin().await?;
    if !sellers::change_marketplaces(&mut transaction, seller, &wanted, now).await? {
        return Err(Failure::retry(
            "the seller connected again or left meanwhile; the answer was not stored",
        ));
    }
    participations::save(&mut transaction, seller.id, told, asked_at).await?;
    walks::forget(&mut transaction, seller.id, &left).await?;
    for marketplace_id in &left {
        inventory::mark_gone(&mut transaction, seller.id, marketplace_id, now).await?;
        listings::mark_all_gone(&mut transaction, seller.id, marketplace_id, now).await?;
    }
    transaction.commit().await?;
    Ok(ParticipationsSynced { marketplaces: told.len(), joined, left, skipped: None })
}

#[cfg(test)]
mod tests {
    use sandbox::{Fault, Operation as Asked};

    use super::*;
    use crate::{
        kinds::backfill_orders::BackfillOrders,
        sp_api::participations::{Marketplace, Standing},
        testing::{Shop, retried, snoozed, until},
    };

    const ASK: Asked = Asked::GetMarketplaceParticipations;
    const UK: &str = "A1F83G8C2ARO7P";
    const GERMANY: &str = "A1PA6795UKMFR9";
    const US: &str = "ATVPDKIKX0DER";

    /// All rows without when they were fetched.
    const ROWS: &str = "select (to_jsonb(p) - 'fetched_at')::text from participations p order by 1";
    const SELLS_IN: &str = "select marketplace_id from participations where is_participating order by 1";
    const CURSORS: &str =
        "select coalesce(string_agg(extract(epoch from synced_until)::text, ' '), '') from sync_cursors";

    fn told(id: &str, is_participating: bool) -> Participation {
        Participation {
            marketplace: Marketplace {
                id: id.to_owned(),
                country_code: None,
                default_currency_code: None,
                default_language_code: None,
                domain_name: None,
            },
            participation: Standing { is_participating, has_suspended_listings: false },
        }
    }

    async fn synced_marketplaces(shop: &Shop) -> Vec<String> {
        shop.seller().await.marketplace_ids
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::with_orders(0).await;
        let at_amazon = shop.sandbox.control().participations(&shop.account.selling_partner_id);
        let at_amazon = at_amazon.expect("the seller is known");
        let synced = shop.sync_participations().await.expect("nothing is wrong");
        assert_eq!(synced.marketplaces, at_amazon.len());
        let mut sells_in: Vec<_> = at_amazon
            .into_iter()
            .filter(|told| told.is_participating)
            .map(|told| told.marketplace_id)
            .collect();
        sells_in.sort();
        assert_eq!(shop.lines(SELLS_IN).await, sells_in);
        assert_eq!(
            shop.one(
                "select concat_ws(' ', country_code, currency_code, language_code) from participations
                      where marketplace_id = 'A1F83G8C2ARO7P'"
            )
            .await,
            "GB GBP en_GB"
        );
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::with_orders(0).await;
        shop.sync_participations().await.expect("nothing is wrong");
        let (rows, marketplaces) = (shop.lines(ROWS).await, synced_marketplaces(&shop).await);
        let again = shop.sync_participations().await.expect("nothing is wrong");
        assert_eq!((again.joined.len(), again.left.len()), (0, 0));
        assert_eq!((shop.lines(ROWS).await, synced_marketplaces(&shop).await), (rows, marketplaces));
    }

    #[tokio::test]
    async fn a_marketplace_that_is_joined_is_synced_from_its_start() {
        let shop = Shop::with_orders(60).await;
        let [first, ..] = &shop.account.marketplace_ids[..] else { panic!("it sells somewhere") };
        shop.connect_with(&shop.account.refresh_token, std::slice::from_ref(first)).await;
        shop.sync().await.expect("nothing is wrong");
        let synced = shop.sync_participations().await.expect("nothing is wrong");
        assert!(!synced.joined.is_empty() && !synced.joined.contains(first), "{synced:?}");
        assert_eq!(synced_marketplaces(&shop).await[0], *first, "what stays keeps its place");
        shop.run(&BackfillOrders { seller: shop.seller }).await.expect("its history is new");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_marketplace_that_is_left_is_no_longer_synced_and_its_products_are_gone() {
        let shop = Shop::with_orders(20).await;
        shop.sync_participations().await.expect("nothing is wrong");
        shop.sync().await.expect("nothing is wrong");
        shop.sync_stock().await.expect("nothing is wrong");
        shop.sync_listings().await.expect("nothing is wrong");
        let cursors = shop.one(CURSORS).await;
        let before = synced_marketplaces(&shop).await;
        let [stays @ .., leaves] = &before[..] else { panic!("it sells somewhere") };
        shop.participate(leaves, false);
        let synced = shop.sync_participations().await.expect("nothing is wrong");
        assert_eq!((synced.joined, synced.left), (vec![], vec![leaves.clone()]));
        assert_eq!(synced_marketplaces(&shop).await, stays);
        assert_eq!(shop.one(CURSORS).await, cursors, "nothing is synced anew");
        for there in [
            "select distinct marketplace_id from inventory where gone_at is null",
            "select distinct marketplace_id from listings where gone_at is null",
            "select distinct marketplace_id from listing_issues",
            "select distinct marketplace_id from walks",
        ] {
            let there = shop.lines(there).await;
            assert!(!there.is_empty() && !there.contains(leaves), "{there:?}");
        }
        shop.participate(leaves, true);
        let synced = shop.sync_participations().await.expect("nothing is wrong");
        assert_eq!(synced.joined, std::slice::from_ref(leaves));
        shop.sync_stock().await.expect("nothing is wrong");
        shop.sync_listings().await.expect("nothing is wrong");
        shop.assert_stock_stored().await;
        shop.assert_listings_stored().await;
    }

    #[tokio::test]
    async fn a_seller_that_sells_nowhere_keeps_what_is_synced() {
        let shop = Shop::with_orders(0).await;
        shop.sync_participations().await.expect("nothing is wrong");
        let before = synced_marketplaces(&shop).await;
        for marketplace_id in &before {
            shop.participate(marketplace_id, false);
        }
        let log = crate::testing::Log::listen();
        let synced = shop.sync_participations().await.expect("nothing is wrong");
        assert!(log.text().contains("sells nowhere"));
        assert_eq!((synced.joined.len(), synced.left.len()), (0, 0));
        assert_eq!(synced_marketplaces(&shop).await, before);
        assert_eq!(shop.lines(SELLS_IN).await, [""; 0], "what Amazon says is stored all the same");
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        shop.execute("update sellers set state = 'disconnected'").await;
        let skipped = shop.sync_participations().await.expect("nothing is wrong");
        assert_eq!((skipped.skipped, shop.calls_of(ASK).len()), (Some(NOT_CONNECTED), 0));
    }

    #[tokio::test]
    async fn throttled_it_snoozes() {
        let shop = Shop::with_orders(0).await;
        shop.fault(ASK, Fault::Quota, 1);
        let now = shop.context.clock.now();
        let until = snoozed(shop.sync_participations().await);
        // One call in 62.5 s is what Amazon's plan gives.
        assert!(until - now > chrono::TimeDelta::seconds(62), "{until}");
        assert_eq!(shop.lines(ROWS).await, [""; 0]);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::with_orders(0).await;
        shop.fault(ASK, Fault::Hang, 1);
        shop.drop_in_call(&SyncParticipations { seller: shop.seller }, ASK).await;
        assert_eq!(shop.lines(ROWS).await, [""; 0]);
        shop.sandbox.control().clear_faults();
        shop.sync_participations().await.expect("nothing is wrong");
        assert!(!shop.lines(ROWS).await.is_empty());
    }

    #[tokio::test]
    async fn what_amazon_breaks_is_tried_again_and_a_missing_role_is_waited_for() {
        let shop = Shop::with_orders(0).await;
        let before = synced_marketplaces(&shop).await;
        for fault in [Fault::Internal, Fault::Unavailable, Fault::Garbage, Fault::Cut] {
            shop.fault(ASK, fault, 1);
            let error = retried(shop.sync_participations().await);
            assert!(error.contains("getMarketplaceParticipations"), "{fault:?}: {error}");
        }
        shop.fault(ASK, Fault::Denied, 2);
        assert!(snoozed(shop.sync_participations().await) > shop.context.clock.now());
        assert_eq!((shop.lines(ROWS).await.len(), synced_marketplaces(&shop).await), (0, before));
    }

    #[tokio::test]
    async fn a_seller_that_connects_again_meanwhile_is_asked_about_again() {
        let shop = Shop::with_orders(0).await;
        let [first, ..] = &shop.account.marketplace_ids[..] else { panic!("it sells somewhere") };
        shop.fault(ASK, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync_participations(), async {
            until(|| shop.hangs(ASK, 0)).await;
            shop.connect_with(&shop.account.refresh_token, std::slice::from_ref(first)).await;
            shop.sandbox.control().clear_faults();
        });
        assert!(retried(outcome).contains("connected again"));
        assert_eq!(synced_marketplaces(&shop).await, std::slice::from_ref(first));
    }

    #[test]
    fn what_is_synced_is_where_the_seller_sells_in_its_region() {
        let of = |present: &[&str], told: &[Participation]| {
            let present: Vec<_> = present.iter().map(|id| (*id).to_owned()).collect();
            to_sync(&present, told, Region::Eu)
        };
        let ids = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        let both = [told(UK, true), told(GERMANY, true)];
        assert_eq!(of(&[GERMANY, UK], &both), ids(&[GERMANY, UK]), "no change where nothing is new");
        assert_eq!(of(&[GERMANY], &both), ids(&[GERMANY, UK]), "new ones come last");
        assert_eq!(of(&[GERMANY, UK], &[told(UK, true), told(GERMANY, false)]), ids(&[UK]));
        assert_eq!(of(&[UK], &[told(UK, true), told(US, true), told("unlisted", true)]), ids(&[UK]));
        assert_eq!(of(&[UK], &[told(UK, true), told(UK, true)]), ids(&[UK]));
        for nothing in [vec![], vec![told(UK, false)], vec![told(US, true)], vec![told("string", true)]] {
            assert_eq!(of(&[UK], &nothing), None, "{nothing:?}");
        }
    }
}
