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

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, Group, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    connected::{AMAZONS, Connected, NOT_CONNECTED},
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
pub const MOST_CALLS: u32 = 200;
/// How long a job rests that has used its calls up.
pub const REST: TimeDelta = TimeDelta::seconds(1);
/// A walk that was left for longer is begun anew: what it saw is too old to tell what is gone.
const ABANDONED: TimeDelta = TimeDelta::hours(12);
/// Products that are looked up at once in our tables.
const DUE_TOGETHER: i64 = 400;

impl Job for SyncListings {
    const KIND: &'static str = "sync_listings";
    const SUMMARY: &'static str = "Copies a seller's listings with what Amazon finds wrong with them, and the sales ranks of their products.";
    const POLICY: Policy = AMAZONS.timeout(minutes(10));
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("0 */6 * * *").spread(minutes(6 * 60)));

    type Context = Context;
    type Report = ListingsSynced;

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
pub struct Paging {
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
    #[must_use]
    pub fn at(place: Option<DateTime<Utc>>) -> Self {
        Self { since: place, place, ..Self::default() }
    }

    /// What is asked next.
    #[must_use]
    pub fn search(&self, marketplace_id: &str) -> ListingsSearch {
        ListingsSearch::Created {
            marketplace_id: marketplace_id.to_owned(),
            since: self.since,
            page_token: self.page_token.clone(),
        }
    }

