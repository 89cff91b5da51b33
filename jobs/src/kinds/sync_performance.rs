//! Copies what a seller sold by day, how Amazon judges its account, and the feedback about it.
//!
//! When: daily for each connected seller, and on request; what is less than 20 hours old is left alone.
//! Safe to repeat: figures of a day replace those before, and are noted as told in the same transaction; a report's state is
//! in `amazon_reports`, so that the next run goes on where this one was.
//! Limits: `getOrderMetrics`, `createReport`, `getReport` and `getReportDocument`, a budget a seller each. While Amazon makes
//! a report the job snoozes and holds no slot.
//! Does not promise: feedback of four and five stars, which the report does not have; that a run which is stopped right
//! after `createReport` asks only once.
//! In dead letters: deploy/runbooks/sync_performance.md.

use queue::{Failure, Group, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{AMAZONS, Connected, NOT_CONNECTED},
    context::Context,
    performance::{ORDERED_LATELY, Product, ReportState, Standing, Step, days, next_step},
    report_steps,
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        budgets::budget,
        marketplaces::time_zone,
        order_metrics::{Metrics, MetricsQuestion},
    },
    store::{
        amazon_reports::{self, End},
        order_metrics, sellers,
        sellers::SellerId,
    },
};

/// The seller whose figures are copied.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncPerformance {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a job's last run did; runs before it ended in a snooze.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Performed {
    /// Marketplaces whose days were told.
    pub marketplaces: u32,
    /// Products whose days were told.
    pub products: u32,
    /// Products that Amazon does not tell the days of.
    pub products_refused: u32,
    /// Days whose figures changed.
    pub days_changed: u64,
    /// Reports that were stored.
    pub reports_stored: u32,
    /// Reports that Amazon has no data for.
    pub reports_without_data: u32,
    /// Reports that come to nothing; they are asked for again the next day.
    pub reports_failed: u32,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// After so many products a run makes way for other sellers.
const PRODUCTS_A_RUN: i64 = 50;
/// So many products that Amazon fails at are passed over, because one that it always fails at must not hold up all others.
/// When there are more, it is Amazon that is ill.
const PASSED_OVER_A_RUN: usize = 3;

