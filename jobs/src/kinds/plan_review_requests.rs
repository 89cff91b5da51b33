//! Finds a seller's orders that may have a review requested now, and enqueues a request for each.
//!
//! When: after each sync of the seller's orders, every hour, and on request.
//! Safe to repeat: an order that waits for its request already gets no second job.
//! Limits: no more requests are planned than Amazon takes in an hour; the windows that end first come first.
//! Does not promise: that a request is sent; `send_review_request` looks again.
//! In dead letters: deploy/runbooks/plan_review_requests.md.

use std::time::Duration;

use queue::{Failure, Group, Job, Outcome, Policy, Run, Schedule, outbox, outbox::NewJob, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{NOT_CONNECTED, load_seller},
    context::Context,
    kinds::send_review_request::SendReviewRequest,
    store::{
        review_requests,
        sellers::{self, SellerId},
    },
};

/// The seller whose orders are looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanReviewRequests {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run planned.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Requests that were enqueued.
    pub planned: usize,
    /// Orders whose request waited already.
    pub waiting: usize,
    /// Orders that were not offered until their window closed.
    pub closed: u64,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// What Amazon's usage plan takes in an hour: one a second. What is left over is planned by the next run.
pub const MOST_PLANNED: i64 = 3_600;
/// Most jobs written by one statement.
const BATCH: usize = 500;

impl Job for PlanReviewRequests {
    const KIND: &'static str = "plan_review_requests";
    const SUMMARY: &'static str =
        "Finds the orders that may have a review requested now, and enqueues a request for each.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(5))
        .max_attempts(20)
        .delays(Duration::from_secs(5), Duration::from_secs(1_800))
        .unique();
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("0 * * * *").spread(minutes(60)));

    type Context = Context;
    type Report = Planned;

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Planned> {
        let mut report = Planned::default();
        if load_seller(context, self.seller).await?.is_none() {
            return Ok(Planned { skipped: Some(NOT_CONNECTED), ..report });
        }
        let now = context.clock.now();
        let mut transaction = context.pool.begin().await?;
        report.closed = review_requests::close_windows(&mut transaction, self.seller, now).await?;
        let open = review_requests::open(&mut transaction, self.seller, now, MOST_PLANNED).await?;
        let requests: Vec<_> = open
            .into_iter()
            .map(|order| {
                let request = SendReviewRequest { seller: self.seller, order: order.order_id };
                NewJob::caused_by(&request, run).deadline_at(order.window_ends_at)
            })
            .collect();
        for some in requests.chunks(BATCH) {
            let answers = outbox::enqueue(&mut transaction, some, now).await.map_err(Failure::retry)?;
            let new = answers.iter().filter(|answer| matches!(answer, outbox::Enqueued::New(_))).count();
            report.planned += new;
            report.waiting += answers.len() - new;
        }
        transaction.commit().await?;
        Ok(report)
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::testing::Shop;

    /// The orders whose requests wait, by the end of their windows.
    async fn planned(shop: &Shop) -> Vec<(String, DateTime<Utc>)> {
        sqlx::query_as(
            "select payload->>'order', deadline_at from jobs where kind = 'send_review_request' order by deadline_at, 1",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("jobs can be read")
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::synced().await;
        let report = shop.plan().await.expect("nothing is wrong");
        let planned = planned(&shop).await;
        let orders: std::collections::BTreeSet<_> = planned.iter().map(|(order, _)| order.clone()).collect();
        assert!(shop.eligible().is_subset(&orders), "{orders:?}");
        let shipped = |order: &String| shop.at_amazon()[order].status == sandbox::FulfillmentStatus::Shipped;
        assert!(orders.iter().all(shipped), "the others are not even asked about");
        assert_eq!((report.planned, report.waiting), (orders.len(), 0));
        let now = shop.context.clock.now();
        assert!(
            planned.iter().all(|(_, ends)| *ends > now && *ends < now + TimeDelta::days(40)),
            "{planned:?}"
        );
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::synced().await;
        let first = shop.plan().await.expect("nothing is wrong");
        let again = shop.plan().await.expect("nothing is wrong");
        assert_eq!((again.planned, again.waiting), (0, first.planned));
    }

    #[tokio::test]
    async fn what_is_decided_is_not_planned_again() {
        let shop = Shop::synced().await;
        shop.send().await.all_done();
        assert_eq!(shop.plan().await.expect("nothing is wrong"), Planned::default());
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        assert_eq!(shop.plan().await.expect("nothing is wrong"), Planned::default());
        shop.execute("update sellers set state = 'disconnected'").await;
        assert_eq!(shop.plan().await.expect("it rests").skipped, Some(NOT_CONNECTED));
    }

    #[tokio::test]
    async fn a_window_that_closed_while_nobody_looked_is_closed() {
        let shop = Shop::synced().await;
        shop.send().await.all_done();
        let open = shop.ended("not_offered").await;
        assert!(!open.is_empty(), "the sandbox seeds some");
        shop.clock.advance(TimeDelta::days(90));
        assert_eq!(shop.plan().await.expect("nothing is wrong").closed, open.len() as u64);
        assert!(shop.ended("not_offered").await.is_empty());
        assert!(shop.ended("window_closed").await.is_superset(&open));
    }
}