    /// Where the walk is after this page; `None` at its end.
    #[must_use]
    pub fn after(&self, page: &ListingsPage, marketplace_id: &str) -> Option<Self> {
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
#[must_use]
pub fn rank_searches(due: &[Due]) -> Vec<RanksSearch> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sandbox::{Fault, Operation as Asked};

    use super::*;
    use crate::testing::{Shop, retried, snoozed, until};

    const LISTINGS: Asked = Asked::SearchListingsItems;
    const RANKS: Asked = Asked::SearchCatalogItems;
    /// All rows without when they were fetched.
    const ROWS: &str = "select (to_jsonb(t) - 'fetched_at' - 'ranks_asked_at')::text from listings t
        union all select (to_jsonb(t) - 'fetched_at')::text from listing_issues t
        union all select (to_jsonb(t) - 'fetched_at')::text from sales_ranks t order by 1";

    /// A shop in one marketplace, with so many products that a walk has several pages.
    async fn with_pages() -> Shop {
        let shop = Shop::with_orders(0).await;
        shop.let_it_be_noon();
        let [first, ..] = &shop.account.marketplace_ids[..] else { panic!("it sells somewhere") };
        shop.connect_with(&shop.account.refresh_token, std::slice::from_ref(first)).await;
        for batch in 0..6 {
            shop.change_products_ago(6_000 - batch * 10, 12, 0, 0);
        }
        shop
    }

    fn page_of(number_of_results: u64, created: &[&str], token: Option<&str>) -> ListingsPage {
        let item = |at: &&str| serde_json::json!({"sku": at, "summaries": [{"marketplaceId": "m", "createdDate": at}]});
        let items: Vec<_> = created.iter().map(item).collect();
        let body = serde_json::json!({
            "numberOfResults": number_of_results, "items": items, "pagination": {"nextToken": token},
        });
        ListingsPage::parse(&Success { body: body.to_string().into(), request_id: None }).expect("a page")
    }

    /// How each call for listings began: from a creation date, and from a page token.
    fn searches(shop: &Shop) -> Vec<(bool, bool)> {
        let calls = shop.calls_of(LISTINGS).into_iter().filter(|call| !call.query.contains("identifiers"));
        calls.map(|call| (call.query.contains("createdAfter"), call.query.contains("pageToken"))).collect()
    }

    /// The SKUs that were asked for by name.
    fn asked_by_sku(shop: &Shop) -> usize {
        shop.calls_of(LISTINGS).iter().filter(|call| call.query.contains("identifiersType=SKU")).count()
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::with_orders(0).await;
        shop.let_it_be_noon();
        shop.change_products_ago(3_600, 30, 0, 0);
        let synced = shop.sync_listings().await.expect("nothing is wrong");
        shop.assert_listings_stored().await;
        shop.assert_ranks_stored().await;
        let products = shop.products().await;
        assert_eq!((synced.listings_seen, synced.listings_gone), (products.len(), 0));
        assert_eq!((synced.products_asked, synced.ranks_stored), (products.len(), products.len() as u64 * 2));
        let most = products.len().div_ceil(TOGETHER) + shop.account.marketplace_ids.len();
        assert!(shop.calls_of(RANKS).len() <= most, "twenty products a call");
        assert_eq!(asked_by_sku(&shop), 0);
        let issues = shop.one("select count(*)::text from listing_issues where message <> ''").await;
        assert!(issues.parse::<u32>().expect("a number") > 0);
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = with_pages().await;
        shop.sync_listings().await.expect("nothing is wrong");
        let (stored, asked) = (shop.lines(ROWS).await, shop.calls_of(RANKS).len());
        let again = shop.sync_listings().await.expect("nothing is wrong");
        assert!(shop.lines(ROWS).await == stored, "a row is different");
        assert_eq!((again.listings_gone, again.products_asked, again.ranks_stored), (0, 0, 0));
        assert_eq!(shop.calls_of(RANKS).len(), asked, "ranks are asked for once a day");
    }

    #[tokio::test]
    async fn ranks_are_a_series_by_day() {
        let shop = with_pages().await;
        shop.sync_listings().await.expect("nothing is wrong");
        shop.clock.advance(TimeDelta::days(1));
        shop.change_products(0, 25, 0);
        shop.sync_listings().await.expect("nothing is wrong");
        shop.assert_listings_stored().await;
        shop.assert_ranks_stored().await;
        let days = shop.lines("select count(*)::text from sales_ranks group by day").await;
        let products = shop.products().await.len();
        assert_eq!(days, [(products * 2).to_string(), (products * 2).to_string()]);
    }

    #[tokio::test]
    async fn what_is_gone_is_asked_for_by_sku_before_it_is_marked() {
        let shop = with_pages().await;
        shop.sync_listings().await.expect("nothing is wrong");
        let gone: BTreeSet<_> = shop.change_products(0, 0, 25).deleted.into_iter().collect();
        let synced = shop.sync_listings().await.expect("nothing is wrong");
        shop.assert_listings_stored().await;
        let marked = shop.lines("select seller_sku from listings where gone_at is not null").await;
        assert_eq!(marked.into_iter().collect::<BTreeSet<_>>(), gone);
        assert_eq!((synced.listings_gone, asked_by_sku(&shop)), (25, 2));
        shop.sync_listings().await.expect("nothing is wrong");
        assert_eq!(asked_by_sku(&shop), 2, "nobody asks again");
    }

    #[tokio::test]
    async fn what_a_walk_has_missed_is_not_gone() {
        let shop = with_pages().await;
        shop.sync_listings().await.expect("nothing is wrong");
        let stored = shop.lines(ROWS).await;
        // As if a walk had passed over every listing and seen none.
        shop.execute(
            "update walks set began_at = (select max(fetched_at) + interval '1 second' from listings),
                 place = (select max(created_at) + interval '1 hour' from listings)",
        )
        .await;
        shop.clock.advance(TimeDelta::minutes(1));
        let synced = shop.sync_listings().await.expect("nothing is wrong");
        assert_eq!((synced.listings_seen, synced.listings_gone), (0, 0));
        assert!(asked_by_sku(&shop) > 0);
        assert!(shop.lines(ROWS).await == stored, "a row is different");
    }

    #[tokio::test]
    async fn a_sku_that_cannot_be_asked_for_is_believed_to_be_gone() {
        let shop = with_pages().await;
        shop.execute(
            "insert into listings (seller_id, marketplace_id, seller_sku, asin, is_buyable, is_discoverable, fetched_at)
             select id, marketplace_ids[1], 'cup,blue', 'B0,00', true, true, '2026-01-01' from sellers",
        )
        .await;
        assert_eq!(shop.sync_listings().await.expect("nothing is wrong").listings_gone, 1);
        assert_eq!(asked_by_sku(&shop), 0);
        assert_eq!(
            shop.lines("select seller_sku from listings where gone_at is not null").await,
            ["cup,blue"]
        );
    }

    #[tokio::test]
    async fn more_listings_than_amazon_pages_through_are_all_stored() {
        let shop = with_pages().await;
        for batch in 0..3 {
            shop.change_products_ago(900 - batch * 100, 400, 0, 0);
        }
        let run = shop.enqueue(&SyncListings { seller: shop.seller }).await;
        let job = SyncListings { seller: shop.seller };
        job.run(&shop.context, &run).await.expect("nothing is wrong");
        shop.assert_listings_stored().await;
        assert!(searches(&shop).iter().any(|(since, _)| *since), "a second search was needed");
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = with_pages().await;
        shop.fault_after(2, LISTINGS, Fault::Hang, 1);
        shop.drop_in_call(&SyncListings { seller: shop.seller }, LISTINGS).await;
        shop.sandbox.control().clear_faults();
        assert_eq!(shop.lines("select seller_sku from listings").await.len(), 2 * PAGE);
        let synced = shop.sync_listings().await.expect("it goes on");
        shop.assert_listings_stored().await;
        shop.assert_ranks_stored().await;
        assert_eq!(
            searches(&shop)[..5],
            [(false, false), (false, true), (false, true), (true, false), (true, true)]
        );
        assert!(synced.listings_seen < shop.products().await.len(), "the first page is not fetched again");
        assert_eq!(synced.listings_gone, 0);
    }

    #[tokio::test]
    async fn a_run_that_has_used_its_calls_up_snoozes_and_the_job_goes_on() {
        let shop = with_pages().await;
        let job = SyncListings { seller: shop.seller };
        let run = shop.enqueue(&job).await;
        let amazon = Connected::open(&shop.context, shop.seller, &run).await.expect("it is connected");
        let amazon = amazon.expect("it is connected");
        let mut work = Work { amazon, run: &run, calls: MOST_CALLS - 2, synced: ListingsSynced::default() };
        let marketplace_id = shop.seller().await.marketplace_ids.remove(0);
        let outcome = work.walk_through(&marketplace_id, Walk::default()).await;
        assert!(snoozed(outcome) <= shop.context.clock.now() + REST);
        assert_eq!(searches(&shop).len(), 2);
        job.run(&shop.context, &run).await.expect("it goes on");
        shop.assert_listings_stored().await;
        shop.assert_ranks_stored().await;
        let calls = searches(&shop).len();
        let again = job.run(&shop.context, &run).await.expect("it has ended");
        assert_eq!((again.pages, searches(&shop).len()), (0, calls), "the job does not walk twice");
    }

    #[tokio::test]
    async fn a_walk_that_was_left_long_ago_is_begun_anew() {
        let shop = with_pages().await;
        shop.fault_after(2, LISTINGS, Fault::Cut, 1);
        retried(shop.sync_listings().await);
        shop.clock.advance(ABANDONED);
        shop.sync_listings().await.expect("it begins anew");
        shop.assert_listings_stored().await;
        assert_eq!(searches(&shop).iter().filter(|(since, _)| *since).count(), 0);
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        shop.execute("update sellers set state = 'disconnected'").await;
        let skipped = shop.sync_listings().await.expect("nothing is wrong");
        assert_eq!((skipped.skipped, searches(&shop).len()), (Some(NOT_CONNECTED), 0));
    }

    #[tokio::test]
    async fn throttled_it_snoozes_and_keeps_its_place() {
        let shop = with_pages().await;
        let job = SyncListings { seller: shop.seller };
        let run = shop.enqueue(&job).await;
        shop.use_up(Operation::SearchCatalogItems).await;
        let until = snoozed(job.run(&shop.context, &run).await);
        shop.assert_listings_stored().await;
        let walked = searches(&shop).len();
        shop.clock.advance(until - shop.context.clock.now());
        job.run(&shop.context, &run).await.expect("its moment has come");
        shop.assert_ranks_stored().await;
        assert_eq!(searches(&shop).len(), walked, "the job does not walk twice");
        shop.fault(LISTINGS, Fault::Quota, 1);
        snoozed(shop.sync_listings().await);
    }

    #[tokio::test]
    async fn a_token_that_died_costs_the_pages_since_the_walks_place() {
        let shop = with_pages().await;
        shop.fault_after(2, LISTINGS, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync_listings(), async {
            until(|| shop.hangs(LISTINGS, 0)).await;
            // Older than the sandbox's page tokens get, which is a day.
            shop.clock.advance(TimeDelta::hours(25));
            shop.sandbox.control().clear_faults();
        });
        outcome.expect("it goes on from its place");
        shop.assert_listings_stored().await;
        let statuses: Vec<_> = shop.calls_of(LISTINGS).iter().map(|call| call.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == Some(400)).count(), 1, "{statuses:?}");
        let after_it = searches(&shop).into_iter().skip_while(|(since, _)| !since).collect::<Vec<_>>();
        assert_eq!(after_it[..2], [(true, false), (true, true)]);
    }

