//! Deletes everything that we had from Amazon about a seller who was disconnected.
//!
//! When: three weeks after its authorisation ended, and by the thirtieth day at the latest.
//! Safe to repeat: what is gone is gone; a seller that connected again meanwhile is left alone.
//! Limits: none, as it calls nobody; it deletes a thousand rows in a transaction.
//! Does not promise: backups, which hold it until their own time is over. What stays are the seller's own row, with its ids and
//! when all else was deleted, the audit log, and the jobs that disconnected and deleted it.
//! In dead letters: deploy/runbooks/delete_seller_data.md.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use queue::{Failure, Group, Job, Outcome, Policy, Run, outbox::NewJob, policy::minutes, prune};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    authorisations,
    context::Context,
    kinds::disconnect_seller::DisconnectSeller,
    store::{
        seller_data::{self, BATCH},
        sellers::SellerId,
    },
};

/// Whose data are deleted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSellerData {
    /// Our id of the seller.
    pub seller: SellerId,
    /// When the authorisation ended that this is about.
    pub ended_at: DateTime<Utc>,
}

/// What a run deleted.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Rows, by table; those that went with others are not counted.
    pub rows: BTreeMap<String, u64>,
    /// Jobs of the seller that had ended: their payloads may name its orders.
    pub jobs: usize,
    /// Why nothing more was done, where that is so.
    pub skipped: Option<&'static str>,
}

impl DeleteSellerData {
    /// The job with its moment and its deadline.
    #[must_use]
    pub(crate) fn in_time(&self, job: NewJob) -> NewJob {
        job.due_at(authorisations::deletion_at(self.ended_at))
            .deadline_at(authorisations::deletion_deadline(self.ended_at))
    }
}

impl Job for DeleteSellerData {
    const KIND: &'static str = "delete_seller_data";
    const SUMMARY: &'static str = "Deletes what we had from Amazon about a seller who was disconnected, within 30 days of its authorisation's end.";
    const POLICY: Policy = Policy::heavy()
        .timeout(minutes(30))
        // A database that is ill for days must not leave it undone.
        .max_attempts(60)
        .delays(Duration::from_secs(10), Duration::from_secs(3_600))
        .unique();
    const GROUP: Group = Group::Field("seller");

    type Context = Context;
    type Report = Deleted;

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Deleted> {
        let due_at = authorisations::deletion_at(self.ended_at);
        if context.clock.now() < due_at {
            return Err(Failure::snooze(due_at, "the day of the deletion"));
        }
        let mut deleted = Deleted::default();
        let tables = seller_data::tables(&mut *context.pool.acquire().await?).await?;
        for table in &tables {
            loop {
                if run.signals.asked_to_stop() {
                    return Err(Failure::cancel("asked to stop; what was deleted stays deleted"));
                }
                let Some(rows) = self.delete_some(context, table).await? else {
                    deleted.skipped = Some("the seller connected again, or its data are deleted already");
                    return Ok(deleted);
                };
                *deleted.rows.entry(table.clone()).or_default() += rows;
                run.signals.tell(deleted.rows.values().sum(), None);
                if i64::try_from(rows).is_ok_and(|rows| rows < BATCH) {
                    break;
                }
            }
        }
        deleted.rows.retain(|_, rows| *rows > 0);
        deleted.jobs = self.delete_jobs(context).await?;
        self.finish(context, &tables).await?;
        Ok(deleted)
    }
}

impl DeleteSellerData {
    /// A piece of a table; `None` when the seller's data are no longer to be deleted.
    async fn delete_some(&self, context: &Context, table: &str) -> Outcome<Option<u64>> {
        let mut transaction = context.pool.begin().await?;
        if !seller_data::to_be_deleted(&mut transaction, self.seller, self.ended_at).await? {
            return Ok(None);
        }
        let rows = seller_data::delete_some(&mut transaction, table, self.seller).await?;
        transaction.commit().await?;
        Ok(Some(rows))
    }

    /// Dead letters, too: nobody may run them again.
    async fn delete_jobs(&self, context: &Context) -> Outcome<usize> {
        let stay = [DisconnectSeller::KIND, Self::KIND];
        let mut deleted = 0;
        loop {
            let mut transaction = context.pool.begin().await?;
            if !seller_data::to_be_deleted(&mut transaction, self.seller, self.ended_at).await? {
                return Ok(deleted);
            }
            let jobs = prune::prune_group(&mut transaction, &self.seller.to_string(), &stay).await?;
            transaction.commit().await?;
            deleted += jobs;
            if jobs < prune::MAX_PRUNED {
                return Ok(deleted);
            }
        }
    }

