//! Disconnects a seller: wipes its authorisation, cancels what is still to be done for it, and arranges for its data to be
//! deleted.
//!
//! When: on request, and two weeks after Amazon refused its authorisation.
//! Safe to repeat: all of it is one transaction, and a seller that is disconnected already stays so.
//! Limits: none, as it calls nobody.
//! Does not promise: that a run which has begun stops at once; it is asked to, and dropped seconds later.
//! In dead letters: deploy/runbooks/disconnect_seller.md.

use chrono::{DateTime, Utc};
use queue::{
    Failure, Group, Job, Outcome, Policy, Priority, Run, cancel,
    outbox::{self, NewJob},
    policy::minutes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    context::Context,
    kinds::delete_seller_data::DeleteSellerData,
    store::sellers::{self, Disconnected, SellerId},
};

/// The seller that is disconnected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectSeller {
    /// Our id of the seller.
    pub seller: SellerId,
    /// Which of its authorisations is meant, by when it connected: one that it gives later is left alone. Without it,
    /// whichever it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<DateTime<Utc>>,
}

/// What a run did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Jobs that waited and are cancelled, or run and were asked to stop.
    pub jobs_cancelled: usize,
    /// When its data are deleted, unless it connects again before.
    pub data_deleted_at: Option<DateTime<Utc>>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

impl Job for DisconnectSeller {
    const KIND: &'static str = "disconnect_seller";
    const SUMMARY: &'static str =
        "Disconnects a seller: wipes its authorisation, cancels its jobs, has its data deleted in time.";
    const POLICY: Policy = Policy::sync().timeout(minutes(5)).priority(Priority::High).unique();
    const GROUP: Group = Group::Field("seller");

    type Context = Context;
    type Report = Left;

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Left> {
        let now = context.clock.now();
        let mut transaction = context.pool.begin().await?;
        let ended_at =
            match sellers::disconnect(&mut transaction, self.seller, self.connected_at, now).await? {
                Disconnected::Since(ended_at) => ended_at,
                Disconnected::ConnectedAgain => return Ok(skipped("the seller has connected again")),
                Disconnected::Unknown => return Ok(skipped("there is no such seller")),
            };
        let jobs_cancelled = cancel_jobs(&mut transaction, &self.seller.to_string(), now).await?;
        let deletion = DeleteSellerData { seller: self.seller, ended_at };
        let job = deletion.in_time(NewJob::caused_by(&deletion, run));
        let data_deleted_at = job.due_at;
        outbox::enqueue(&mut transaction, &[job], now).await.map_err(Failure::retry)?;
        transaction.commit().await?;
        Ok(Left { jobs_cancelled, data_deleted_at, skipped: None })
    }
}

fn skipped(why: &'static str) -> Left {
    Left { skipped: Some(why), ..Left::default() }
}

