//! What the system says of itself: the ledger and the tables, read for comparing with what the sandbox recorded.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sandbox::OrderRecord;
use serde::Serialize;
use sqlx::PgPool;

/// Jobs by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Jobs {
    /// Not yet ended.
    pub unfinished: i64,
    /// Ended well.
    pub done: i64,
    /// Ended in failure.
    pub dead: i64,
    /// Given up by somebody.
    pub cancelled: i64,
}

impl Jobs {
    fn add(&mut self, state: &str, count: i64) {
        match state {
            "done" => self.done += count,
            "dead" => self.dead += count,
            "cancelled" => self.cancelled += count,
            _ => self.unfinished += count,
        }
    }
}

/// Counts the jobs.
///
/// # Errors
/// When the database fails.
pub async fn jobs(pool: &PgPool) -> anyhow::Result<Jobs> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select state, count(*) from jobs group by state").fetch_all(pool).await?;
    let mut jobs = Jobs::default();
    for (state, count) in rows {
        jobs.add(&state, count);
    }
    Ok(jobs)
}

/// Counts the jobs of each kind.
///
/// # Errors
/// When the database fails.
pub async fn kinds(pool: &PgPool) -> anyhow::Result<BTreeMap<String, Jobs>> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("select kind, state, count(*) from jobs group by kind, state").fetch_all(pool).await?;
    let mut kinds: BTreeMap<String, Jobs> = BTreeMap::new();
    for (kind, state, count) in rows {
        kinds.entry(kind).or_default().add(&state, count);
    }
    Ok(kinds)
}

/// How many orders are stored.
///
/// # Errors
/// When the database fails.
pub async fn orders_stored(pool: &PgPool) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("select count(*) from orders").fetch_one(pool).await?)
}

/// Review requests by outcome.
///
/// # Errors
/// When the database fails.
pub async fn review_requests(pool: &PgPool) -> anyhow::Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select state, count(*) from review_requests group by state").fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

/// The orders that are synced: of sellers that are connected, in the marketplaces where they are.
async fn synced<'a>(
    pool: &PgPool,
    orders: &'a BTreeMap<String, Vec<OrderRecord>>,
) -> anyhow::Result<Vec<(&'a String, &'a OrderRecord)>> {
    let sellers: Vec<(String, Vec<String>)> =
        sqlx::query_as("select selling_partner_id, marketplace_ids from sellers where state = 'active'")
            .fetch_all(pool)
            .await?;
    let mut synced = Vec::new();
    for (seller, marketplaces) in sellers {
        if let Some((seller, orders)) = orders.get_key_value(&seller) {
            let here = orders.iter().filter(|order| marketplaces.contains(&order.marketplace_id));
            synced.extend(here.map(|order| (seller, order)));
        }
    }
    Ok(synced)
}

/// Compares every order of the sandbox that is synced with what is stored, by id, time of change and lines.
///
/// # Errors
/// When one is missing, too many or different; the error names some.
pub async fn orders_agree(
    pool: &PgPool,
    expected: &BTreeMap<String, Vec<OrderRecord>>,
) -> anyhow::Result<()> {
    let rows: Vec<(String, String, DateTime<Utc>)> = sqlx::query_as(
        "select s.selling_partner_id, o.order_id, o.last_updated_at
         from orders o join sellers s on s.id = o.seller_id
         where s.state = 'active' and o.marketplace_id = any(s.marketplace_ids)",
    )
    .fetch_all(pool)
    .await?;
    let items: Vec<(String, String)> = sqlx::query_as(
        "select order_id, order_item_id from order_items join orders o using (seller_id, order_id)
             join sellers s on s.id = seller_id
         where s.state = 'active' and o.marketplace_id = any(s.marketplace_ids)",
    )
    .fetch_all(pool)
    .await?;
    let items: BTreeSet<_> = items.into_iter().collect();
    // Postgres keeps microseconds.
    let moment = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::milliseconds(1)).unwrap_or(at);
    let stored: BTreeSet<_> = rows.into_iter().map(|(seller, id, at)| (seller, id, moment(at))).collect();
    let expected = synced(pool, expected).await?;
    let expected_orders: BTreeSet<_> = expected
        .iter()
        .map(|(seller, order)| ((*seller).clone(), order.id.clone(), moment(order.last_updated_time)))
        .collect();
    let expected_items: BTreeSet<_> = expected
        .iter()
        .flat_map(|(_, order)| order.item_ids.iter().map(|item| (order.id.clone(), item.clone())))
        .collect();
    let missing: Vec<_> = expected_orders.difference(&stored).take(5).collect();
    let extra: Vec<_> = stored.difference(&expected_orders).take(5).collect();
    ensure!(
        missing.is_empty() && extra.is_empty(),
        "orders missing or old: {missing:?}; unexpected: {extra:?}"
    );
    ensure!(items == expected_items, "the lines of the orders differ");
    Ok(())
}

/// Compares the orders for which the sandbox took a review request with those that the system says were sent, and checks
/// that every eligible order has one and none has two; of the sellers that are connected, where they are synced.
///
/// # Errors
/// When they differ; the error names some.
pub async fn review_requests_agree(
    pool: &PgPool,
    expected: &BTreeMap<String, Vec<OrderRecord>>,
) -> anyhow::Result<()> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "select order_id from review_requests join orders using (seller_id, order_id)
                 join sellers s on s.id = seller_id
             where review_requests.state in ('sent', 'sent_probably') and s.state = 'active'
                 and marketplace_id = any(marketplace_ids)",
    )
    .fetch_all(pool)
    .await?;
    let ours: BTreeSet<_> = rows.into_iter().map(|(id,)| id).collect();
    let orders: Vec<_> = synced(pool, expected).await?.into_iter().map(|(_, order)| order).collect();
    let taken: BTreeSet<_> =
        orders.iter().filter(|order| order.solicited_count > 0).map(|order| order.id.clone()).collect();
    let differ: Vec<_> = ours.symmetric_difference(&taken).take(5).collect();
    ensure!(differ.is_empty(), "sent by one side only: {differ:?}");
    let twice: Vec<_> =
        orders.iter().filter(|order| order.solicited_count > 1).map(|order| &order.id).collect();
    ensure!(twice.is_empty(), "requested twice: {twice:?}");
    let forgotten: Vec<_> =
        orders.iter().filter(|order| order.eligible && order.solicited_count == 0).map(|o| &o.id).collect();
    ensure!(forgotten.is_empty(), "eligible but not requested: {forgotten:?}");
    Ok(())
}

/// Checks that the tables' own rules hold: every job ended once, nothing waits in the outbox.
///
/// # Errors
/// When something is left; the error says what.
pub async fn all_ended(pool: &PgPool) -> anyhow::Result<()> {
    let left: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "select kind, state, last_error from jobs where state not in ('done', 'cancelled') limit 5",
    )
    .fetch_all(pool)
    .await?;
    ensure!(left.is_empty(), "jobs that did not end well: {left:?}");
    let outbox: i64 =
        sqlx::query_scalar("select count(*) from outbox").fetch_one(pool).await.context("outbox")?;
    ensure!(outbox == 0, "{outbox} jobs are still in the outbox");
    Ok(())
}