    /// Notes the end, once nothing is left: a run that was under way may have written to a table that was empty by then.
    async fn finish(&self, context: &Context, tables: &[String]) -> Outcome<()> {
        let mut transaction = context.pool.begin().await?;
        if !seller_data::to_be_deleted(&mut transaction, self.seller, self.ended_at).await? {
            return Ok(());
        }
        for table in tables {
            if seller_data::delete_some(&mut transaction, table, self.seller).await? > 0 {
                return Err(Failure::retry(
                    "a run that was still under way wrote about the seller meanwhile",
                ));
            }
        }
        seller_data::note_deleted(&mut transaction, self.seller, context.clock.now()).await?;
        transaction.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        kinds::backfill_orders::BackfillOrders,
        testing::{Shop, retried, snoozed},
    };

    /// A shop with all sorts of data that was disconnected, and the job that deletes them, on its day.
    async fn disconnected() -> (Shop, DeleteSellerData) {
        let shop = Shop::synced().await;
        shop.send().await.all_done();
        disconnect(&shop).await;
        let job = deletion(&shop).await;
        shop.clock.advance(TimeDelta::days(21));
        (shop, job)
    }

    async fn disconnect(shop: &Shop) {
        let job = DisconnectSeller { seller: shop.seller, connected_at: None };
        shop.run(&job).await.expect("nothing is wrong");
    }

    async fn deletion(shop: &Shop) -> DeleteSellerData {
        let payload: serde_json::Value = sqlx::query_scalar(
            "select payload from jobs where kind = 'delete_seller_data' and cause = 'job' order by id desc limit 1",
        )
        .fetch_one(&shop.context.pool)
        .await
        .expect("it is arranged for");
        serde_json::from_value(payload).expect("it is a payload")
    }

    /// The tables that hold something of a seller.
    async fn tables_of(shop: &Shop, seller: SellerId) -> Vec<String> {
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let tables = seller_data::tables(&mut connection).await.expect("the catalog can be read");
        let mut with_rows = Vec::new();
        for table in tables {
            let statement = format!("select count(*) from {table} where seller_id = $1");
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
                .bind(seller)
                .fetch_one(&mut *connection)
                .await
                .expect("it can be counted");
            with_rows.extend((count > 0).then_some(table));
        }
        with_rows
    }

    /// The deletion of `zone`, the last table, is refused.
    const FAILS_MIDWAY: &str =
        "create table zone (seller_id uuid primary key); insert into zone select id from sellers;
         create function no() returns trigger language plpgsql as $$ begin raise 'not now'; end $$;
         create trigger no before delete on zone execute function no()";

    const DELETED_AT: &str =
        "select coalesce(data_deleted_at::text, 'never') from sellers order by id limit 1";

    #[tokio::test]
    async fn does_its_work() {
        let (shop, job) = disconnected().await;
        let other = shop.connect_other("A2OTHER").await;
        shop.execute(
            "insert into orders (seller_id, order_id, marketplace_id, created_at, last_updated_at, fulfillment_status, fetched_at)
             select (select id from sellers where selling_partner_id = 'A2OTHER'), order_id, marketplace_id, created_at,
                 last_updated_at, fulfillment_status, fetched_at from orders",
        )
        .await;
        // A table that comes tomorrow.
        shop.execute(
            "create table of_tomorrow (seller_id uuid, number integer); create index on of_tomorrow (seller_id);
             insert into of_tomorrow select id, number from sellers, generate_series(1, 2500) as number",
        )
        .await;
        // One of its jobs is a dead letter that names an order.
        shop.execute(
            "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, finished_at)
             select gen_random_uuid(), 'send_review_request', 'sync', seller_id::text, jsonb_build_object('order', order_id),
                 'dead', 'cli', now(), now(), now(), now()
             from orders where seller_id in (select id from sellers order by id limit 1) limit 1",
        )
        .await;
        let orders = shop.stored().await;
        let before = tables_of(&shop, shop.seller).await;
        for table in ["orders", "order_items", "review_requests", "sync_cursors", "of_tomorrow"] {
            assert!(before.iter().any(|name| name.ends_with(table)), "{table} is among {before:?}");
        }
        let deleted = shop.run(&job).await.expect("nothing is wrong");
        assert_eq!(tables_of(&shop, shop.seller).await, [""; 0]);
        assert_eq!(
            tables_of(&shop, other).await,
            ["public.of_tomorrow", "public.orders"],
            "another seller's stay"
        );
        assert_eq!(deleted.rows["public.of_tomorrow"], 2_500);
        assert_ne!(shop.one(DELETED_AT).await, "never");
        shop.execute("delete from orders").await;
        let left = shop.everything_stored().await;
        assert!(orders.iter().all(|order| !left.contains(&order.0)), "an order's id is left somewhere");
    }