    #[tokio::test]
    async fn what_amazon_breaks_is_tried_again() {
        let shop = with_pages().await;
        for fault in [Fault::Internal, Fault::Unavailable, Fault::Garbage, Fault::Cut] {
            for (operation, name) in [(LISTINGS, "searchListingsItems"), (RANKS, "searchCatalogItems")] {
                shop.fault_after(1, operation, fault, 1);
                let error = retried(shop.sync_listings().await);
                assert!(error.contains(name), "{fault:?}: {error}");
                assert!(!error.contains("AMZ-") && !error.contains("Atz"), "{fault:?}: {error}");
            }
            shop.execute("update listings set ranks_asked_at = null").await;
        }
        shop.sync_listings().await.expect("Amazon is well again");
        shop.assert_listings_stored().await;
        shop.assert_ranks_stored().await;
    }

    #[tokio::test]
    async fn a_missing_role_is_waited_for() {
        let shop = with_pages().await;
        for operation in [LISTINGS, RANKS] {
            shop.fault(operation, Fault::Denied, 2);
            let until = snoozed(shop.sync_listings().await);
            shop.clock.advance(until - shop.context.clock.now());
        }
        assert_eq!(shop.state().await, "active");
    }

    #[tokio::test]
    async fn a_seller_that_is_deleted_in_mid_run_leaves_nothing_behind() {
        let shop = with_pages().await;
        shop.fault_after(1, LISTINGS, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync_listings(), async {
            until(|| shop.hangs(LISTINGS, 0)).await;
            shop.execute("delete from sellers").await;
            shop.sandbox.control().clear_faults();
        });
        retried(outcome);
        assert_eq!(shop.one("select count(*)::text from listings").await, "0");
    }

