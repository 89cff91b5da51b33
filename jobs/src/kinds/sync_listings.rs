//! Copies a seller's listings with their issues from Amazon into `listings` and `listing_issues`, then the sales ranks of
//! the listed products into `sales_ranks`.
//!
//! When: every six hours for each connected seller, and on request.
//! Safe to repeat: rows are upserted, an earlier answer never over a later one; a walk's place moves in the page's transaction.
//! Limits: `searchListingsItems` and `searchCatalogItems`, a budget each a seller, and one of our application's for the second;
//! an empty one snoozes. After 200 calls a run snoozes too, so that others get its slot.
//! A walk goes through listings in the order of their creation. Its place is the creation date of the last one stored, so it
//! needs no page token to go on after a snooze; a token that dies within a run costs the pages since that place.
//! What a walk no longer shows is asked for by SKU before it is marked as gone; a SKU with a comma cannot be, and is believed.
//! Does not promise: ranks more than once a marketplace's day; a new listing of which Amazon has over a thousand that were
//! created in the very same millisecond.
//! In dead letters: deploy/runbooks/sync_listings.md.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    connected::{Connected, NOT_CONNECTED},
    context::Context,
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        budgets::budget,
        catalog::{RanksSearch, TOGETHER},
        listings::{ListingsPage, ListingsSearch, PAGE, PAGED_THROUGH, can_be_asked_for},
        marketplaces::time_zone,
        request::{Request, Success},
    },
    store::{
        listings,
        sales_ranks::{self, Due},
        sellers,
        sellers::SellerId,
        walks::{self, DataSet, UnderWay, Walk},
    },
};

/// The seller whose listings are copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncListings {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run stored. A job that snoozed tells of its last run.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct ListingsSynced {
    /// Pages of listings fetched.
    pub pages: u32,
    /// Listings on them.
    pub listings_seen: usize,
    /// Listings that Amazon no longer has.
    pub listings_gone: u64,
    /// Products whose sales ranks were asked for.
    pub products_asked: usize,
    /// Sales ranks that were new or changed.
    pub ranks_stored: u64,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// Most calls of a run; at two a second, about two minutes.
const MOST_CALLS: u32 = 200;
/// How long a job rests that has used its calls up.
const REST: TimeDelta = TimeDelta::seconds(1);
/// A walk that was left for longer is begun anew: what it saw is too old to tell what is gone.
const ABANDONED: TimeDelta = TimeDelta::hours(12);
/// Products that are looked up at once in our tables.
const DUE_TOGETHER: i64 = 400;

impl Job for SyncListings {
    const KIND: &'static str = "sync_listings";
    const SUMMARY: &'static str = "Copies a seller's listings with what Amazon finds wrong with them, and the sales ranks of their products.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(10))
        // A day of Amazon being ill, at half an hour each.
        .max_attempts(60)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("20 */6 * * *"));

    type Context = Context;
    type Report = ListingsSynced;

    fn group(&self) -> String {
        self.seller.to_string()
    }

    fn budgets(&self) -> Vec<Budget> {
        let operations = [Operation::SearchListingsItems, Operation::SearchCatalogItems];
        operations.map(|operation| budget(self.seller, operation)).into()
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<ListingsSynced> {
        let Some(amazon) = Connected::open(context, self.seller, run).await? else {
            return Ok(ListingsSynced { skipped: Some(NOT_CONNECTED), ..ListingsSynced::default() });
        };
        let mut work = Work { amazon, run, calls: 0, synced: ListingsSynced::default() };
        let mut walks = work.load_walks().await?;
        while let Some(marketplace_id) = walks.next(&work.amazon.seller.marketplace_ids, run.id) {
            let marketplace_id = marketplace_id.to_owned();
            let walk = work.walk_through(&marketplace_id, walks.over(&marketplace_id)).await?;
            walks.0.insert(marketplace_id, walk);
        }
        work.ask_for_ranks().await?;
        Ok(work.synced)
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

/// Where a walk is in a marketplace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paging {
    /// The search's first creation date.
    since: Option<DateTime<Utc>>,
    /// Token of its next page.
    page_token: Option<String>,
    /// Listings on its pages so far.
    seen: u64,
    /// Creation date of the last listing.
    place: Option<DateTime<Utc>>,
}

impl Paging {
    /// Begins at a place; at the first listing of all without one.
    pub(crate) fn at(place: Option<DateTime<Utc>>) -> Self {
        Self { since: place, place, ..Self::default() }
    }

    /// What is asked next.
    pub(crate) fn search(&self, marketplace_id: &str) -> ListingsSearch {
        ListingsSearch::Created {
            marketplace_id: marketplace_id.to_owned(),
            since: self.since,
            page_token: self.page_token.clone(),
        }
    }

    /// Where the walk is after this page; `None` at its end.
    pub(crate) fn after(&self, page: &ListingsPage, marketplace_id: &str) -> Option<Self> {
        let seen = self.seen + page.items.len() as u64;
        let place = self.place.max(page.last_created(marketplace_id));
        let all_paged_through = seen >= PAGED_THROUGH;
        if let Some(token) = page.next_token().filter(|_| !all_paged_through) {
            return Some(Self { page_token: Some(token.to_owned()), seen, place, since: self.since });
        }
        if !all_paged_through && page.number_of_results.is_none_or(|found| found <= seen) {
            return None;
        }
        // The search found more than Amazon pages through: the next one begins where this one got to. It must get on, or the
        // walk would never end.
        if place > self.since {
            return Some(Self::at(place));
        }
        let past = self.since.filter(|_| all_paged_through)? + TimeDelta::milliseconds(1);
        Some(Self { place, ..Self::at(Some(past)) })
    }
}

/// A run at work.
struct Work<'a> {
    amazon: Connected<'a>,
    run: &'a Run,
    calls: u32,
    synced: ListingsSynced,
}

