//! What is synced first for a seller who connects, or connects again: at once, because the schedules of thousands of sellers
//! are spread over hours.
//!
//! Safe to repeat: each kind is unique by seller, so that a job which is there already is only brought forward.
//! Does not promise that all of it is done soon: each job waits for the seller's budgets, as always.

use chrono::{DateTime, TimeDelta, Utc};
use queue::outbox::{self, Cause, EnqueueError, NewJob};
use sqlx::PgConnection;

use crate::{
    kinds::{
        backfill_orders::BackfillOrders, subscribe_notifications::SubscribeNotifications,
        sync_inventory::SyncInventory, sync_listings::SyncListings, sync_orders::SyncOrders,
        sync_participations::SyncParticipations, sync_performance::SyncPerformance,
    },
    store::sellers::SellerId,
};

/// How long after a seller connects its performance is copied, which asks about the products of stored orders: the backfill's
/// first calls, one after the other from a full budget, fetch the latest thousand or more of them within seconds. Review
/// requests need nothing of the kind, because each sync of orders lets them be planned.
pub const AFTER_FIRST_ORDERS: TimeDelta = TimeDelta::minutes(10);

/// Enqueues the first syncs of a seller, in the transaction in which it connects.
///
/// # Errors
/// When the database fails.
pub async fn first_syncs(
    connection: &mut PgConnection,
    seller: SellerId,
    cause: Cause,
    now: DateTime<Utc>,
) -> Result<(), EnqueueError> {
    outbox::enqueue(connection, &first_jobs(seller, cause, now), now).await.map(drop)
}

/// What [`first_syncs`] enqueues.
#[must_use]
pub fn first_jobs(seller: SellerId, cause: Cause, now: DateTime<Utc>) -> [NewJob; 7] {
    [
        NewJob::of(&SyncParticipations { seller }, cause),
        // Where no queue is configured it finds nothing to do: workers know that, whoever connects a seller may not.
        NewJob::of(&SubscribeNotifications { seller }, cause),
        NewJob::of(&SyncOrders { seller }, cause),
        NewJob::of(&BackfillOrders { seller }, cause),
        NewJob::of(&SyncInventory { seller }, cause),
        NewJob::of(&SyncListings { seller }, cause),
        NewJob::of(&SyncPerformance { seller }, cause).due_at(now + AFTER_FIRST_ORDERS),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::SubsecRound;

    use super::*;
    use crate::testing::Shop;

    /// By kind: in which state its one job is, and when it is due.
    async fn jobs(shop: &Shop) -> BTreeMap<String, (String, DateTime<Utc>)> {
        let rows: Vec<(String, String, DateTime<Utc>)> =
            sqlx::query_as("select kind, state, due_at from jobs")
                .fetch_all(&shop.context.pool)
                .await
                .expect("jobs can be read");
        let (count, jobs) = (rows.len(), rows.into_iter().map(|(kind, state, due)| (kind, (state, due))));
        let jobs: BTreeMap<_, _> = jobs.collect();
        assert_eq!(jobs.len(), count, "one job of each kind");
        jobs
    }

    #[tokio::test]
    async fn twice_is_once_and_performance_comes_after_orders() {
        let shop = Shop::with_orders(0).await;
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let now = shop.context.clock.now().trunc_subsecs(6);
        first_syncs(&mut connection, shop.seller, Cause::Cli, now).await.expect("nothing is wrong");
        let first = jobs(&shop).await;
        let kinds: Vec<_> = first.keys().map(String::as_str).collect();
        assert_eq!(
            kinds,
            [
                "backfill_orders",
                "subscribe_notifications",
                "sync_inventory",
                "sync_listings",
                "sync_orders",
                "sync_participations",
                "sync_performance"
            ]
        );
        for (kind, (_, due_at)) in &first {
            let due = if kind == "sync_performance" { now + AFTER_FIRST_ORDERS } else { now };
            assert_eq!(*due_at, due, "{kind}");
        }
        let again = now + TimeDelta::minutes(1);
        first_syncs(&mut connection, shop.seller, Cause::Cli, again).await.expect("nothing is wrong");
        assert_eq!(jobs(&shop).await, first, "all of them are there already");
    }
}