    #[tokio::test]
    async fn of_two_runs_at_once_one_walks_and_the_other_comes_back() {
        let shop = with_pages().await;
        shop.fault(LISTINGS, Fault::Hang, 2);
        let (one, other, ()) = tokio::join!(shop.sync_listings(), shop.sync_listings(), async {
            until(|| shop.calls_of(LISTINGS).len() == 2).await;
            shop.sandbox.control().clear_faults();
        });
        let (first, second) = if one.is_ok() { (one, other) } else { (other, one) };
        first.expect("one of them goes on");
        assert!(retried(second).contains("another run moved the walk"));
        shop.assert_listings_stored().await;
    }

    #[test]
    fn a_walk_ends_with_the_last_page_and_not_with_the_thousandth_listing() {
        let moment = |text: &str| text.parse::<DateTime<Utc>>().ok();
        let [one, two] = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"];
        let start = Paging::at(None);
        assert_eq!(start.after(&page_of(0, &[], None), "m"), None);
        assert_eq!(start.after(&page_of(2, &[one, two], None), "m"), None);
        let next = start.after(&page_of(3, &[one, two], Some("next")), "m").expect("there is more");
        assert_eq!((next.page_token.as_deref(), next.place, next.seen), (Some("next"), moment(two), 2));
        let nearly = Paging { seen: PAGED_THROUGH - 1, ..next.clone() };
        // Amazon gives no more than that, whether or not it says how many there are.
        for (found, token) in [(PAGED_THROUGH, None), (5_000, None), (5_000, Some("more"))] {
            let after = nearly.after(&page_of(found, &[two], token), "m");
            assert_eq!(after, Some(Paging::at(moment(two))), "{found} {token:?}");
        }
        // A thousand of one moment: the walk passes over the rest of them instead of going round for ever.
        let stuck = Paging { seen: PAGED_THROUGH - 1, ..Paging::at(moment(two)) };
        let after = stuck.after(&page_of(5_000, &[two], None), "m").expect("there may be more");
        assert_eq!(after.since, moment("2026-01-02T00:00:00.001Z"));
        // Listings that went meanwhile, and pages without dates, do not make it go round either.
        let fewer = Paging { seen: 1, ..Paging::at(moment(two)) };
        assert_eq!(fewer.after(&page_of(9, &[two], None), "m"), None);
        assert_eq!(start.after(&page_of(9, &["string"], None), "m"), None);
    }

    #[test]
    fn products_are_asked_about_twenty_at_once_and_by_marketplace() {
        let due = |marketplace: &str, number: usize| Due {
            marketplace_id: marketplace.to_owned(),
            asin: format!("B{number:09}"),
        };
        let products: Vec<_> =
            (0..45).map(|number| due(if number % 3 == 0 { "a" } else { "b" }, number)).collect();
        let searches = rank_searches(&products);
        let shape: Vec<_> =
            searches.iter().map(|search| (search.marketplace_id.as_str(), search.asins.len())).collect();
        assert_eq!(shape, [("a", 15), ("b", 20), ("b", 10)]);
        assert_eq!(rank_searches(&[]), []);
    }

    #[test]
    fn a_day_begins_at_the_marketplaces_midnight() {
        let began = |id: &str, now: &str| day_began_at(id, now.parse().expect("a moment")).to_rfc3339();
        assert_eq!(began("A1F83G8C2ARO7P", "2026-07-01T23:30:00Z"), "2026-07-01T23:00:00+00:00");
        assert_eq!(began("A1F83G8C2ARO7P", "2026-07-01T22:30:00Z"), "2026-06-30T23:00:00+00:00");
        assert_eq!(began("A1PA6795UKMFR9", "2026-01-01T12:00:00Z"), "2025-12-31T23:00:00+00:00");
        // Egypt's clock leaps over midnight when summer begins.
        assert_eq!(began("ARBP9OOSHTCHU", "2026-04-24T12:00:00Z"), "2026-04-23T22:00:00+00:00");
    }
}