impl Work<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.amazon.context.clock.now()
    }

    async fn load_walks(&self) -> Outcome<walks::Walks> {
        let mut connection = self.amazon.context.pool.acquire().await?;
        Ok(walks::load(&mut connection, self.amazon.seller.id, DataSet::Listings).await?)
    }

    /// One of the run's calls; a snooze when they are used up.
    async fn call(&mut self, request: &Request) -> Outcome<Result<Success, CallError>> {
        if self.calls >= MOST_CALLS {
            return Err(Failure::snooze(self.now() + REST, "its next turn"));
        }
        self.calls += 1;
        Ok(self.amazon.call(request).await)
    }

    /// Goes through a marketplace's listings, from the walk's place to the last one, and looks for what is gone.
    async fn walk_through(&mut self, marketplace_id: &str, walk: Walk) -> Outcome<Walk> {
        let now = self.now();
        let begun = walk.under_way.filter(|under_way| now - under_way.began_at < ABANDONED);
        let began_at = begun.map_or(now, |under_way| under_way.began_at);
        let mut paging = Paging::at(begun.and_then(|under_way| under_way.place));
        let (mut walk, mut token_died_at) = (walk, None);
        loop {
            let asked_at = self.now();
            let Some(page) = self.fetch(&paging, marketplace_id).await? else {
                // Once is an old token. Twice at one place would go on for ever, and use the budget up.
                if token_died_at.replace(paging.place) == Some(paging.place) {
                    return Err(Failure::retry("Amazon does not take the page tokens that it gives"));
                }
                paging = Paging::at(paging.place);
                continue;
            };
            let next = paging.after(&page, marketplace_id);
            let place = next.as_ref().map_or(paging.place, |next| next.place);
            let to = walk.on_its_way(self.run.id, UnderWay { began_at, place });
            walk = self.save(marketplace_id, &page, asked_at, &walk, to).await?;
            self.synced.pages += 1;
            self.synced.listings_seen += page.items.len();
            self.run.signals.tell_with(self.synced.listings_seen as u64, None, "listings");
            let Some(next) = next else { break };
            paging = next;
        }
        self.look_for_gone(marketplace_id, began_at).await?;
        self.end(marketplace_id, began_at, &walk).await
    }

    /// The page; `None` when Amazon does not take its token.
    async fn fetch(&mut self, paging: &Paging, marketplace_id: &str) -> Outcome<Option<ListingsPage>> {
        let request = paging.search(marketplace_id).request(&self.amazon.seller.selling_partner_id);
        match self.call(&request).await?.and_then(|answer| ListingsPage::parse(&answer)) {
            Ok(page) => Ok(Some(page)),
            Err(error) if paging.page_token.is_some() && error.refusal() == Some(Refusal::InvalidInput) => {
                tracing::info!(
                    seller.id = %self.amazon.seller.id,
                    "the page token is no longer taken; the walk goes on from its place"
                );
                Ok(None)
            }
            Err(error) => Err(self.amazon.failed(error).await),
        }
    }

    /// Asks by SKU for what the walk has not seen, and marks as gone what Amazon does not have.
    async fn look_for_gone(&mut self, marketplace_id: &str, began_at: DateTime<Utc>) -> Outcome<()> {
        let seller = self.amazon.seller.id;
        let mut connection = self.amazon.context.pool.acquire().await?;
        let missing = listings::not_seen(&mut connection, seller, marketplace_id, began_at).await?;
        drop(connection);
        let (askable, others): (Vec<_>, Vec<_>) = missing.into_iter().partition(|sku| can_be_asked_for(sku));
        for skus in askable.chunks(PAGE) {
            let search =
                ListingsSearch::WithSkus { marketplace_id: marketplace_id.to_owned(), skus: skus.to_vec() };
            let asked_at = self.now();
            let request = search.request(&self.amazon.seller.selling_partner_id);
            let answer = self.call(&request).await?.and_then(|answer| ListingsPage::parse(&answer));
            let page = match answer {
                Ok(page) => page,
                Err(error) => return Err(self.amazon.failed(error).await),
            };
            let mut transaction = self.begin().await?;
            listings::save(&mut transaction, seller, marketplace_id, &page, asked_at).await?;
            let gone = listings::mark_gone(&mut transaction, seller, marketplace_id, skus, asked_at).await?;
            transaction.commit().await?;
            self.synced.listings_gone += gone;
        }
        if !others.is_empty() {
            let mut transaction = self.begin().await?;
            let now = self.now();
            let gone = listings::mark_gone(&mut transaction, seller, marketplace_id, &others, now).await?;
            transaction.commit().await?;
            self.synced.listings_gone += gone;
        }
        Ok(())
    }

    /// A transaction in which the seller still sells where the run believes.
    async fn begin(&self) -> Outcome<Transaction<'static, Postgres>> {
        let seller = &self.amazon.seller;
        let mut transaction = self.amazon.context.pool.begin().await?;
        if sellers::sells_in(&mut transaction, seller.id, &seller.marketplace_ids).await? {
            Ok(transaction)
        } else {
            Err(Failure::retry("the seller connected again or left meanwhile; this answer was not stored"))
        }
    }

    /// Stores the page and moves the walk in one transaction.
    async fn save(
        &self,
        marketplace_id: &str,
        page: &ListingsPage,
        asked_at: DateTime<Utc>,
        from: &Walk,
        to: Walk,
    ) -> Outcome<Walk> {
        let mut transaction = self.begin().await?;
        let seller = self.amazon.seller.id;
        listings::save(&mut transaction, seller, marketplace_id, page, asked_at).await?;
        self.advance(transaction, marketplace_id, from, to).await
    }

    async fn end(&self, marketplace_id: &str, began_at: DateTime<Utc>, walk: &Walk) -> Outcome<Walk> {
        let transaction = self.begin().await?;
        self.advance(transaction, marketplace_id, walk, walk.ended(self.run.id, began_at, true)).await
    }

    async fn advance(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        marketplace_id: &str,
        from: &Walk,
        to: Walk,
    ) -> Outcome<Walk> {
        let (seller, data_set) = (self.amazon.seller.id, DataSet::Listings);
        let moved = walks::advance(&mut transaction, seller, data_set, marketplace_id, from, to).await?;
        let Some(walk) = moved else {
            return Err(Failure::retry("another run moved the walk meanwhile; this page was not stored"));
        };
        transaction.commit().await?;
        Ok(walk)
    }

    /// Asks for the sales ranks of every product that was not asked about on its marketplace's day, the longest ago first.
    async fn ask_for_ranks(&mut self) -> Outcome<()> {
        loop {
            let due = self.due().await?;
            if due.is_empty() {
                return Ok(());
            }
            for search in rank_searches(&due) {
                let asked_at = self.now();
                let answer = self.call(&search.request()).await?;
                let ranks = match answer.and_then(|answer| search.parse(&answer)) {
                    Ok(ranks) => ranks,
                    Err(error) => return Err(self.amazon.failed(error).await),
                };
                let RanksSearch { marketplace_id, asins } = &search;
                let day = asked_at.with_timezone(&time_zone(marketplace_id)).date_naive();
                let seller = self.amazon.seller.id;
                let mut transaction = self.begin().await?;
                self.synced.ranks_stored +=
                    sales_ranks::save(&mut transaction, seller, marketplace_id, asins, &ranks, day, asked_at)
                        .await?;
                transaction.commit().await?;
                self.synced.products_asked += asins.len();
            }
        }
    }

    async fn due(&self) -> Outcome<Vec<Due>> {
        let seller = &self.amazon.seller;
        let now = self.now();
        let day = |id: &String| (id.clone(), day_began_at(id, now));
        let days: Vec<_> = seller.marketplace_ids.iter().map(day).collect();
        let mut connection = self.amazon.context.pool.acquire().await?;
        Ok(sales_ranks::due(&mut connection, seller.id, &days, DUE_TOGETHER).await?)
    }
}

/// When the day began that it is in a marketplace.
fn day_began_at(marketplace_id: &str, now: DateTime<Utc>) -> DateTime<Utc> {
    let local = now.with_timezone(&time_zone(marketplace_id));
    let midnight = local.date_naive().and_time(chrono::NaiveTime::MIN);
    // Where the clock leaps over midnight, the day begins with the first moment that there is.
    let began = (0..4).find_map(|hours| {
        (midnight + TimeDelta::hours(hours)).and_local_timezone(local.timezone()).earliest()
    });
    began.map_or(now, |began| began.with_timezone(&Utc))
}

/// The searches for these products: as few as possible, those for what is due the longest first.
pub(crate) fn rank_searches(due: &[Due]) -> Vec<RanksSearch> {
    let mut searches: Vec<RanksSearch> = Vec::new();
    for Due { marketplace_id, asin } in due {
        let has_room = |search: &&mut RanksSearch| {
            search.marketplace_id == *marketplace_id && search.asins.len() < TOGETHER
        };
        match searches.iter_mut().find(has_room) {
            Some(search) => search.asins.push(asin.clone()),
            None => searches
                .push(RanksSearch { marketplace_id: marketplace_id.clone(), asins: vec![asin.clone()] }),
        }
    }
    searches
}
