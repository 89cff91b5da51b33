//! Copies a seller's stock at Amazon into `inventory`.
//!
//! When: every 30 minutes for each connected seller, and on request.
//! Safe to repeat: rows are upserted by marketplace and SKU, an earlier answer never over a later one.
//! Limits: `getInventorySummaries`, one budget a seller. A page token dies after 30 seconds: the pages of a walk are fetched in
//! one go, and the run waits for the budget between them; only before the first page an empty one snoozes. A walk that is
//! interrupted starts over, twice in a run, then the job is tried again.
//! Does not promise: changes of inbound units before the next walk over everything (Amazon tells them only there), so they
//! may be a day old; and figures of a SKU that is gone, which stay as they were.
//! In dead letters: deploy/runbooks/sync_inventory.md.

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, Group, Job, JobId, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{AMAZONS, Connected, NOT_CONNECTED},
    context::Context,
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        budgets::budget,
        inventory::{InventoryPage, InventorySearch, TOKEN_LIFE},
    },
    store::{
        inventory, sellers,
        sellers::SellerId,
        walks::{self, DataSet, Walk},
    },
};

/// The seller whose stock is copied.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncInventory {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run stored.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct StockSynced {
    /// Walks, one for each marketplace.
    pub walks: u32,
    /// Of these, the ones over everything; the others are over what changed.
    pub whole_walks: u32,
    /// Pages fetched.
    pub pages: u32,
    /// SKUs on them.
    pub skus_seen: usize,
    /// SKUs that Amazon no longer tells of.
    pub skus_gone: u64,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// At least daily, though runs come every half an hour and may be late.
const WHOLE_EVERY: TimeDelta = TimeDelta::hours(23);
/// A walk over changes begins before the last one did, because changes may be told out of order.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// A page is asked for only while its token will live this much longer.
const TOKEN_RESERVE: TimeDelta = TimeDelta::seconds(5);
/// How often a run starts a walk over. More would use up a budget that is too small for a walk anyway.
const MOST_RESTARTS: u32 = 2;