impl Job for SyncPerformance {
    const KIND: &'static str = "sync_performance";
    const SUMMARY: &'static str =
        "Copies what a seller sold by day and by product, its account health and its feedback from Amazon.";
    const POLICY: Policy = AMAZONS.timeout(minutes(15));
    const GROUP: Group = Group::Field("seller");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("0 4 * * *").spread(minutes(12 * 60)));

    type Context = Context;
    type Report = Performed;

    fn budgets(&self) -> Vec<Budget> {
        [
            Operation::GetOrderMetrics,
            Operation::CreateReport,
            Operation::GetReport,
            Operation::GetReportDocument,
        ]
        .map(|operation| budget(self.seller, operation))
        .into()
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Performed> {
        let mut performed = Performed::default();
        let Some(connected) = Connected::open(context, self.seller, run).await? else {
            return Ok(Performed { skipped: Some(NOT_CONNECTED), ..performed });
        };
        let mut standing = load(&connected).await?;
        let makes_way = |standing: &Standing| standing.products.len() as i64 == PRODUCTS_A_RUN;
        let mut more_wait = makes_way(&standing);
        let mut passed_over = PassedOver::default();
        loop {
            match next_step(&standing, context.clock.now()) {
                Step::Marketplace(id) => {
                    performed.days_changed += sync_marketplace(&connected, &id).await?;
                    performed.marketplaces += 1;
                    standing = load(&connected).await?;
                    // The days of a marketplace tell which products are wanted.
                    more_wait = makes_way(&standing);
                }
                Step::Product(product) => {
                    sync_product(&connected, &product, &mut performed, &mut passed_over).await?;
                    standing.products.retain(|other| *other != product);
                    if standing.products.is_empty() && more_wait && passed_over.error.is_none() {
                        return Err(Failure::snooze(context.clock.now(), "its next turn"));
                    }
                }
                Step::AskForReport(report_type, marketplace) => {
                    report_steps::ask(&connected, report_type, &marketplace).await?;
                    standing.reports = load_reports(&connected).await?;
                }
                Step::Look(report) => {
                    performed.note(report_steps::look(&connected, &report).await?);
                    standing.reports = load_reports(&connected).await?;
                }
                Step::GiveUp(report) => {
                    performed.note(report_steps::give_up(&connected, &report).await?);
                    standing.reports = load_reports(&connected).await?;
                }
                Step::Fetch(report) => {
                    performed.note(report_steps::fetch(&connected, &report).await?);
                    standing.reports = load_reports(&connected).await?;
                }
                Step::Wait(_) | Step::Nothing if passed_over.error.is_some() => {
                    return Err(passed_over.failure(&connected).await);
                }
                Step::Wait(until) => return Err(Failure::snooze(until, "a report that Amazon makes")),
                Step::Nothing => return finish(&connected, &standing, performed).await,
            }
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

impl Performed {
    fn note(&mut self, end: Option<End>) {
        match end {
            None => {}
            Some(End::Stored) => self.reports_stored += 1,
            Some(End::NoData) => self.reports_without_data += 1,
            Some(End::Failed(_)) => self.reports_failed += 1,
        }
    }
}

/// Products that Amazon failed at in this run.
#[derive(Default)]
struct PassedOver {
    products: usize,
    error: Option<CallError>,
}

impl PassedOver {
    async fn failure(self, connected: &Connected<'_>) -> Failure {
        match self.error {
            Some(error) => connected.failed(error).await,
            None => Failure::retry("Amazon failed at a product"),
        }
    }
}

async fn load(connected: &Connected<'_>) -> Outcome<Standing> {
    let Connected { context, seller, .. } = connected;
    let mut connection = context.pool.acquire().await?;
    Ok(Standing {
        marketplaces: order_metrics::marketplaces(&mut connection, seller.id, &seller.marketplace_ids)
            .await?,
        reports: amazon_reports::load(&mut connection, seller.id).await?,
        products: order_metrics::late_products(
            &mut connection,
            seller.id,
            &seller.marketplace_ids,
            PRODUCTS_A_RUN,
        )
        .await?,
    })
}

async fn load_reports(connected: &Connected<'_>) -> Outcome<Vec<crate::performance::Report>> {
    let mut connection = connected.context.pool.acquire().await?;
    Ok(amazon_reports::load(&mut connection, connected.seller.id).await?)
}

/// Stores the days of a marketplace, and notes which products are to be asked about. Returns how many days changed.
async fn sync_marketplace(connected: &Connected<'_>, marketplace_id: &str) -> Outcome<u64> {
    let question = question(connected, marketplace_id, None);
    let metrics = match told(connected, &question).await {
        Ok(metrics) => metrics,
        Err(error) => return Err(connected.failed(error).await),
    };
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    let mut transaction = connected.context.pool.begin().await?;
    let changed = order_metrics::save(&mut transaction, seller, &question, &metrics, now).await?;
    let lately = now - ORDERED_LATELY;
    order_metrics::want_products(&mut transaction, seller, marketplace_id, lately, now).await?;
    transaction.commit().await?;
    Ok(changed)
}

/// Stores the days of a product.
async fn sync_product(
    connected: &Connected<'_>,
    product: &Product,
    performed: &mut Performed,
    passed_over: &mut PassedOver,
) -> Outcome<()> {
    let question = question(connected, &product.marketplace_id, Some(product.asin.clone()));
    let told = told(connected, &question).await;
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    match told {
        Ok(metrics) => {
            let mut transaction = connected.context.pool.begin().await?;
            performed.days_changed +=
                order_metrics::save(&mut transaction, seller, &question, &metrics, now).await?;
            transaction.commit().await?;
            performed.products += 1;
        }
        // It may be gone from the catalogue: that is no reason to leave the others out.
        Err(error) if matches!(error.refusal(), Some(Refusal::InvalidInput | Refusal::NotFound)) => {
            let mut connection = connected.context.pool.acquire().await?;
            order_metrics::pass_over(&mut connection, seller, product, now).await?;
            performed.products_refused += 1;
        }
        Err(error) if error.ambiguous() && passed_over.products < PASSED_OVER_A_RUN => {
            passed_over.products += 1;
            passed_over.error = Some(error);
        }
        Err(error) => return Err(connected.failed(error).await),
    }
    Ok(())
}

fn question(connected: &Connected<'_>, marketplace_id: &str, asin: Option<String>) -> MetricsQuestion {
    let days = days(time_zone(marketplace_id), connected.context.clock.now());
    MetricsQuestion { marketplace_id: marketplace_id.to_owned(), asin, days }
}

async fn told(connected: &Connected<'_>, question: &MetricsQuestion) -> Result<Metrics, CallError> {
    let answer = connected.call(&question.request()).await?;
    let metrics = question.parse(&answer.body)?;
    if metrics.unreadable > 0 {
        tracing::warn!(
            seller.id = %connected.seller.id,
            metrics.unreadable = metrics.unreadable,
            "Amazon told intervals that are no days which were asked for"
        );
    }
    Ok(metrics)
}

/// All is done that can be. What Amazon refused is told to people, once all else is done, and asked for again by the next run.
async fn finish(connected: &Connected<'_>, standing: &Standing, performed: Performed) -> Outcome<Performed> {
    let refused: Vec<String> = standing
        .reports
        .iter()
        .filter_map(|report| match &report.state {
            ReportState::Refused(reason) => Some(format!("{} ({reason})", report.report_type)),
            _ => None,
        })
        .collect();
    let Some(first) = refused.first() else { return Ok(performed) };
    let mut connection = connected.context.pool.acquire().await?;
    amazon_reports::forget_refused(&mut connection, connected.seller.id).await?;
    Err(Failure::reject(format!(
        "Amazon refuses to make {} reports, as {first}; all else is done",
        refused.len()
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::{NaiveDate, TimeDelta};
    use sandbox::{Fault, MetricsWanted, Operation as Asked, PLANTED, ReportCharset, SettingsChange};

    use super::*;
    use crate::{
        performance::FEEDBACK_REACH,
        testing::{Shop, rejected, retried, snoozed},
    };

    const METRICS: Asked = Asked::GetOrderMetrics;
    /// More than any job here takes.
    const MOST_RUNS: usize = 200;

    /// What was sold on a day, as both sides can tell it: marketplace, ASIN, day, units, lines, orders, hundredths.
    type Sold = (String, String, NaiveDate, i64, i64, i64, i64);

    fn job(shop: &Shop) -> SyncPerformance {
        SyncPerformance { seller: shop.seller }
    }

    /// Runs a job until it ends, in the moments to which it snoozes.
    async fn ended(shop: &Shop) -> Outcome<Performed> {
        let (job, mut runs) = (job(shop), 0);
        let run = shop.enqueue(&job).await;
        loop {
            runs += 1;
            assert!(runs < MOST_RUNS, "it never ends");
            match job.run(&shop.context, &run).await {
                Err(Failure::Snooze { until, .. }) => {
                    let wait = until - shop.context.clock.now();
                    shop.clock.advance(wait.max(TimeDelta::zero()) + TimeDelta::milliseconds(1));
                }
                other => return other,
            }
        }
    }

    async fn perform(shop: &Shop) -> Performed {
        ended(shop).await.expect("nothing is wrong")
    }

    fn first_day(shop: &Shop, marketplace: &str) -> NaiveDate {
        days(time_zone(marketplace), shop.context.clock.now()).first
    }

    fn sold_at_amazon(shop: &Shop, marketplace: &str, asin: Option<&str>) -> Vec<Sold> {
        let wanted = MetricsWanted {
            marketplace_id: marketplace.to_owned(),
            time_zone: time_zone(marketplace).name().to_owned(),
            asin: asin.map(str::to_owned),
        };
        let told = shop.sandbox.control().metrics(&shop.account.selling_partner_id, &wanted);
        let number = |count: u64| i64::try_from(count).expect("it is small");
        told.expect("the seller sells there")
            .into_iter()
            .filter(|day| day.date >= first_day(shop, marketplace) && day.orders > 0)
            .map(|day| {
                let (units, items, orders) = (day.units, day.order_items, day.orders);
                let [units, items, orders, cents] = [units, items, orders, day.sales_cents].map(number);
                let asin = asin.unwrap_or_default().to_owned();
                (marketplace.to_owned(), asin, day.date, units, items, orders, cents)
            })
            .collect()
    }

    async fn sold_here(shop: &Shop) -> Vec<Sold> {
        let rows: Vec<Sold> = sqlx::query_as(
            "select marketplace_id, asin, day, unit_count, order_item_count, order_count, (total_sales * 100)::bigint
             from order_metrics where order_count > 0 order by marketplace_id collate \"C\", asin collate \"C\", day",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("figures can be read");
        rows.into_iter().filter(|row| row.2 >= first_day(shop, &row.0)).collect()
    }

    /// The products that were ordered in each marketplace within the last days that count.
    async fn ordered(shop: &Shop) -> BTreeSet<(String, String)> {
        sqlx::query_as(
            "select distinct marketplace_id, asin from orders join order_items using (seller_id, order_id)
             where created_at > $1",
        )
        .bind(shop.context.clock.now() - ORDERED_LATELY)
        .fetch_all(&shop.context.pool)
        .await
        .expect("orders can be read")
        .into_iter()
        .collect()
    }

    async fn assert_all_sold(shop: &Shop) {
        let mut expected = Vec::new();
        for marketplace in &shop.account.marketplace_ids {
            expected.extend(sold_at_amazon(shop, marketplace, None));
        }
        for (marketplace, asin) in ordered(shop).await {
            expected.extend(sold_at_amazon(shop, &marketplace, Some(&asin)));
        }
        expected.sort();
        assert!(expected.len() > 20, "it looks at something: {expected:?}");
        assert_eq!(sold_here(shop).await, expected);
    }

    type Told = (String, String, NaiveDate, i16);

    fn feedback_at_amazon(shop: &Shop) -> BTreeSet<Told> {
        let given = shop.sandbox.control().feedback(&shop.account.selling_partner_id);
        let now = shop.context.clock.now();
        given
            .expect("the seller is known")
            .into_iter()
            .filter(|one| one.given_at >= now - FEEDBACK_REACH)
            .map(|one| {
                let rating = i16::try_from(one.rating).expect("it is small");
                (one.order_id, one.marketplace_id, one.given_at.date_naive(), rating)
            })
            .collect()
    }

    async fn feedback_here(shop: &Shop) -> BTreeSet<Told> {
        sqlx::query_as("select order_id, marketplace_id, day, rating from seller_feedback")
            .fetch_all(&shop.context.pool)
            .await
            .expect("feedback can be read")
            .into_iter()
            .collect()
    }

    async fn reports(shop: &Shop) -> BTreeMap<String, String> {
        sqlx::query_as(
            "select report_type || ' ' || marketplace_id, concat_ws(': ', state, reason) from amazon_reports",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("reports can be read")
        .into_iter()
        .collect::<Vec<(String, String)>>()
        .into_iter()
        .collect()
    }

    async fn assert_health(shop: &Shop) {
        let mut expected = BTreeSet::new();
        for one in
            shop.sandbox.control().account_health(&shop.account.selling_partner_id).expect("it is known")
        {
            expected.insert(format!("{} account_status {}", one.marketplace_id, one.status));
            expected.insert(format!("{} late_shipment_rate {}", one.marketplace_id, one.late_shipments));
        }
        let rows: Vec<String> = sqlx::query_scalar(
            "select concat_ws(' ', marketplace_id, metric, coalesce(counted::text, status)) from account_health
             where metric in ('account_status', 'late_shipment_rate')",
        )
        .fetch_all(&shop.context.pool)
        .await
        .expect("health can be read");
        assert_eq!(rows.len(), expected.len());
        assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    /// The number of reports that a seller has: account health, and feedback in each marketplace.
    fn all_reports(shop: &Shop) -> usize {
        1 + shop.account.marketplace_ids.len()
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::synced().await;
        perform(&shop).await;
        assert_all_sold(&shop).await;
        assert_health(&shop).await;
        assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop));
        assert!(!feedback_here(&shop).await.is_empty(), "it looks at something");
        assert_eq!(shop.calls_of(Asked::CreateReport).len(), all_reports(&shop));
        assert_eq!(shop.one("select count(*)::text from jobs where kind = 'sync_performance'").await, "1");
        let stored = shop.everything_stored().await;
        for word in PLANTED {
            assert!(!stored.contains(word), "{word} is in a table");
        }
        assert!(!stored.contains("signature="), "the address of a document is a secret");
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::synced().await;
        perform(&shop).await;
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        assert_eq!(perform(&shop).await, Performed::default(), "all is fresh");
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, calls, "nobody asks for what is fresh");

        let before = sold_here(&shop).await;
        // As if nothing had ever been asked for.
        shop.execute("delete from order_metrics_asked; delete from amazon_reports").await;
        let stamps =
            "select string_agg(fetched_at::text, ' ' order by marketplace_id, asin, day) from order_metrics";
        let fetched = shop.one(stamps).await;
        perform(&shop).await;
        assert_eq!(sold_here(&shop).await, before);
        assert_eq!(shop.one(stamps).await, fetched, "figures that are the same are left alone");
        assert_health(&shop).await;
        assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop));
    }

    #[tokio::test]
    async fn the_next_day_brings_what_changed_and_takes_what_is_gone() {
        let shop = Shop::synced().await;
        perform(&shop).await;
        shop.execute(
            "insert into order_metrics (seller_id, marketplace_id, asin, day, unit_count, order_item_count, order_count, fetched_at)
             select seller_id, marketplace_id, 'B0CANCELLED', (now() - interval '5 days')::date, 1, 1, 1, '2020-01-01'
             from order_metrics_asked limit 1;
             insert into order_metrics_asked (seller_id, marketplace_id, asin, wanted_at)
             select seller_id, marketplace_id, 'B0CANCELLED', now() + interval '1 day' from order_metrics_asked limit 1;
             insert into seller_feedback (seller_id, order_id, marketplace_id, day, rating, fetched_at)
             select seller_id, '026-9999999-9999999', marketplace_id, (now() - interval '5 days')::date, 1, '2020-01-01'
             from seller_feedback limit 1;
             insert into seller_feedback (seller_id, order_id, marketplace_id, day, rating, fetched_at)
             select seller_id, '026-8888888-8888888', marketplace_id, (now() - interval '90 days')::date, 1, '2020-01-01'
             from seller_feedback limit 1",
        )
        .await;
        // Longer than any day.
        shop.clock.advance(TimeDelta::hours(25));
        shop.sync().await.expect("nothing is wrong");
        perform(&shop).await;
        assert_all_sold(&shop).await;
        let kept = "select string_agg(order_id, ' ') from seller_feedback where order_id like '026-9%' or order_id like '026-8888888%'";
        assert_eq!(shop.one(kept).await, "026-8888888-8888888", "what is older than the report's days stays");
        let days: String = shop.one("select count(distinct day)::text from account_health").await;
        assert_eq!(days, "2", "each day has its own judgement");
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::synced().await;
        for (unharmed, operation) in [
            (1, METRICS),
            (1, Asked::CreateReport),
            (0, Asked::GetReport),
            (0, Asked::GetReportDocument),
            (0, Asked::DownloadDocument),
        ] {
            shop.fault_after(unharmed, operation, Fault::Hang, 1);
            // Until the call hangs, the job may snooze.
            loop {
                let before = shop.calls_of(operation).len();
                let job = job(&shop);
                let run = shop.enqueue(&job).await;
                tokio::select! {
                    end = job.run(&shop.context, &run) => {
                        let until = snoozed(end);
                        let wait = (until - shop.context.clock.now()).max(TimeDelta::zero());
                        shop.clock.advance(wait + TimeDelta::milliseconds(1));
                    }
                    () = crate::testing::until(|| shop.hangs(operation, before)) => break,
                }
            }
            shop.sandbox.control().clear_faults();
        }
        perform(&shop).await;
        assert_all_sold(&shop).await;
        assert_health(&shop).await;
        assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop));
        // The one that hung was never answered.
        assert_eq!(
            shop.calls_of(Asked::CreateReport).len(),
            all_reports(&shop) + 1,
            "none is asked for twice"
        );
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        perform(&shop).await;
        let states = reports(&shop).await;
        assert_eq!(states["GET_V2_SELLER_PERFORMANCE_REPORT "], "stored");
        for marketplace in &shop.account.marketplace_ids {
            assert_eq!(states[&format!("GET_SELLER_FEEDBACK_DATA {marketplace}")], "no_data");
        }
        shop.execute("update sellers set state = 'disconnected'").await;
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        assert_eq!(perform(&shop).await.skipped, Some(NOT_CONNECTED));
        assert_eq!(
            shop.sandbox.control().calls(0, 0).last_seq,
            calls,
            "no call for a seller who is not connected"
        );
    }

    #[tokio::test]
    async fn throttled_it_snoozes_and_goes_on() {
        let shop = Shop::synced().await;
        for operation in [METRICS, Asked::CreateReport, Asked::GetReport, Asked::GetReportDocument] {
            shop.fault(operation, Fault::Quota, 1);
        }
        snoozed(shop.run(&job(&shop)).await);
        perform(&shop).await;
        assert_all_sold(&shop).await;
        let refused =
            |operation| shop.calls_of(operation).into_iter().filter(|call| call.status == Some(429)).count();
        let all = [METRICS, Asked::CreateReport, Asked::GetReport, Asked::GetReportDocument];
        assert_eq!(all.map(refused), [1; 4], "each was told once and waited");
    }

    #[tokio::test]
    async fn while_a_report_is_made_no_slot_is_held() {
        let shop = Shop::with_orders(0).await;
        let before = shop.context.clock.now();
        let until = snoozed(shop.run(&job(&shop)).await);
        assert!(until - before >= TimeDelta::seconds(29), "{until}");
        assert_eq!(shop.calls_of(Asked::GetReport).len(), 0, "it is too early to look");
    }

    /// The first run did not know yet how many products there were, and let the others wait for a report.
    #[tokio::test]
    async fn products_that_are_found_in_the_first_run_wait_for_no_report() {
        let shop = Shop::with_orders(180).await;
        shop.sync().await.expect("nothing is wrong");
        let until = snoozed(shop.run(&job(&shop)).await);
        let asked = shop.calls_of(Asked::GetOrderMetrics).len();
        let products = asked - shop.account.marketplace_ids.len();
        assert_eq!(products, usize::try_from(PRODUCTS_A_RUN).expect("it is small"), "{asked} calls");
        assert!(until <= shop.context.clock.now(), "it goes on at once");
    }

    #[tokio::test]
    async fn a_fatal_report_holds_nothing_up_and_only_its_class_is_kept() {
        let shop = Shop::synced().await;
        shop.fault(Asked::CreateReport, Fault::Fatal, 1);
        perform(&shop).await;
        let states = reports(&shop).await;
        let failed = &states["GET_V2_SELLER_PERFORMANCE_REPORT "];
        assert_eq!(failed, "failed: Amazon gives a reason that is not known here");
        assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop));
        assert_all_sold(&shop).await;
        shop.clock.advance(TimeDelta::hours(21));
        perform(&shop).await;
        assert_eq!(
            reports(&shop).await["GET_V2_SELLER_PERFORMANCE_REPORT "],
            "stored",
            "the next day it is asked for again"
        );
    }

    #[tokio::test]
    async fn of_a_document_that_is_cut_short_nothing_is_stored() {
        // Where it is not compressed, a line that is cut in its last column looks whole: so there, only JSON.
        for (report_gzip, orders) in [(true, 36), (false, 0)] {
            let shop = Shop::with_orders(orders).await;
            shop.sync().await.expect("nothing is wrong");
            let change = SettingsChange { report_gzip: Some(report_gzip), ..SettingsChange::default() };
            shop.sandbox.control().change_settings(change).expect("it can be set");
            shop.fault(Asked::DownloadDocument, Fault::Truncated, 1);
            let error = retried(ended(&shop).await);
            assert!(error.contains("cut short"), "{error}");
            let rows = "select (select count(*) from account_health) || ' ' || (select count(*) from seller_feedback)";
            assert_eq!(shop.one(rows).await, "0 0");
            let states: BTreeSet<String> = reports(&shop).await.into_values().collect();
            assert!(
                states.contains("ready") && !states.contains("stored"),
                "it is fetched again: {states:?}"
            );
            perform(&shop).await;
            assert_health(&shop).await;
            assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop));
            assert_eq!(
                shop.calls_of(Asked::CreateReport).len(),
                all_reports(&shop),
                "and not asked for again"
            );
        }
    }

    #[tokio::test]
    async fn every_charset_is_read_compressed_or_not() {
        for charset in [ReportCharset::Utf8, ReportCharset::Windows1252, ReportCharset::ShiftJis] {
            let shop = Shop::synced().await;
            let change = SettingsChange {
                report_charset: Some(charset),
                report_gzip: Some(true),
                ..SettingsChange::default()
            };
            shop.sandbox.control().change_settings(change).expect("it can be set");
            perform(&shop).await;
            assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop), "{charset:?}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_too_old_is_asked_for_anew_and_not_for_ever() {
        let shop = Shop::with_orders(0).await;
        shop.fault(Asked::DownloadDocument, Fault::Denied, 1);
        perform(&shop).await;
        assert_health(&shop).await;
        assert_eq!(shop.calls_of(Asked::GetReportDocument).len(), 2);
        let shop = Shop::with_orders(0).await;
        shop.fault(Asked::DownloadDocument, Fault::Denied, 9);
        let error = retried(ended(&shop).await);
        assert!(error.contains("no longer good") && !error.contains("http"), "{error}");
        assert_eq!(shop.calls_of(Asked::GetReportDocument).len(), ADDRESSES);
    }

    /// Addresses that are asked for in one run.
    const ADDRESSES: usize = 2;

    #[tokio::test]
    async fn a_report_that_is_refused_is_told_when_all_else_is_done() {
        let shop = Shop::synced().await;
        // The call is made once more with a new token.
        shop.fault(Asked::CreateReport, Fault::Denied, 2);
        let error = rejected(ended(&shop).await);
        assert!(
            error.contains("refuses to make 1 reports") && error.contains("a role is missing"),
            "{error}"
        );
        assert_all_sold(&shop).await;
        assert_eq!(feedback_here(&shop).await, feedback_at_amazon(&shop));
        assert_eq!(shop.state().await, "active");
        perform(&shop).await;
        assert_health(&shop).await;
    }

    #[tokio::test]
    async fn a_product_that_amazon_fails_at_holds_up_no_other() {
        let shop = Shop::synced().await;
        // After those of the marketplaces.
        let marketplaces = u32::try_from(shop.account.marketplace_ids.len()).expect("they are few");
        shop.fault_after(marketplaces, METRICS, Fault::Internal, 1);
        let error = retried(ended(&shop).await);
        assert!(error.contains("getOrderMetrics"), "{error}");
        let late = "select count(*)::text from order_metrics_asked where asked_at is null";
        assert_eq!(shop.one(late).await, "1", "all others were asked about");
        perform(&shop).await;
        assert_all_sold(&shop).await;
    }

    #[tokio::test]
    async fn what_amazon_breaks_is_tried_again() {
        let shop = Shop::synced().await;
        for fault in [Fault::Internal, Fault::Garbage, Fault::Cut] {
            shop.fault(METRICS, fault, 1);
            let error = retried(ended(&shop).await);
            assert!(error.contains("getOrderMetrics"), "{fault:?}: {error}");
        }
        for operation in [Asked::GetReport, Asked::GetReportDocument, Asked::DownloadDocument] {
            shop.fault(operation, Fault::Internal, 1);
            let error = retried(ended(&shop).await);
            assert!(!error.contains("http") && !error.contains("signature"), "{operation:?}: {error}");
        }
        perform(&shop).await;
        assert_all_sold(&shop).await;
    }
}
