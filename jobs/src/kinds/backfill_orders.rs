//! Copies the orders of the two years before a seller connected, the newest first, beside the sync of what changes now.
//!
//! When: hourly for each connected seller whose history is not yet whole, and on request. It runs for days: a page, then it
//! snoozes until the budget has one to spare.
//! Safe to repeat: rows are upserted by order id, older never over newer; the cursor moves in the page's transaction.
//! Limits: `searchOrders`, of which it leaves some calls to `sync_orders`, so that what changes now is never late for it.
//! Does not promise: orders older than Amazon keeps them.
//! In dead letters: deploy/runbooks/backfill_orders.md.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue::{Failure, Group, Job, Outcome, Policy, Priority, Run, Schedule, limit::Budget, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{Connected, NOT_CONNECTED},
    context::Context,
    order_pages::{OrderPages, Stored},
    order_windows,
    sp_api::{Operation, budgets::budget},
    store::{
        cursors::{self, Cursor},
        sellers::{self, Seller, SellerId},
    },
};

/// The seller whose history is copied.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillOrders {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What the last run stored, and how far the history reaches.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Backfilled {
    /// Pages fetched.
    pub pages: u32,
    /// Orders on them.
    pub orders_seen: usize,
    /// Orders that were new or changed.
    pub orders_stored: u64,
    /// Everything that changed from here on is stored.
    pub stored_from: Option<DateTime<Utc>>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// Calls of the seller's budget that are left to `sync_orders`: a page every 15 minutes, and some for a busy day.
pub const KEEP: u64 = 6;