    #[tokio::test]
    async fn twice_is_once() {
        let (shop, job) = disconnected().await;
        shop.run(&job).await.expect("nothing is wrong");
        let deleted_at = shop.one(DELETED_AT).await;
        shop.clock.advance(TimeDelta::days(1));
        assert!(shop.run(&job).await.expect("nothing is wrong").skipped.is_some());
        assert_eq!(shop.one(DELETED_AT).await, deleted_at);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let (shop, job) = disconnected().await;
        shop.execute(FAILS_MIDWAY).await;
        retried(shop.run(&job).await);
        assert_eq!(tables_of(&shop, shop.seller).await, ["public.zone"]);
        assert_eq!(shop.one(DELETED_AT).await, "never");
        shop.execute("drop trigger no on zone").await;
        shop.run(&job).await.expect("nothing is in its way");
        assert_eq!(tables_of(&shop, shop.seller).await, [""; 0]);
        assert_ne!(shop.one(DELETED_AT).await, "never");
    }

    #[tokio::test]
    async fn it_waits_for_the_day() {
        let shop = Shop::synced().await;
        disconnect(&shop).await;
        let job = deletion(&shop).await;
        assert_eq!(snoozed(shop.run(&job).await), job.ended_at + TimeDelta::days(21));
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_seller_that_came_back_is_not_deleted_not_even_when_it_leaves_again() {
        let (shop, job) = disconnected().await;
        shop.reconnect(&shop.account.refresh_token).await;
        assert!(shop.run(&job).await.expect("nothing is wrong").skipped.is_some());
        shop.assert_all_stored().await;
        shop.sync().await.expect("it is back");
        disconnect(&shop).await;
        assert!(
            shop.run(&job).await.expect("nothing is wrong").skipped.is_some(),
            "its day is another one now"
        );
        shop.assert_all_stored().await;
        let later = deletion(&shop).await;
        assert_eq!(snoozed(shop.run(&later).await), later.ended_at + TimeDelta::days(21));
    }

    #[tokio::test]
    async fn a_seller_that_comes_back_in_the_middle_of_it_is_synced_from_its_start() {
        let (shop, job) = disconnected().await;
        shop.execute(FAILS_MIDWAY).await;
        retried(shop.run(&job).await);
        shop.reconnect(&shop.account.refresh_token).await;
        shop.sync().await.expect("it is back");
        let history = BackfillOrders { seller: shop.seller };
        while let Err(Failure::Snooze { until, .. }) = shop.run(&history).await {
            shop.clock.advance(until - shop.context.clock.now());
        }
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::synced().await;
        let ended_at = shop.context.clock.now() - TimeDelta::days(25);
        let job = DeleteSellerData { seller: shop.seller, ended_at };
        assert!(shop.run(&job).await.expect("nothing is wrong").skipped.is_some(), "it is connected");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn what_hangs_on_a_sellers_row_goes_with_it() {
        let shop = Shop::with_orders(0).await;
        let others: Vec<String> = sqlx::query_scalar(
            "select conname::text from pg_constraint join pg_attribute on pg_attribute.attrelid = confrelid
             where contype = 'f' and attname = 'seller_id' and confdeltype <> 'c'",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("the catalog can be read");
        assert_eq!(others, [""; 0], "let it delete on cascade: a deletion would be refused");
    }

    #[tokio::test]
    async fn every_table_finds_a_sellers_rows_by_an_index() {
        let shop = Shop::with_orders(0).await;
        let without: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_attribute join pg_class on pg_class.oid = attrelid
             where attname = 'seller_id' and relkind = 'r' and not exists (
                 select from pg_index where indrelid = attrelid and indkey[0] = attnum and indpred is null)",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("the catalog can be read");
        assert_eq!(without, [""; 0], "a deletion would read such a table once for every thousand rows");
    }
}
