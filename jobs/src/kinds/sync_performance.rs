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

use std::time::Duration;

use queue::{Failure, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{Connected, NOT_CONNECTED},
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(15))
        // A day of Amazon being ill, at half an hour each.
        .max_attempts(60)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("37 4 * * *"));

    type Context = Context;
    type Report = Performed;

    fn group(&self) -> String {
        self.seller.to_string()
    }

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
        let makes_way = standing.products.len() as i64 == PRODUCTS_A_RUN;
        let mut passed_over = PassedOver::default();
        loop {
            match next_step(&standing, context.clock.now()) {
                Step::Marketplace(id) => {
                    performed.days_changed += sync_marketplace(&connected, &id).await?;
                    performed.marketplaces += 1;
                    standing = load(&connected).await?;
                }
                Step::Product(product) => {
                    sync_product(&connected, &product, &mut performed, &mut passed_over).await?;
                    standing.products.retain(|other| *other != product);
                    if standing.products.is_empty() && makes_way && passed_over.error.is_none() {
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
        let (seller, intervals) = (connected.seller.id, metrics.unreadable);
        tracing::warn!(seller.id = %seller, intervals, "Amazon told intervals that are no days which were asked for");
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
