//! Copies a seller's changed orders from Amazon into `orders`.
//!
//! When: every 15 minutes for each connected seller, when Amazon notifies us of a change, and on request.
//! Safe to repeat: rows are upserted by order id, older never over newer; the cursor moves in the page's transaction.
//! Limits: `searchOrders`, one budget a seller, shared with `backfill_orders`; an empty one snoozes.
//! Does not promise: orders changed in the last two minutes, which Amazon does not tell yet (the next run has them), nor
//! those of the time before the seller connected (`backfill_orders` has them).
//! In dead letters: deploy/runbooks/sync_orders.md.

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Group, Job, Outcome, Policy, Run, Schedule, Unique, limit::Budget, outbox::NewJob, policy::minutes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{AMAZONS, Connected, NOT_CONNECTED},
    context::Context,
    order_pages::{OrderPages, Stored},
    order_windows,
    sp_api::{Operation, budgets::budget},
    store::{
        cursors,
        sellers::{self, SellerId},
    },
};

/// The seller whose orders are copied.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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

/// The sync after a notice waits so long: a search finds a change when it is two minutes old, and Amazon allows one search in
/// about three minutes in the long run, so that the notices of three minutes share one.
pub(crate) const SYNCED_AFTER: TimeDelta = TimeDelta::minutes(3);

impl SyncOrders {
    /// This job as it follows from a notice of a change that came at `now`. It waits beside the one of the schedule, which
    /// keeps its place: were that one brought forward instead, the next would be late. One that waits is enough for all
    /// notices until it begins.
    #[must_use]
    pub fn after_a_notice(job: NewJob, now: DateTime<Utc>) -> NewJob {
        let unique_key = job.unique_key.as_ref().map(|key| format!("{key} after a notice"));
        NewJob { unique_key, unique: Unique::WhileWaiting, ..job }.due_at(now + SYNCED_AFTER)
    }
}

/// A window that ends so shortly before now needs no further one in the same run: the next run has the rest.
const LATE_ENOUGH: TimeDelta = TimeDelta::minutes(10);