impl Job for SyncInventory {
    const KIND: &'static str = "sync_inventory";
    const SUMMARY: &'static str = "Copies what Amazon has in store for a seller, by marketplace and SKU.";
    const POLICY: Policy = AMAZONS.timeout(minutes(10));
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("*/30 * * * *").spread(minutes(30)));

    type Context = Context;
    type Report = StockSynced;

    fn budgets(&self) -> Vec<Budget> {
        vec![budget(self.seller, Operation::GetInventorySummaries)]
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<StockSynced> {
        let mut synced = StockSynced::default();
        let Some(amazon) = Connected::open(context, self.seller, run).await? else {
            return Ok(StockSynced { skipped: Some(NOT_CONNECTED), ..synced });
        };
        let mut restarts = 0;
        loop {
            let walks = load_walks(&amazon).await?;
            let Some(marketplace_id) = walks.next(&amazon.seller.marketplace_ids, run.id) else {
                return Ok(synced);
            };
            if walk_through(&amazon, run.id, &walks.over(marketplace_id), marketplace_id, &mut synced).await?
            {
                continue;
            }
            restarts += 1;
            if restarts > MOST_RESTARTS {
                return Err(Failure::retry(
                    "Amazon's page tokens died before the next page could be fetched",
                ));
            }
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

async fn load_walks(amazon: &Connected<'_>) -> Outcome<walks::Walks> {
    let mut connection = amazon.context.pool.acquire().await?;
    Ok(walks::load(&mut connection, amazon.seller.id, DataSet::Inventory).await?)
}

/// Walks over a marketplace from the first page to the last. False if it was interrupted: then it starts over.
async fn walk_through(
    amazon: &Connected<'_>,
    job: JobId,
    walk: &Walk,
    marketplace_id: &str,
    synced: &mut StockSynced,
) -> Outcome<bool> {
    let began_at = amazon.context.clock.now();
    let first = first_page(walk, marketplace_id, began_at);
    let whole = first.changed_since.is_none();
    let ended = walk.ended(job, began_at, whole);
    let mut next = Some((first, began_at));
    while let Some((search, token_at)) = next {
        let asked_at = amazon.context.clock.now();
        let Some(page) = fetch(amazon, &search, token_at).await? else { return Ok(false) };
        synced.pages += 1;
        synced.skus_seen += page.stocks().len();
        next = next_page(&search, &page).map(|search| (search, amazon.context.clock.now()));
        let end = next.is_none().then(|| End { from: walk, to: ended.clone(), began_at, whole });
        synced.skus_gone += save(amazon, marketplace_id, &page, asked_at, end).await?;
    }
    synced.walks += 1;
    synced.whole_walks += u32::from(whole);
    Ok(true)
}

/// The first page of a marketplace's next walk: over everything once a day, else over what changed since the last one.
#[must_use]
pub fn first_page(walk: &Walk, marketplace_id: &str, now: DateTime<Utc>) -> InventorySearch {
    let fresh = walk.whole_at.is_some_and(|whole_at| now - whole_at < WHOLE_EVERY);
    InventorySearch {
        marketplace_id: marketplace_id.to_owned(),
        changed_since: walk.synced_at.filter(|_| fresh).map(|synced_at| synced_at - OVERLAP),
        page_token: None,
    }
}

/// The page after this one, if there is one; with the same filters, as Amazon wants it.
#[must_use]
pub fn next_page(search: &InventorySearch, page: &InventoryPage) -> Option<InventorySearch> {
    let page_token = Some(page.next_token()?.to_owned());
    Some(InventorySearch { page_token, ..search.clone() })
}

/// The page; `None` when its token, which was given at `token_at`, is dead or would be before the budget has a call.
async fn fetch(
    amazon: &Connected<'_>,
    search: &InventorySearch,
    token_at: DateTime<Utc>,
) -> Outcome<Option<InventoryPage>> {
    let clock = &amazon.context.clock;
    let goes_on = search.page_token.is_some();
    loop {
        let last_moment = token_at + TOKEN_LIFE - TOKEN_RESERVE;
        if goes_on && clock.now() > last_moment {
            tracing::info!(seller.id = %amazon.seller.id, "the page token is too old; the walk starts over");
            return Ok(None);
        }
        let called = amazon.call(&search.request()).await.and_then(|answer| InventoryPage::parse(&answer));
        match called {
            Ok(page) => return Ok(Some(page)),
            // Parked, the job would come back to a dead token.
            Err(CallError::Wait { until, .. }) if goes_on => {
                let wait = until.min(last_moment + TimeDelta::seconds(1)) - clock.now();
                tokio::time::sleep(wait.to_std().unwrap_or_default()).await;
            }
            Err(error) if goes_on && error.refusal() == Some(Refusal::InvalidInput) => {
                tracing::info!(seller.id = %amazon.seller.id, "the page token is no longer taken; the walk starts over");
                return Ok(None);
            }
            Err(error) => return Err(amazon.failed(error).await),
        }
    }
}

/// How a walk ends, with its last page.
struct End<'a> {
    from: &'a Walk,
    to: Walk,
    began_at: DateTime<Utc>,
    whole: bool,
}

/// Stores the page; with the last one also what is gone, and that the walk has ended, in one transaction. Returns how many
/// SKUs are newly gone.
async fn save(
    amazon: &Connected<'_>,
    marketplace_id: &str,
    page: &InventoryPage,
    asked_at: DateTime<Utc>,
    end: Option<End<'_>>,
) -> Outcome<u64> {
    let seller = &amazon.seller;
    let mut transaction = amazon.context.pool.begin().await?;
    if !sellers::sells_in(&mut transaction, seller.id, &seller.marketplace_ids).await? {
        return Err(Failure::retry("the seller connected again or left meanwhile; this page was not stored"));
    }
    inventory::save(&mut transaction, seller.id, marketplace_id, page.stocks(), asked_at).await?;
    let mut gone = 0;
    if let Some(End { from, to, began_at, whole }) = end {
        if whole {
            gone = inventory::mark_gone(&mut transaction, seller.id, marketplace_id, began_at).await?;
        }
        let data_set = DataSet::Inventory;
        let moved = walks::advance(&mut transaction, seller.id, data_set, marketplace_id, from, to).await?;
        if moved.is_none() {
            return Err(Failure::retry("another run ended its walk meanwhile; this page was not stored"));
        }
    }
    transaction.commit().await?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use sandbox::{Fault, Operation as Asked, SettingsChange};

    use super::*;
    use crate::testing::{Shop, retried, snoozed, until};

    const PAGES: Asked = Asked::GetInventorySummaries;
    /// All rows without when they were fetched.
    const ROWS: &str = "select (to_jsonb(i) - 'fetched_at')::text from inventory i order by 1";

    /// A shop with so many more products, three quarters of them in Amazon's warehouses, that a walk has several pages.
    async fn with_pages() -> Shop {
        let shop = Shop::with_orders(0).await;
        shop.change_products_ago(3_600, 160, 0, 0);
        shop
    }

    /// Marketplace, kind and page of each call: whether it is over changes, whether it goes on from a page before.
    fn walks(shop: &Shop) -> Vec<(bool, bool)> {
        let calls = shop.calls_of(PAGES).into_iter();
        calls.map(|call| (call.query.contains("startDateTime"), call.query.contains("nextToken"))).collect()
    }

    fn marketplaces(shop: &Shop) -> u32 {
        u32::try_from(shop.account.marketplace_ids.len()).expect("few")
    }

    /// Lets the page tokens die this soon.
    fn tokens_live(shop: &Shop, seconds: f64) {
        let change = SettingsChange { inventory_token_seconds: Some(seconds), ..SettingsChange::default() };
        shop.sandbox.control().change_settings(change).expect("it can be set");
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = with_pages().await;
        let synced = shop.sync_stock().await.expect("nothing is wrong");
        shop.assert_stock_stored().await;
        assert_eq!((synced.walks, synced.whole_walks), (marketplaces(&shop), marketplaces(&shop)));
        assert!(synced.pages >= 3 * marketplaces(&shop) && synced.skus_gone == 0, "{synced:?}");
        assert!(walks(&shop).iter().all(|(changes, _)| !changes));
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = with_pages().await;
        shop.sync_stock().await.expect("nothing is wrong");
        let stored = shop.lines(ROWS).await;
        shop.execute("delete from walks").await;
        let again = shop.sync_stock().await.expect("nothing is wrong");
        assert_eq!((again.whole_walks, again.skus_gone), (marketplaces(&shop), 0));
        assert_eq!(shop.lines(ROWS).await, stored);
    }

    #[tokio::test]
    async fn only_what_changed_is_fetched_again_and_all_of_it_once_a_day() {
        let shop = with_pages().await;
        shop.sync_stock().await.expect("nothing is wrong");
        shop.clock.advance(TimeDelta::hours(1));
        shop.change_products(0, 20, 0);
        let synced = shop.sync_stock().await.expect("nothing is wrong");
        shop.assert_stock_stored().await;
        assert_eq!((synced.whole_walks, synced.pages), (0, marketplaces(&shop)));
        assert!(synced.skus_seen <= 20 * shop.account.marketplace_ids.len(), "{synced:?}");
        shop.clock.advance(WHOLE_EVERY);
        assert_eq!(shop.sync_stock().await.expect("nothing is wrong").whole_walks, marketplaces(&shop));
    }

    #[tokio::test]
    async fn a_change_that_is_told_late_is_not_missed() {
        let shop = with_pages().await;
        shop.sync_stock().await.expect("nothing is wrong");
        shop.change_products_ago(600, 0, 10, 0);
        shop.sync_stock().await.expect("nothing is wrong");
        shop.assert_stock_stored().await;
    }

    #[tokio::test]
    async fn what_is_gone_is_marked_by_the_next_walk_over_everything() {
        let shop = with_pages().await;
        shop.sync_stock().await.expect("nothing is wrong");
        let gone = shop.change_products(0, 0, 30).deleted;
        assert_eq!(shop.sync_stock().await.expect("nothing is wrong").skus_gone, 0, "changes tell of no end");
        shop.clock.advance(WHOLE_EVERY);
        let synced = shop.sync_stock().await.expect("nothing is wrong");
        shop.assert_stock_stored().await;
        let marked = shop.lines("select distinct seller_sku from inventory where gone_at is not null").await;
        assert!(!marked.is_empty() && marked.iter().all(|sku| gone.contains(sku)), "{marked:?}");
        assert_eq!(synced.skus_gone, marked.len() as u64 * shop.account.marketplace_ids.len() as u64);
    }

    #[tokio::test]
    async fn stops_and_starts_its_walk_over() {
        let shop = with_pages().await;
        shop.fault_after(1, PAGES, Fault::Hang, 1);
        shop.drop_in_call(&SyncInventory { seller: shop.seller }, PAGES).await;
        shop.sandbox.control().clear_faults();
        shop.sync_stock().await.expect("it starts over");
        shop.assert_stock_stored().await;
        let goes_on: Vec<_> = walks(&shop).into_iter().map(|(_, goes_on)| goes_on).collect();
        assert_eq!(goes_on[..4], [false, true, false, true], "the token of the lost run is not tried");
    }

    #[tokio::test]
    async fn a_job_that_comes_back_does_not_walk_twice_over_a_marketplace() {
        let shop = with_pages().await;
        let job = SyncInventory { seller: shop.seller };
        let run = shop.enqueue(&job).await;
        let first = job.run(&shop.context, &run).await.expect("nothing is wrong");
        let again = job.run(&shop.context, &run).await.expect("nothing is wrong");
        assert_eq!((first.walks, again.walks), (marketplaces(&shop), 0));
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        shop.execute("update sellers set state = 'disconnected'").await;
        let skipped = shop.sync_stock().await.expect("nothing is wrong");
        assert_eq!(skipped.skipped, Some(NOT_CONNECTED));
        assert_eq!(walks(&shop), [], "no call for a seller who is not connected");
    }

    #[tokio::test]
    async fn throttled_before_the_first_page_it_snoozes() {
        let shop = with_pages().await;
        shop.use_up(Operation::GetInventorySummaries).await;
        let until = snoozed(shop.sync_stock().await);
        assert!(until > shop.context.clock.now());
        assert_eq!(walks(&shop), []);
        shop.clock.advance(until - shop.context.clock.now() + TimeDelta::seconds(5));
        shop.sync_stock().await.expect("the budget has filled again");
        shop.assert_stock_stored().await;
    }

    #[tokio::test]
    async fn throttled_between_two_pages_it_waits_and_goes_on() {
        let shop = with_pages().await;
        shop.fault_after(1, PAGES, Fault::Quota, 1);
        shop.sync_stock().await.expect("it waits for the budget while the token lives");
        shop.assert_stock_stored().await;
        let goes_on: Vec<_> = walks(&shop).into_iter().map(|(_, goes_on)| goes_on).collect();
        assert_eq!(goes_on[..3], [false, true, true], "the same page again");
    }

    #[tokio::test]
    async fn a_token_that_died_starts_the_walk_over_and_too_many_are_a_failure() {
        let shop = with_pages().await;
        tokens_live(&shop, 0.0);
        assert!(retried(shop.sync_stock().await).contains("page tokens died"));
        let goes_on: Vec<_> = walks(&shop).into_iter().map(|(_, goes_on)| goes_on).collect();
        assert_eq!(goes_on, [false, true, false, true, false, true]);
        tokens_live(&shop, 30.0);
        shop.sync_stock().await.expect("Amazon is well again");
        shop.assert_stock_stored().await;
    }

    #[tokio::test]
    async fn a_token_that_is_too_old_is_not_even_tried() {
        let shop = with_pages().await;
        let run = shop.enqueue(&SyncInventory { seller: shop.seller }).await;
        let amazon = Connected::open(&shop.context, shop.seller, &run).await.expect("it is connected");
        let amazon = amazon.expect("it is connected");
        let search = InventorySearch {
            marketplace_id: shop.account.marketplace_ids[0].clone(),
            changed_since: None,
            page_token: Some("old".to_owned()),
        };
        let given_at = shop.context.clock.now() - TOKEN_LIFE;
        assert!(fetch(&amazon, &search, given_at).await.expect("it is no error").is_none());
        assert_eq!(walks(&shop), []);
    }

    #[tokio::test]
    async fn what_amazon_breaks_is_tried_again() {
        let shop = with_pages().await;
        for fault in [Fault::Internal, Fault::Unavailable, Fault::Garbage, Fault::Cut] {
            shop.fault_after(1, PAGES, fault, 1);
            let error = retried(shop.sync_stock().await);
            assert!(error.contains("getInventorySummaries"), "{fault:?}: {error}");
            assert!(!error.contains("AMZ-") && !error.contains("Atz"), "{fault:?}: {error}");
        }
        shop.sync_stock().await.expect("Amazon is well again");
        shop.assert_stock_stored().await;
    }

    #[tokio::test]
    async fn a_missing_role_is_waited_for() {
        let shop = with_pages().await;
        shop.fault(PAGES, Fault::Denied, 2);
        assert!(snoozed(shop.sync_stock().await) > shop.context.clock.now());
        assert_eq!(shop.state().await, "active");
    }

    #[tokio::test]
    async fn a_seller_that_is_deleted_in_mid_run_leaves_nothing_behind() {
        let shop = with_pages().await;
        shop.fault_after(1, PAGES, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync_stock(), async {
            until(|| shop.hangs(PAGES, 0)).await;
            shop.execute("delete from sellers").await;
            shop.sandbox.control().clear_faults();
        });
        retried(outcome);
        assert_eq!(shop.one("select count(*)::text from inventory").await, "0");
    }

    #[tokio::test]
    async fn of_two_runs_at_once_none_spoils_what_the_other_stores() {
        let shop = with_pages().await;
        let (one, other) = tokio::join!(shop.sync_stock(), shop.sync_stock());
        assert!(one.is_ok() || other.is_ok());
        shop.assert_stock_stored().await;
    }

    #[test]
    fn a_walk_is_over_everything_unless_one_was_today() {
        let now: DateTime<Utc> = "2026-11-24T12:00:00Z".parse().expect("a moment");
        let job = JobId::new();
        let since = |walk: &Walk| first_page(walk, "A1F83G8C2ARO7P", now).changed_since;
        assert_eq!(since(&Walk::default()), None);
        let yesterday = now - WHOLE_EVERY;
        let today = now - TimeDelta::minutes(30);
        assert_eq!(since(&Walk::default().ended(job, yesterday, true)), None);
        let fresh = Walk::default().ended(job, today, true);
        assert_eq!(since(&fresh), Some(today - OVERLAP));
        let late = now - TimeDelta::minutes(10);
        assert_eq!(since(&fresh.ended(job, late, false)), Some(late - OVERLAP));
        assert_eq!(since(&Walk::default().ended(job, yesterday, true).ended(job, late, false)), None);
    }
}
