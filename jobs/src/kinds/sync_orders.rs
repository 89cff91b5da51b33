//! Copies a seller's changed orders from Amazon into `orders`.
//!
//! When: every 15 minutes for each connected seller, and on request.
//! Safe to repeat: rows are upserted by order id, older never over newer; the cursor moves in the page's transaction.
//! Limits: `searchOrders`, one budget a seller; an empty one snoozes.
//! Does not promise: orders changed in the last two minutes, which Amazon does not tell yet; the next run has them.
//! In dead letters: deploy/runbooks/sync_orders.md.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, Job, Outcome, Policy, Run, Schedule, outbox, policy::minutes};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    context::Context,
    kinds::send_review_requests::SendReviewRequests,
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        auth::AuthError,
        orders::{OrdersPage, SearchOrders},
    },
    store::{
        cursors::{self, Cursor, Window},
        orders, sellers,
        sellers::{Seller, SellerId},
    },
};

/// The seller whose orders are copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncOrders {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run stored.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// Pages fetched.
    pub pages: u32,
    /// Orders on them.
    pub orders_seen: usize,
    /// Orders that were new or changed.
    pub orders_stored: u64,
    /// Everything that changed before is stored.
    pub synced_until: Option<DateTime<Utc>>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

const DATA_SET: &str = "orders";
/// Amazon keeps orders for two years. Source: Orders API 2026-01-01, read 2026-11-23.
const HISTORY: TimeDelta = TimeDelta::days(2 * 365 - 1);
/// Amazon tells changes only when they are two minutes old; a few seconds more for clocks that differ.
const NOT_YET_TOLD: TimeDelta = TimeDelta::seconds(125);
/// A window starts before the end of the last one, because changes may be told out of order.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);
/// Amazon's page tokens die after a day; one that is nearly that old is not tried.
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(23);

