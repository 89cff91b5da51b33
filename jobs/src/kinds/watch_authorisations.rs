//! Looks at how long sellers' authorisations still hold, and at those that have ended.
//!
//! When: daily.
//! Safe to repeat: each reminder is written once, ever; jobs that are there already are not enqueued again.
//! Limits: none, as it calls nobody.
//! Does not promise: that anybody is told. Reminders are rows of `authorisation_reminders`, which the platform reads.
//! In dead letters: deploy/runbooks/watch_authorisations.md.

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Failure, Group, Job, Outcome, Policy, Run, Schedule,
    outbox::{self, NewJob},
    policy::minutes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    authorisations::{self, LIFE, REMINDER_STEPS_DAYS, WAIT_FOR_A_NEW_ONE},
    context::Context,
    kinds::{delete_seller_data::DeleteSellerData, disconnect_seller::DisconnectSeller},
    store::authorisations::{self as table, Reminder},
};

/// Looks at all sellers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchAuthorisations {}

/// What a run found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// Reminders that are new.
    pub reminders: u64,
    /// Sellers that did not connect again in time and are to be disconnected.
    pub to_disconnect: usize,
    /// Disconnected sellers whose data are yet to be deleted.
    pub to_delete: usize,
}

impl Job for WatchAuthorisations {
    const KIND: &'static str = "watch_authorisations";
    const SUMMARY: &'static str =
        "Reminds sellers whose authorisation ends soon, and disconnects those that did not renew it in time.";
    const POLICY: Policy = Policy::upkeep().timeout(minutes(5)).max_attempts(20).unique();
    const GROUP: Group = Group::Fixed("authorisations");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("40 6 * * *"));

    type Context = Context;
    type Report = Watched;

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Watched> {
        let now = context.clock.now();
        let mut transaction = context.pool.begin().await?;
        table::note_ends(&mut transaction, now).await?;
        let reminders = remind(&mut transaction, now).await?;
        let given_up = table::given_up(&mut transaction, now - WAIT_FOR_A_NEW_ONE).await?;
        let leaving = given_up.iter().map(|ended| {
            let connected_at = Some(ended.connected_at);
            NewJob::caused_by(&DisconnectSeller { seller: ended.seller, connected_at }, run)
        });
        // Its disconnection arranged for that; a deletion that somebody cancelled or that failed must still happen.
        let left = table::not_yet_deleted(&mut transaction).await?;
        let deletions = left.iter().map(|ended| {
            let deletion = DeleteSellerData { seller: ended.seller, ended_at: ended.ended_at };
            deletion.in_time(NewJob::caused_by(&deletion, run))
        });
        let jobs: Vec<_> = leaving.chain(deletions).collect();
        outbox::enqueue(&mut transaction, &jobs, now).await.map_err(Failure::retry)?;
        transaction.commit().await?;
        Ok(Watched { reminders, to_disconnect: given_up.len(), to_delete: left.len() })
    }

    async fn tick(_: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(vec![Self {}])
    }
}