impl Job for BackfillOrders {
    const KIND: &'static str = "backfill_orders";
    const SUMMARY: &'static str =
        "Copies the orders of the two years before a seller connected, without holding up what changes now.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(10))
        .max_attempts(60)
        .delays(Duration::from_secs(10), Duration::from_secs(1_800))
        .priority(Priority::Low)
        .unique();
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("0 * * * *").spread(minutes(60)));

    type Context = Context;
    type Report = Backfilled;

    fn budgets(&self) -> Vec<Budget> {
        vec![budget(self.seller, Operation::SearchOrders)]
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Backfilled> {
        let mut report = Backfilled::default();
        let Some(connected) = Connected::open(context, self.seller, run).await? else {
            return Ok(Backfilled { skipped: Some(NOT_CONNECTED), ..report });
        };
        let mut pages = OrderPages::new(&connected, run, cursors::ORDER_HISTORY, KEEP);
        loop {
            if run.signals.asked_to_stop() {
                return Err(Failure::cancel("asked to stop between two pages"));
            }
            let now = context.clock.now();
            let cursor = pages.cursor(order_windows::fresh(now)).await?;
            tell(run, &cursor, &connected.seller);
            let marketplaces = &connected.seller.marketplace_ids;
            let Some(page) = order_windows::next_page_back(&cursor, marketplaces, now) else {
                report.stored_from = Some(cursor.reached);
                return Ok(report);
            };
            let Some(Stored { seen, stored, .. }) = pages.step(&cursor, &page).await? else { continue };
            report.pages += 1;
            report.orders_seen += seen;
            report.orders_stored += stored;
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        let sellers = sellers::without_whole_history(connection, order_windows::HISTORY).await?;
        Ok(sellers.into_iter().map(|seller| Self { seller }).collect())
    }
}

/// Tells how many days of the history are stored.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and two years of days"
)]
fn tell(run: &Run, cursor: &Cursor, seller: &Seller) {
    let all = order_windows::HISTORY.num_days().unsigned_abs();
    let part = order_windows::history_stored(cursor.reached, seller.connected_at);
    let done = (part * order_windows::HISTORY.num_days() as f64) as u64;
    run.signals.tell_with(
        done,
        Some(all),
        &format!("days of history, back to {}", cursor.reached.date_naive()),
    );
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use sandbox::{Fault, Operation as Asked};

    use super::*;
    use crate::testing::{Plan, Shop, snoozed, until};

    const SEARCH: Asked = Asked::SearchOrders;

    /// A shop that connected just now: all of its orders are history.
    async fn newcomer(orders: usize) -> Shop {
        let shop = Shop::with_orders(orders).await;
        shop.execute("delete from sync_cursors").await;
        shop
    }

    async fn backfill(shop: &Shop) -> Outcome<Backfilled> {
        shop.run(&BackfillOrders { seller: shop.seller }).await
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = newcomer(220).await;
        assert_eq!(shop.sync().await.expect("nothing is wrong").orders_seen, 0, "all of it is history");
        let report = backfill(&shop).await.expect("nothing is wrong");
        shop.assert_all_stored().await;
        assert_eq!((report.orders_seen, report.orders_stored), (220, 220));
        let stored_from = report.stored_from.expect("it says from when on");
        assert!(stored_from <= shop.context.clock.now() - order_windows::HISTORY + TimeDelta::minutes(1));
    }

    #[tokio::test]
    async fn twice_is_once_and_a_whole_history_is_left_alone() {
        let shop = newcomer(60).await;
        backfill(&shop).await.expect("nothing is wrong");
        let stored = shop.stored().await;
        let calls = shop.calls_of(SEARCH).len();
        let again = backfill(&shop).await.expect("nothing is wrong");
        assert_eq!((again.pages, shop.calls_of(SEARCH).len()), (0, calls));
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let tick = BackfillOrders::tick(&mut connection).await.expect("sellers can be read");
        assert_eq!(tick.len(), 0, "it is whole");
        shop.execute("update sync_cursors set synced_until = now() where data_set = 'order_history'").await;
        assert_eq!(BackfillOrders::tick(&mut connection).await.expect("sellers can be read").len(), 1);
        let anew = backfill(&shop).await.expect("nothing is wrong");
        assert_eq!((anew.orders_seen, anew.orders_stored), (60, 0));
        assert_eq!(shop.stored().await, stored);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = newcomer(220).await;
        shop.fault_after(2, SEARCH, Fault::Hang, 1);
        shop.drop_in_call(&BackfillOrders { seller: shop.seller }, SEARCH).await;
        let before = shop.stored().await.len();
        assert!((1..220).contains(&before), "{before} orders are stored");
        shop.sandbox.control().clear_faults();
        let report = backfill(&shop).await.expect("it goes on");
        assert_eq!(report.orders_seen, 220 - before, "what is stored is not fetched again");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = newcomer(0).await;
        let report = backfill(&shop).await.expect("nothing is wrong");
        assert_eq!(report.orders_seen, 0);
        shop.execute("update sellers set state = 'disconnected'").await;
        assert_eq!(backfill(&shop).await.expect("nothing to do").skipped, Some(NOT_CONNECTED));
    }

    /// Amazon refuses a page whose filters are not those of the first one.
    #[tokio::test]
    async fn a_history_that_begins_anew_has_the_same_filters_on_all_its_pages() {
        let shop = Shop::with_orders(600).await;
        let [first, ..] = &shop.account.marketplace_ids[..] else { panic!("it sells somewhere") };
        shop.connect_with(&shop.account.refresh_token, std::slice::from_ref(first)).await;
        backfill(&shop).await.expect("nothing is wrong");
        shop.reconnect(&shop.account.refresh_token).await;
        backfill(&shop).await.expect("nothing is wrong");
        shop.assert_all_stored().await;
        let refused = shop.calls_of(SEARCH).into_iter().filter(|call| call.status == Some(400)).count();
        assert_eq!(refused, 0);
        let goes_on = shop.calls_of(SEARCH).iter().any(|call| call.query.contains("paginationToken"));
        assert!(goes_on, "a window has several pages");
    }

    #[tokio::test]
    async fn some_calls_are_left_to_what_changes_now() {
        // As slow as Amazon, so that nothing is refilled within the test.
        let shop = Shop::open(Plan { orders: 60, speed: 1.0, ..Plan::default() }).await;
        shop.execute("delete from sync_cursors").await;
        let until = snoozed(backfill(&shop).await);
        // One of the burst is kept back, some are left to the sync.
        let taken = shop.calls_of(SEARCH).len();
        assert_eq!(taken, 19 - usize::try_from(KEEP).expect("it is small"));
        let wait = until - shop.context.clock.now();
        assert!(
            wait > TimeDelta::seconds(150) && wait < TimeDelta::seconds(180),
            "until it has one to spare: {wait}"
        );
        for _ in 0..KEEP {
            shop.sync().await.expect("there is a call for it");
        }
        snoozed(shop.sync().await);
    }

    #[tokio::test]
    async fn somebody_who_wants_it_to_stop_is_heard_between_two_pages() {
        let shop = newcomer(220).await;
        shop.fault_after(1, SEARCH, Fault::Hang, 1);
        let run = shop.enqueue(&BackfillOrders { seller: shop.seller }).await;
        let job = BackfillOrders { seller: shop.seller };
        let (outcome, ()) = tokio::join!(job.run(&shop.context, &run), async {
            until(|| shop.hangs(SEARCH, 0)).await;
            run.signals.ask_to_stop();
            shop.sandbox.control().clear_faults();
        });
        assert!(matches!(outcome, Err(Failure::Cancel { .. })), "{outcome:?}");
    }
}
