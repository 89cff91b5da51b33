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

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, Job, JobId, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{Connected, NOT_CONNECTED},
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(10))
        // A day of Amazon being ill, at half an hour each.
        .max_attempts(60)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("3,33 * * * *"));

    type Context = Context;
    type Report = StockSynced;

    fn group(&self) -> String {
        self.seller.to_string()
    }

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
pub(crate) fn first_page(walk: &Walk, marketplace_id: &str, now: DateTime<Utc>) -> InventorySearch {
    let fresh = walk.whole_at.is_some_and(|whole_at| now - whole_at < WHOLE_EVERY);
    InventorySearch {
        marketplace_id: marketplace_id.to_owned(),
        changed_since: walk.synced_at.filter(|_| fresh).map(|synced_at| synced_at - OVERLAP),
        page_token: None,
    }
}

/// The page after this one, if there is one; with the same filters, as Amazon wants it.
pub(crate) fn next_page(search: &InventorySearch, page: &InventoryPage) -> Option<InventorySearch> {
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