impl Job for SyncOrders {
    const KIND: &'static str = "sync_orders";
    const SUMMARY: &'static str =
        "Copies a seller's changed orders from Amazon, without anything about buyers.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(10))
        .max_attempts(12)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("*/15 * * * *"));

    type Context = Context;
    type Report = Synced;

    fn group(&self) -> String {
        self.seller.to_string()
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Synced> {
        let mut synced = Synced::default();
        let Some(seller) = load_seller(context, self.seller).await? else {
            return Ok(Synced { skipped: Some("the seller is not connected"), ..synced });
        };
        loop {
            let cursor = load_cursor(context, &seller).await?;
            let next = next_page(&cursor, &seller.marketplace_ids, context.clock.now());
            let Some(page) = fetch(context, &seller, run, &next.search, &cursor).await? else { continue };
            let last = page.next_token().is_none();
            synced.orders_stored += save(context, &seller, run, &cursor, &next, &page).await?;
            synced.pages += 1;
            synced.orders_seen += page.orders.len();
            if last {
                synced.synced_until = Some(next.search.last_updated_before);
                return Ok(synced);
            }
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

/// The seller, unless it is gone or its authorisation no longer holds.
pub(super) async fn load_seller(context: &Context, id: SellerId) -> Outcome<Option<Seller>> {
    let mut connection = context.pool.acquire().await?;
    let seller = sellers::get(&mut connection, id).await.map_err(Failure::retry)?;
    match seller {
        Some(seller) if seller.active => Ok(Some(seller)),
        _ => {
            tracing::info!(seller.id = %id, "nothing to do: the seller is not connected");
            Ok(None)
        }
    }
}

/// A failure for an error of Amazon's; a refused authorisation is noted at the seller, so that its other jobs rest too.
pub(super) async fn amazon_failed(context: &Context, seller: &Seller, error: CallError) -> Failure {
    if matches!(error, CallError::Auth(AuthError::GrantRefused)) {
        let noted = async {
            let mut connection = context.pool.acquire().await?;
            sellers::needs_reauthorisation(&mut connection, seller.id, "Amazon refused the authorisation")
                .await
        };
        if let Err(database) = noted.await {
            return database.into();
        }
        tracing::warn!(seller.id = %seller.id, "the seller must connect again: Amazon refused the authorisation");
    }
    error.into_failure(context.clock.now())
}

async fn load_cursor(context: &Context, seller: &Seller) -> Outcome<Cursor> {
    let mut connection = context.pool.acquire().await?;
    let cursor = cursors::load(&mut connection, seller.id, DATA_SET).await?;
    Ok(cursor.unwrap_or_else(|| Cursor::starting_at(context.clock.now() - HISTORY)))
}

/// A page to fetch, and the place that everything before it is stored from.
struct PageSearch {
    since: DateTime<Utc>,
    search: SearchOrders,
}

/// Which page comes next: one more of the window, or the first of a new one. Amazon wants the first page's filters with
/// every token, so both ends of a window stay where they are until its last page.
fn next_page(cursor: &Cursor, marketplaces: &[String], now: DateTime<Utc>) -> PageSearch {
    let (since, until, page) = match &cursor.window {
        Some(window) => (cursor.synced_until, window.until, window.page.as_ref()),
        None => (cursor.synced_until.max(now - HISTORY), now - NOT_YET_TOLD, None),
    };
    let alive = page.filter(|(_, given_at)| now - *given_at < TOKEN_LIFE);
    let search = SearchOrders {
        last_updated_after: (since - OVERLAP).min(until),
        last_updated_before: until,
        marketplace_ids: marketplaces.to_vec(),
        page_token: alive.map(|(token, _)| token.clone()),
    };
    PageSearch { since, search }
}

/// The page; `None` when Amazon no longer takes the page token and the window starts over.
async fn fetch(
    context: &Context,
    seller: &Seller,
    run: &Run,
    search: &SearchOrders,
    cursor: &Cursor,
) -> Outcome<Option<OrdersPage>> {
    let refresh_token = seller.refresh_token(&context.keyring).map_err(Failure::reject)?;
    let called = async {
        let permit = context.sp_api.permit(seller, Operation::SearchOrders, &run.id.to_string()).await?;
        let answer = context.sp_api.call(permit, seller, &refresh_token, &search.request()).await?;
        OrdersPage::parse(&answer.body)
    };
    match called.await {
        Ok(page) => Ok(Some(page)),
        Err(error) if search.page_token.is_some() && error.refusal() == Some(Refusal::InvalidInput) => {
            tracing::info!(seller.id = %seller.id, "the page token is no longer taken; the window starts over");
            forget_page(context, seller, cursor).await?;
            Ok(None)
        }
        Err(error) => Err(amazon_failed(context, seller, error).await),
    }
}

async fn forget_page(context: &Context, seller: &Seller, cursor: &Cursor) -> Outcome<()> {
    let mut connection = context.pool.acquire().await?;
    let restart = cursor.moved_to(cursor.synced_until, None);
    let now = context.clock.now();
    cursors::advance(&mut connection, seller.id, DATA_SET, cursor, &restart, now).await?;
    Ok(())
}

/// Stores the page and moves the cursor in one transaction; after the last page, review requests are next.
async fn save(
    context: &Context,
    seller: &Seller,
    run: &Run,
    cursor: &Cursor,
    PageSearch { since, search }: &PageSearch,
    page: &OrdersPage,
) -> Outcome<u64> {
    let now = context.clock.now();
    let next = match page.next_token() {
        Some(token) => {
            let page = Some((token.to_owned(), now));
            cursor.moved_to(*since, Some(Window { until: search.last_updated_before, page }))
        }
        None => cursor.moved_to(search.last_updated_before, None),
    };
    let fallback = seller.marketplace_ids.first().map_or("", String::as_str);
    let mut transaction = context.pool.begin().await?;
    let stored = orders::save(&mut transaction, seller.id, &page.orders, fallback, now).await?;
    if !cursors::advance(&mut transaction, seller.id, DATA_SET, cursor, &next, now).await? {
        return Err(Failure::retry("another run moved the cursor meanwhile; this page was not stored"));
    }
    if next.window.is_none() {
        let follow_up =
            outbox::NewJob::of(&SendReviewRequests { seller: seller.id }, outbox::Cause::Job(run.id));
        outbox::enqueue(&mut transaction, &[follow_up], now).await.map_err(Failure::retry)?;
    }
    transaction.commit().await?;
    Ok(stored)
}