async fn remind(connection: &mut PgConnection, now: DateTime<Utc>) -> Outcome<u64> {
    let farthest = TimeDelta::days(i64::from(REMINDER_STEPS_DAYS[0]));
    let given = table::given_before(connection, now + farthest - LIFE).await?;
    let reminders: Vec<_> = given
        .into_iter()
        .filter_map(|(seller, connected_at)| {
            let ends_at = authorisations::ends_at(connected_at);
            let days_before = authorisations::reminder_step(ends_at, now)?;
            Some(Reminder { seller, ends_at, days_before })
        })
        .collect();
    Ok(table::remind(connection, &reminders, now).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shop, rejected, retried};

    async fn watch(shop: &Shop) -> Watched {
        shop.run(&WatchAuthorisations {}).await.expect("nothing is wrong")
    }

    /// Steps at which the seller was reminded, in the order in which that was noticed.
    async fn steps(shop: &Shop) -> Vec<i32> {
        sqlx::query_scalar(
            "select days_before from authorisation_reminders where seller_id = $1 order by created_at",
        )
        .bind(shop.seller)
        .fetch_all(&shop.context.pool)
        .await
        .expect("reminders can be read")
    }

    /// Payloads of unfinished jobs of a kind.
    async fn waiting(shop: &Shop, kind: &str) -> Vec<serde_json::Value> {
        sqlx::query_scalar("select payload from jobs where kind = $1 and finished_at is null order by id")
            .bind(kind)
            .fetch_all(&shop.context.pool)
            .await
            .expect("jobs can be read")
    }

    async fn revoke(shop: &Shop) {
        shop.sandbox.control().revoke(&shop.account.selling_partner_id).expect("the seller is known");
        rejected(shop.sync().await);
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::with_orders(0).await;
        shop.clock.advance(LIFE - TimeDelta::days(62));
        for _ in 0..65 {
            watch(&shop).await;
            shop.clock.advance(TimeDelta::days(1));
        }
        assert_eq!(steps(&shop).await, REMINDER_STEPS_DAYS);
        assert_eq!(shop.state().await, "active", "only Amazon ends an authorisation");
        // A new authorisation has reminders of its own.
        shop.reconnect(&shop.account.refresh_token).await;
        assert_eq!(watch(&shop).await.reminders, 0);
        shop.clock.advance(LIFE - TimeDelta::days(5));
        assert_eq!(watch(&shop).await.reminders, 1);
        assert_eq!(steps(&shop).await.last(), Some(&7), "those that were missed help nobody");
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::with_orders(0).await;
        shop.clock.advance(LIFE - TimeDelta::days(30));
        assert_eq!((watch(&shop).await.reminders, watch(&shop).await.reminders), (1, 0));
        revoke(&shop).await;
        shop.clock.advance(WAIT_FOR_A_NEW_ONE);
        assert_eq!((watch(&shop).await.to_disconnect, watch(&shop).await.to_disconnect), (1, 1));
        assert_eq!(waiting(&shop, "disconnect_seller").await.len(), 1);
        assert_eq!(steps(&shop).await, [30]);
    }

    #[tokio::test]
    async fn a_seller_that_does_not_connect_again_in_time_is_disconnected() {
        let shop = Shop::with_orders(0).await;
        revoke(&shop).await;
        shop.clock.advance(WAIT_FOR_A_NEW_ONE - TimeDelta::hours(1));
        assert_eq!(watch(&shop).await.to_disconnect, 0);
        shop.clock.advance(TimeDelta::hours(1));
        assert_eq!(watch(&shop).await.to_disconnect, 1);
        let [payload] = &waiting(&shop, "disconnect_seller").await[..] else { panic!("one job") };
        let job: DisconnectSeller = serde_json::from_value(payload.clone()).expect("it is its payload");
        assert_eq!(job.seller, shop.seller);

        // It connects again before the job runs.
        shop.reconnect(&shop.account.refresh_token).await;
        assert!(shop.run(&job).await.expect("nothing is wrong").skipped.is_some());
        assert_eq!(shop.state().await, "active");
    }

    #[tokio::test]
    async fn a_deletion_that_was_cancelled_or_failed_is_arranged_for_again() {
        let shop = Shop::with_orders(0).await;
        shop.run(&DisconnectSeller { seller: shop.seller, connected_at: None })
            .await
            .expect("nothing is wrong");
        let arranged = waiting(&shop, "delete_seller_data").await;
        watch(&shop).await;
        assert_eq!(waiting(&shop, "delete_seller_data").await, arranged, "it is there already");
        shop.execute(
            "update jobs set state = 'cancelled', finished_at = touched_at where kind = 'delete_seller_data'",
        )
        .await;
        watch(&shop).await;
        assert_eq!(waiting(&shop, "delete_seller_data").await, arranged);
        shop.execute("update sellers set data_deleted_at = connected_at").await;
        assert_eq!(watch(&shop).await.to_delete, 0);
    }

    #[tokio::test]
    async fn an_end_that_an_older_release_noted_without_its_moment_counts_from_now() {
        let shop = Shop::with_orders(0).await;
        shop.execute("update sellers set state = 'needs_reauthorisation'").await;
        watch(&shop).await;
        shop.clock.advance(WAIT_FOR_A_NEW_ONE);
        assert_eq!(watch(&shop).await.to_disconnect, 1);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::with_orders(0).await;
        shop.clock.advance(LIFE - TimeDelta::days(30));
        shop.execute("alter table authorisation_reminders rename to elsewhere").await;
        retried(shop.run(&WatchAuthorisations {}).await);
        shop.execute("alter table elsewhere rename to authorisation_reminders").await;
        watch(&shop).await;
        assert_eq!(steps(&shop).await, [30]);
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        assert_eq!(watch(&shop).await, Watched::default());
    }
}