/// Cancels all but what ends the seller's time with us: this job, and the deletion.
async fn cancel_jobs(connection: &mut PgConnection, group: &str, now: DateTime<Utc>) -> Outcome<usize> {
    let stay = [DisconnectSeller::KIND, DeleteSellerData::KIND];
    let mut cancelled = 0;
    loop {
        let ids = cancel::cancel_group(connection, group, &stay, now).await?;
        if ids.is_empty() {
            return Ok(cancelled);
        }
        cancelled += ids.len();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use queue::JobId;
    use uuid::Uuid;

    use super::*;
    use crate::{authorisations, kinds::sync_orders::SyncOrders, testing::Shop};

    /// State of each job, and whether it was asked to stop.
    async fn jobs(shop: &Shop) -> BTreeMap<JobId, (String, bool)> {
        let rows: Vec<(Uuid, String, bool)> =
            sqlx::query_as("select id, state, cancel_requested_at is not null from jobs")
                .fetch_all(&shop.context.pool)
                .await
                .expect("jobs can be read");
        rows.into_iter().map(|(id, state, asked)| (JobId(id), (state, asked))).collect()
    }

    /// Kind, moment and deadline of the deletions that were arranged for.
    async fn deletions(shop: &Shop) -> Vec<(serde_json::Value, DateTime<Utc>, DateTime<Utc>, String)> {
        sqlx::query_as(
            "select payload, due_at, deadline_at, state from jobs where kind = 'delete_seller_data' order by id",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("jobs can be read")
    }

    fn job(shop: &Shop) -> DisconnectSeller {
        DisconnectSeller { seller: shop.seller, connected_at: None }
    }

    const AUTHORISATION: &str = "select octet_length(refresh_token)::text || ' bytes under key ' || refresh_token_key from sellers order by id limit 1";

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::synced().await;
        let other = shop.connect_other("A2OTHER").await;
        let (waits, runs) = (SyncOrders { seller: shop.seller }, SyncOrders { seller: shop.seller });
        let [waits, runs] = [shop.enqueue(&waits).await.id, shop.enqueue(&runs).await.id];
        let others = shop.enqueue(&SyncOrders { seller: other }).await.id;
        sqlx::query(
            "update jobs set state = 'running', worker = gen_random_uuid(), started_at = now() where id = $1",
        )
        .bind(runs.0)
        .execute(&shop.context.pool)
        .await
        .expect("it can be marked");
        let run = shop.enqueue(&job(&shop)).await;
        let left = job(&shop).run(&shop.context, &run).await.expect("nothing is wrong");

        assert_eq!(shop.one("select state from sellers order by id limit 1").await, "disconnected");
        assert_eq!(shop.one(AUTHORISATION).await, "0 bytes under key ");
        let jobs = jobs(&shop).await;
        assert_eq!(jobs[&waits], ("cancelled".to_owned(), true));
        assert_eq!(jobs[&runs], ("running".to_owned(), true), "it is asked to stop");
        assert_eq!(jobs[&others], ("ready".to_owned(), false), "another seller's");
        assert_eq!(jobs[&run.id], ("ready".to_owned(), false), "not itself");
        let [(payload, due_at, deadline_at, state)] = &deletions(&shop).await[..] else {
            panic!("one deletion")
        };
        let ended_at: DateTime<Utc> =
            sqlx::query_scalar("select authorisation_ended_at from sellers where id = $1")
                .bind(shop.seller)
                .fetch_one(&shop.context.pool)
                .await
                .expect("it says when");
        assert_eq!(*payload, serde_json::json!({"seller": shop.seller, "ended_at": ended_at}));
        assert_eq!((*due_at, *deadline_at), (ended_at + TimeDelta::days(21), ended_at + TimeDelta::days(30)));
        assert_eq!((state.as_str(), left.data_deleted_at), ("delayed", Some(ended_at + TimeDelta::days(21))));
        assert!(left.jobs_cancelled >= 2, "{left:?}");
        assert!(shop.sync().await.expect("it rests").skipped.is_some());
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::with_orders(0).await;
        let first = shop.run(&job(&shop)).await.expect("nothing is wrong");
        let arranged = deletions(&shop).await;
        shop.clock.advance(TimeDelta::days(2));
        let second = shop.run(&job(&shop)).await.expect("nothing is wrong");
        assert_eq!(
            second.data_deleted_at, first.data_deleted_at,
            "counted from the end, not from the second time"
        );
        assert_eq!(deletions(&shop).await, arranged);
    }

    #[tokio::test]
    async fn the_time_counts_from_when_amazon_refused() {
        let shop = Shop::with_orders(0).await;
        shop.sandbox.control().revoke(&shop.account.selling_partner_id).expect("the seller is known");
        crate::testing::rejected(shop.sync().await);
        let refused_at = shop.context.clock.now();
        shop.clock.advance(TimeDelta::days(14));
        let left = shop.run(&job(&shop)).await.expect("nothing is wrong");
        let deleted_at = left.data_deleted_at.expect("it says when");
        assert!(
            (deleted_at - authorisations::deletion_at(refused_at)).abs() < TimeDelta::minutes(1),
            "{deleted_at}"
        );
    }

    #[tokio::test]
    async fn an_authorisation_that_came_later_is_left_alone() {
        let shop = Shop::with_orders(0).await;
        let connected_at: DateTime<Utc> = sqlx::query_scalar("select connected_at from sellers")
            .fetch_one(&shop.context.pool)
            .await
            .expect("it says when");
        shop.reconnect(&shop.account.refresh_token).await;
        let job = DisconnectSeller { seller: shop.seller, connected_at: Some(connected_at) };
        assert_eq!(
            shop.run(&job).await.expect("nothing is wrong").skipped,
            Some("the seller has connected again")
        );
        assert_eq!(shop.state().await, "active");
        shop.sync().await.expect("its authorisation is whole");
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        let job = DisconnectSeller { seller: SellerId::new(), connected_at: None };
        assert_eq!(shop.run(&job).await.expect("nothing is wrong").skipped, Some("there is no such seller"));
        assert_eq!(shop.state().await, "active");
    }

    /// A run that dies before its end has done nothing: all of it is one transaction.
    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::with_orders(0).await;
        shop.execute(
            "create function no() returns trigger language plpgsql as $$ begin raise 'not now'; end $$;
             create trigger no before insert on jobs for each row when (new.kind = 'delete_seller_data') execute function no()",
        )
        .await;
        crate::testing::retried(shop.run(&job(&shop)).await);
        assert_eq!(shop.state().await, "active");
        shop.execute("drop trigger no on jobs").await;
        shop.run(&job(&shop)).await.expect("nothing is in its way");
        assert_eq!((shop.state().await.as_str(), deletions(&shop).await.len()), ("disconnected", 1));
    }
}