impl Job for SyncOrders {
    const KIND: &'static str = "sync_orders";
    const SUMMARY: &'static str =
        "Copies a seller's changed orders from Amazon, without anything about buyers.";
    const POLICY: Policy = AMAZONS
        .timeout(minutes(10))
        // Two at once would fetch the same pages.
        .max_running_per_group(1);
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("*/15 * * * *").spread(minutes(15)));

    type Context = Context;
    type Report = Synced;

    fn budgets(&self) -> Vec<Budget> {
        vec![budget(self.seller, Operation::SearchOrders)]
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Synced> {
        let mut synced = Synced::default();
        let Some(connected) = Connected::open(context, self.seller, run).await? else {
            return Ok(Synced { skipped: Some(NOT_CONNECTED), ..synced });
        };
        let mut pages = OrderPages::new(&connected, run, cursors::ORDERS, 0);
        let until = context.clock.now() - order_windows::NOT_YET_TOLD;
        loop {
            let cursor = pages.cursor(order_windows::fresh(connected.seller.connected_at)).await?;
            let marketplaces = &connected.seller.marketplace_ids;
            let page = order_windows::next_page(&cursor, marketplaces, context.clock.now());
            let Some(Stored { seen, stored, cursor }) = pages.step(&cursor, &page).await? else { continue };
            synced.pages += 1;
            synced.orders_seen += seen;
            synced.orders_stored += stored;
            if cursor.window.is_none() && cursor.reached >= until - LATE_ENOUGH {
                synced.synced_until = Some(cursor.reached);
                return Ok(synced);
            }
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sandbox::{Fault, Operation as Asked, OrderChanges, SettingsChange};

    use std::time::Duration;

    use super::*;
    use crate::{
        kinds::backfill_orders::BackfillOrders,
        testing::{Plan, Shop, rejected, retried, snoozed, until},
    };

    const SEARCH: Asked = Asked::SearchOrders;
    /// Orders on two full pages and a third.
    const THREE_PAGES: usize = 220;

    /// The payloads of the jobs that a sync caused.
    const NEXT_JOBS: &str =
        "select coalesce(string_agg(payload::text, ' '), '') from jobs where kind = 'plan_review_requests'";

    /// Status of each search that was answered, and whether it went on from a page before.
    fn searches(shop: &Shop) -> Vec<(Option<u16>, bool)> {
        let calls = shop.calls_of(SEARCH).into_iter();
        calls.map(|call| (call.status, call.query.contains("paginationToken"))).collect()
    }

    /// The ids of what is stored.
    async fn ids(shop: &Shop) -> BTreeSet<String> {
        shop.stored().await.into_iter().map(|order| order.0).collect()
    }

    /// The oldest changes, as many as a page holds.
    fn first_page(shop: &Shop) -> BTreeSet<String> {
        let mut orders: Vec<_> = shop.at_amazon().into_values().collect();
        orders.sort_by_key(|order| (order.last_updated_time, order.id.clone()));
        orders.into_iter().take(100).map(|order| order.id).collect()
    }

    fn change(shop: &Shop, touch: usize, count: usize) {
        change_late(shop, touch, count, 0);
    }

    fn change_late(shop: &Shop, touch: usize, count: usize, seconds_ago: u32) {
        let seller = shop.account.selling_partner_id.clone();
        let changes = OrderChanges { seller, touch, count, seconds_ago, seed: 2 };
        shop.sandbox.control().change_orders(&changes).expect("the seller is known");
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        let before = shop.context.clock.now();
        let synced = shop.sync().await.expect("nothing is wrong");
        shop.assert_all_stored().await;
        assert_eq!((synced.pages, synced.orders_seen, synced.orders_stored), (3, 220, 220));
        assert!(synced.synced_until.expect("it says until when") >= before - order_windows::NOT_YET_TOLD);
        let next = shop.one(NEXT_JOBS).await;
        assert_eq!(next, format!("{{\"seller\": \"{}\"}}", shop.seller), "its review requests are next");
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::with_orders(120).await;
        shop.sync().await.expect("nothing is wrong");
        let stored = shop.stored().await;
        // As if nothing had ever been synced.
        shop.execute("update sync_cursors set synced_until = now() - interval '800 days'").await;
        let again = shop.sync().await.expect("nothing is wrong");
        assert_eq!((again.orders_seen, again.orders_stored), (120, 0));
        assert_eq!(shop.stored().await, stored);
        assert_eq!(shop.one(NEXT_JOBS).await.matches("seller").count(), 1, "one unfinished job is enough");
    }

    #[tokio::test]
    async fn only_what_changed_is_fetched_again() {
        let shop = Shop::with_orders(120).await;
        shop.sync().await.expect("nothing is wrong");
        shop.clock.advance(TimeDelta::hours(1));
        change(&shop, 7, 5);
        // Too young to be told: not yet there, and not passed over.
        let early = shop.sync().await.expect("nothing is wrong");
        assert_eq!(early.orders_seen, 0);
        shop.clock.advance(TimeDelta::minutes(3));
        let late = shop.sync().await.expect("nothing is wrong");
        assert_eq!((late.orders_seen, late.orders_stored), (12, 12));
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_change_that_is_told_minutes_late_is_not_missed() {
        let shop = Shop::with_orders(20).await;
        shop.sync().await.expect("nothing is wrong");
        // Before the end of the window that is done, by more than the two minutes that Amazon always takes.
        change_late(&shop, 2, 1, 400);
        shop.sync().await.expect("nothing is wrong");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault_after(1, SEARCH, Fault::Hang, 1);
        shop.drop_in_call(&SyncOrders { seller: shop.seller }, SEARCH).await;
        assert_eq!(ids(&shop).await, first_page(&shop));
        shop.sandbox.control().clear_faults();

        let synced = shop.sync().await.expect("it goes on");
        shop.assert_all_stored().await;
        assert_eq!(synced.pages, 2, "the first page is not fetched again");
        let goes_on: Vec<_> = searches(&shop).into_iter().map(|(_, goes_on)| goes_on).collect();
        assert_eq!(goes_on, [false, true, true, true]);
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        let synced = shop.sync().await.expect("nothing is wrong");
        assert_eq!((synced.pages, synced.orders_seen, synced.skipped), (1, 0, None));
        shop.execute("update sellers set state = 'disconnected'").await;
        let skipped = shop.sync().await.expect("nothing is wrong");
        assert_eq!(skipped.skipped, Some("the seller is not connected"));
        assert_eq!(searches(&shop).len(), 1, "no call for a seller who is not connected");
    }

    #[tokio::test]
    async fn throttled_it_snoozes_and_others_of_the_seller_wait_too() {
        let shop = Shop::with_orders(20).await;
        shop.fault(SEARCH, Fault::Quota, 1);
        let now = shop.context.clock.now();
        let until = snoozed(shop.sync().await);
        // One call in 178.6 s is what Amazon's plan gives.
        assert!(until - now > TimeDelta::seconds(178) && until - now < TimeDelta::seconds(200), "{until}");
        snoozed(shop.sync().await);
        assert_eq!(searches(&shop), [(Some(429), false)], "the budget is empty for all");
        shop.clock.advance(until - now + TimeDelta::seconds(179));
        shop.sync().await.expect("the budget has filled again");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn an_empty_budget_snoozes_to_the_slot_that_is_set_aside() {
        let shop = Shop::with_orders(20).await;
        shop.use_up(Operation::SearchOrders).await;
        let job = SyncOrders { seller: shop.seller };
        let run = shop.enqueue(&job).await;
        let until = snoozed(job.run(&shop.context, &run).await);
        assert_eq!(snoozed(job.run(&shop.context, &run).await), until, "asking again does not lose the slot");
        assert_eq!(searches(&shop), []);
        shop.clock.advance(until - shop.context.clock.now());
        job.run(&shop.context, &run).await.expect("its moment has come");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn what_amazon_breaks_is_tried_again() {
        let plan = Plan { orders: 120, timeout: Duration::from_secs(1), ..Plan::default() };
        let shop = Shop::open(plan).await;
        for fault in [Fault::Internal, Fault::Unavailable, Fault::Garbage, Fault::Cut, Fault::Hang] {
            shop.fault(SEARCH, fault, 1);
            let error = retried(shop.sync().await);
            assert!(error.contains("searchOrders"), "{fault:?}: {error}");
            assert!(!error.contains("026-") && !error.contains("Atz"), "{fault:?}: {error}");
            assert_eq!(shop.stored().await, [], "{fault:?}");
        }
        shop.sync().await.expect("Amazon is well again");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_broken_sign_in_is_tried_again_and_never_taken_for_a_revocation() {
        let shop = Shop::with_orders(20).await;
        // As often as one call asks for a token.
        shop.fault(Asked::Token, Fault::Internal, 3);
        let error = retried(shop.sync().await);
        assert!(error.contains("Login with Amazon"), "{error}");
        assert_eq!(shop.state().await, "active");
        shop.sync().await.expect("the sign-in is well again");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_page_token_that_is_no_longer_taken_starts_the_window_over() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault_after(2, SEARCH, Fault::Cut, 1);
        retried(shop.sync().await);
        change(&shop, 3, 2);
        // More than a day for Amazon, minutes for us: the token is dead there, and looks alive here.
        shop.clock.advance(TimeDelta::minutes(5));
        shop.sync().await.expect("it starts over");
        shop.assert_all_stored().await;
        let (answered, goes_on): (Vec<_>, Vec<_>) = searches(&shop).into_iter().unzip();
        // The access token is too old as well, and renewed first.
        let [ok, expired, dead] = [200, 403, 400].map(Some);
        // The window begins again in two halves, and all orders lie in the later one.
        assert_eq!(answered, [ok, ok, None, expired, dead, ok, ok, ok, ok]);
        assert_eq!(goes_on, [false, true, true, true, true, false, false, true, true]);
    }

    #[tokio::test]
    async fn page_tokens_that_are_never_taken_are_a_failure_and_no_endless_loop() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        let until_it_is_old = async |before: usize| {
            until(|| shop.hangs(SEARCH, before)).await;
            shop.clock.advance(TimeDelta::minutes(5));
            shop.sandbox.control().clear_faults();
        };
        shop.fault_after(1, SEARCH, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync(), async {
            until_it_is_old(0).await;
            // The second page again, when it starts over: after the one with the new access token, the earlier half of the
            // window, and the first page of the later one.
            shop.fault_after(3, SEARCH, Fault::Hang, 1);
            until_it_is_old(2).await;
        });
        assert!(retried(outcome).contains("does not take the page tokens"));
        shop.sync().await.expect("Amazon is well again");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_page_token_of_yesterday_is_not_even_tried() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault_after(1, SEARCH, Fault::Cut, 1);
        retried(shop.sync().await);
        shop.clock.advance(TimeDelta::hours(23));
        change(&shop, 120, 2);
        shop.clock.advance(TimeDelta::minutes(5));
        shop.sync().await.expect("it starts over");
        assert!(searches(&shop).iter().all(|(status, _)| *status != Some(400)), "{:?}", searches(&shop));
        // The window was the old one: what moved out of it since is told to the next run.
        shop.sync().await.expect("nothing is wrong");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_revoked_grant_stops_all_jobs_of_the_seller_until_it_connects_again() {
        let shop = Shop::with_orders(20).await;
        let partner = &shop.account.selling_partner_id;
        shop.sync().await.expect("nothing is wrong");
        // Its access token is still in the cache, and void.
        shop.sandbox.control().revoke(partner).expect("the seller is known");
        let error = rejected(shop.sync().await);
        assert!(error.contains("the seller must connect again"), "{error}");
        assert_eq!(shop.state().await, "needs_reauthorisation");
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        assert!(shop.sync().await.expect("it rests").skipped.is_some());
        assert!(shop.plan().await.expect("it rests").skipped.is_some());
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, calls, "nobody calls for it");

        let token = shop.sandbox.control().restore(partner).expect("the seller is known");
        shop.reconnect(&token).await;
        assert_eq!(shop.sync().await.expect("it is back").skipped, None);
    }

    #[tokio::test]
    async fn a_seller_who_has_connected_again_is_not_blamed_for_the_old_authorisation() {
        let shop = Shop::with_orders(20).await;
        let partner = &shop.account.selling_partner_id;
        shop.sandbox.control().revoke(partner).expect("the seller is known");
        shop.fault(Asked::Token, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync(), async {
            until(|| shop.hangs(Asked::Token, 0)).await;
            let token = shop.sandbox.control().restore(partner).expect("the seller is known");
            shop.reconnect(&token).await;
            shop.sandbox.control().clear_faults();
        });
        rejected(outcome);
        assert_eq!(shop.state().await, "active");
        shop.sync().await.expect("the new authorisation is good");
    }

    #[tokio::test]
    async fn a_missing_role_is_waited_for_and_not_taken_for_a_revocation() {
        let shop = Shop::with_orders(20).await;
        shop.fault(SEARCH, Fault::Denied, 2);
        let until = snoozed(shop.sync().await);
        assert!(
            until > shop.context.clock.now() + TimeDelta::minutes(29),
            "a person must act first: {until}"
        );
        assert_eq!(shop.state().await, "active");
        let calls = searches(&shop).len();
        snoozed(shop.sync().await);
        assert_eq!(searches(&shop).len(), calls, "it is not asked for again and again");
        shop.clock.advance(TimeDelta::minutes(31));
        shop.sync().await.expect("the role is back");
    }

    #[tokio::test]
    async fn wrong_credentials_of_ours_snooze_and_no_seller_is_blamed() {
        let shop = Shop::with_orders(20).await;
        let change =
            SettingsChange { client_secret: Some("rotated".to_owned()), ..SettingsChange::default() };
        shop.sandbox.control().change_settings(change).expect("it is a secret");
        let until = snoozed(shop.sync().await);
        assert!(until > shop.context.clock.now());
        assert_eq!(shop.state().await, "active");
    }

    #[tokio::test]
    async fn an_access_token_that_expires_between_two_pages_is_renewed_once() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault_after(1, SEARCH, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync(), async {
            until(|| shop.hangs(SEARCH, 0)).await;
            // Longer than an access token lives here, shorter than a page token.
            shop.clock.advance(TimeDelta::seconds(10));
            shop.sandbox.control().clear_faults();
        });
        outcome.expect("it goes on");
        shop.assert_all_stored().await;
        let (ok, expired) = (Some(200), Some(403));
        assert_eq!(searches(&shop), [(ok, false), (expired, true), (ok, true), (ok, true)]);
        assert_eq!(shop.sandbox.control().summary().tokens_issued, 2);
    }

    #[tokio::test]
    async fn orders_that_change_between_two_pages_are_not_missed() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault_after(1, SEARCH, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync(), async {
            until(|| shop.hangs(SEARCH, 0)).await;
            // Those of the first page, and some that are on none yet.
            change(&shop, 130, 0);
            shop.sandbox.control().clear_faults();
        });
        outcome.expect("it goes on");
        shop.clock.advance(TimeDelta::minutes(3));
        shop.sync().await.expect("nothing is wrong");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn of_two_runs_at_once_one_stores_and_the_other_comes_back() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault(SEARCH, Fault::Hang, 2);
        let both_hang = || shop.calls_of(SEARCH).len() == 2;
        let (one, other, ()) = tokio::join!(shop.sync(), shop.sync(), async {
            until(both_hang).await;
            shop.sandbox.control().clear_faults();
        });
        let (first, second) = if one.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(first.expect("one of them goes on").orders_stored, 220);
        assert!(retried(second).contains("another run moved the cursor"));
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_seller_that_is_deleted_in_mid_run_leaves_nothing_behind() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        shop.fault_after(1, SEARCH, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync(), async {
            until(|| shop.hangs(SEARCH, 0)).await;
            shop.execute("delete from sellers").await;
            shop.sandbox.control().clear_faults();
        });
        retried(outcome);
        assert_eq!(shop.one("select count(*)::text from orders").await, "0");
        assert!(shop.sync().await.expect("nothing is left to do").skipped.is_some());
    }

    #[tokio::test]
    async fn a_marketplace_that_comes_later_is_synced_from_its_start() {
        let shop = Shop::with_orders(60).await;
        let [first, ..] = &shop.account.marketplace_ids[..] else { panic!("it sells somewhere") };
        shop.connect_with(&shop.account.refresh_token, std::slice::from_ref(first)).await;
        shop.sync().await.expect("nothing is wrong");
        assert!(shop.stored().await.iter().all(|order| order.1 == *first));
        shop.reconnect(&shop.account.refresh_token).await;
        shop.run(&BackfillOrders { seller: shop.seller }).await.expect("nothing is wrong");
        shop.assert_all_stored().await;
    }

    #[tokio::test]
    async fn a_marketplace_that_comes_in_mid_run_is_synced_from_its_start() {
        let shop = Shop::with_orders(THREE_PAGES).await;
        let [first, ..] = &shop.account.marketplace_ids[..] else { panic!("it sells somewhere") };
        shop.connect_with(&shop.account.refresh_token, std::slice::from_ref(first)).await;
        shop.fault(SEARCH, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.sync(), async {
            until(|| shop.hangs(SEARCH, 0)).await;
            shop.reconnect(&shop.account.refresh_token).await;
            shop.sandbox.control().clear_faults();
        });
        assert!(retried(outcome).contains("connected again"));
        shop.run(&BackfillOrders { seller: shop.seller }).await.expect("nothing is wrong");
        shop.assert_all_stored().await;
    }
}
