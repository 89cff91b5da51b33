//! What a run of chaos came to: the sandbox's evidence and the witness' against what was promised and what is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sandbox::{OrderRecord, Summary};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    amazon::Amazon,
    chaos::{
        faults::Noted,
        load::Load,
        plan::Sort,
        say_at,
        witness::{self, Change},
    },
    ledger,
};

/// The last line of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    /// Of the plan.
    pub(super) seed: u64,
    /// Of faults.
    pub(super) minutes: f64,
    /// Jobs in the ledger: those that were asked for and those that they caused.
    pub(super) jobs: usize,
    /// `kill -9` of workers and schedulers.
    pub(super) kills: u64,
    /// Restarts and `kill -9` of Redis and Postgres.
    pub(super) restarts: u64,
    /// `FLUSHALL`s.
    pub(super) flushes: u64,
    /// Times that connections were cut or refused, were slow, or hung.
    pub(super) cuts: u64,
    /// Jobs that were promised and have no end, orders that are not stored, review requests that were never made.
    pub(super) lost: usize,
    /// Jobs that ended twice.
    pub(super) finished_twice: usize,
    /// Review requests that arrived at Amazon after one that had taken effect, and orders that are stored twice.
    pub(super) effects_twice: u64,
    /// From a loss of a worker until the last of its jobs ran elsewhere or had ended; 99th percentile, in seconds.
    pub(super) recovery_p99_s: Option<f64>,
    /// The same, median.
    pub(super) recovery_p50_s: Option<f64>,
    /// Losses by which somebody's jobs were hit.
    pub(super) recoveries: usize,
    /// From Redis' return, or a flush, until it held all that was unfinished then; 99th percentile, in seconds.
    pub(super) redis_back_p99_s: Option<f64>,
    /// How often that was measured.
    pub(super) redis_backs: usize,
    /// From the last fault until no job was unfinished, in seconds; nothing when that took too long.
    pub(super) rest_s: Option<f64>,
    /// Whether all of it is as it must be.
    pub(super) ok: bool,
    /// What is not.
    pub(super) differences: Vec<String>,
    /// Faults by sort.
    pub(super) faults: BTreeMap<Sort, u64>,
    /// Dead letters that were there when the system first came to rest; they were requeued.
    pub(super) dead_letters: u64,
    /// Runs that began.
    pub(super) runs: u64,
    /// Runs of a job whose last run had not ended as far as the ledger knew: work done again, at least in part.
    pub(super) runs_taken_over: u64,
    /// Runs that were broken off and handed back.
    pub(super) runs_handed_back: u64,
    /// Requests for a job that were made again, because the answer was lost.
    pub(super) requests_made_again: u64,
    /// Processes that ended although nobody ended them.
    pub(super) ended_unasked: u64,
    /// Orders that are stored.
    pub(super) orders_stored: i64,
    /// Review requests that Amazon took.
    pub(super) review_requests_sent: usize,
    /// Answers 429.
    pub(super) throttled: u64,
    /// The whole run, in seconds.
    pub(super) seconds: f64,
}

/// What is known when a run has come to its end.
pub(super) struct Ending<'a> {
    pub(super) seed: u64,
    pub(super) minutes: f64,
    pub(super) noted: Noted,
    pub(super) rest: Option<Duration>,
    pub(super) dead_letters: u64,
    pub(super) ended_unasked: u64,
    pub(super) started_at: DateTime<Utc>,
    pub(super) seconds: f64,
    pub(super) load: &'a Load,
    pub(super) witness: &'a PgPool,
    pub(super) amazon: &'a Amazon,
}

impl Ending<'_> {
    /// Compares all sides.
    pub(super) async fn judge(self) -> anyhow::Result<Verdict> {
        let pool = self.witness;
        let changes: Vec<Change> = witness::changes(pool).await?;
        let (summary, orders) = (self.amazon.summary().await?, self.amazon.orders().await?);
        let jobs: Vec<(Uuid, String)> = sqlx::query_as("select id, state from jobs").fetch_all(pool).await?;
        let mut differences = Vec::new();
        let lost = lost_jobs(&self.load.committed(), &jobs, &mut differences)
            + lost_orders(pool, &orders, &mut differences).await?
            + forgotten_requests(&orders, &mut differences);
        let finished_twice = witness::finished_twice(&changes);
        say_some(&mut differences, "jobs that ended twice", &finished_twice);
        let effects_twice = effects_twice(pool, &orders, &summary, &mut differences).await?;
        for agreed in [
            ledger::orders_agree(pool, &orders).await,
            ledger::review_requests_agree(pool, &orders).await,
            ledger::all_ended(pool).await,
        ] {
            differences.extend(agreed.err().map(|error| format!("{error:#}")));
        }
        if !summary.refused.is_empty() {
            differences.push(format!("calls that are not allowed: {:?}", summary.refused));
        }
        if self.ended_unasked > 0 {
            differences.push(format!("{} processes ended by themselves", self.ended_unasked));
        }
        if self.rest.is_none() {
            differences.push("it did not come to rest in time".to_owned());
        }
        let runs = witness::runs(&changes);
        let recoveries = witness::recoveries(&changes, &self.noted.losses);
        for recovery in &recoveries {
            let lost_at = (recovery.lost_at - self.started_at).to_std().unwrap_or_default();
            let (whom, jobs, took) = (recovery.whom, recovery.jobs, recovery.took.as_secs_f64());
            say_at(
                lost_at,
                &format!("{whom} lost {jobs} jobs; the last ran elsewhere or had ended {took:.1} s later"),
            );
        }
        let recoveries = sorted(recoveries.into_iter().map(|recovery| recovery.took).collect());
        let redis_backs = sorted(self.noted.redis_backs);
        let faults = self.noted.faults;
        let count = |sorts: &[Sort]| sorts.iter().filter_map(|sort| faults.get(sort)).sum();
        Ok(Verdict {
            seed: self.seed,
            minutes: self.minutes,
            jobs: jobs.len(),
            kills: count(&[Sort::KillWorker, Sort::KillScheduler]),
            restarts: count(&[
                Sort::RestartRedis,
                Sort::KillRedis,
                Sort::RestartPostgres,
                Sort::KillPostgres,
            ]),
            flushes: count(&[Sort::FlushRedis]),
            cuts: count(&[
                Sort::CutRedis,
                Sort::CutPostgres,
                Sort::RefuseRedis,
                Sort::RefusePostgres,
                Sort::SlowRedis,
                Sort::SlowPostgres,
                Sort::HangRedis,
                Sort::HangPostgres,
            ]),
            lost,
            finished_twice: finished_twice.len(),
            effects_twice,
            recovery_p99_s: percentile(&recoveries, 99),
            recovery_p50_s: percentile(&recoveries, 50),
            recoveries: recoveries.len(),
            redis_back_p99_s: percentile(&redis_backs, 99),
            redis_backs: redis_backs.len(),
            rest_s: self.rest.map(|rest| tenths(rest.as_secs_f64())),
            ok: differences.is_empty(),
            differences,
            faults,
            dead_letters: self.dead_letters,
            runs: runs.begun,
            runs_taken_over: runs.taken_over,
            runs_handed_back: runs.handed_back,
            requests_made_again: self.load.asked_again(),
            ended_unasked: self.ended_unasked,
            orders_stored: ledger::orders_stored(pool).await?,
            review_requests_sent: summary.review_requests_sent,
            throttled: summary.throttled,
            seconds: tenths(self.seconds),
        })
    }
}

/// Jobs that were promised and are not in the ledger, or that have no end.
fn lost_jobs(committed: &BTreeSet<Uuid>, jobs: &[(Uuid, String)], differences: &mut Vec<String>) -> usize {
    let known: BTreeSet<_> = jobs.iter().map(|(id, _)| *id).collect();
    let unknown: BTreeSet<_> = committed.difference(&known).copied().collect();
    say_some(differences, "jobs that were promised and are not in the ledger", &unknown);
    let endless: BTreeSet<_> = jobs
        .iter()
        .filter(|(_, state)| !["done", "dead", "cancelled"].contains(&state.as_str()))
        .map(|(id, _)| *id)
        .collect();
    say_some(differences, "jobs without an end", &endless);
    unknown.len() + endless.len()
}

/// Orders that Amazon has and we do not.
async fn lost_orders(
    pool: &PgPool,
    orders: &BTreeMap<String, Vec<OrderRecord>>,
    differences: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let stored: Vec<String> = sqlx::query_scalar("select order_id from orders").fetch_all(pool).await?;
    let stored: BTreeSet<_> = stored.into_iter().collect();
    let missing: BTreeSet<_> =
        orders.values().flatten().filter(|order| !stored.contains(&order.id)).map(|o| o.id.clone()).collect();
    say_some(differences, "orders that are not stored", &missing);
    Ok(missing.len())
}

/// Orders for which a review may be requested and never was.
fn forgotten_requests(orders: &BTreeMap<String, Vec<OrderRecord>>, differences: &mut Vec<String>) -> usize {
    let forgotten: BTreeSet<_> = orders
        .values()
        .flatten()
        .filter(|order| order.eligible && order.solicited_count == 0)
        .map(|order| order.id.clone())
        .collect();
    say_some(differences, "review requests that were never made", &forgotten);
    forgotten.len()
}

async fn effects_twice(
    pool: &PgPool,
    orders: &BTreeMap<String, Vec<OrderRecord>>,
    summary: &Summary,
    differences: &mut Vec<String>,
) -> anyhow::Result<u64> {
    let requested: BTreeSet<_> = orders
        .values()
        .flatten()
        .filter(|order| order.solicited_count > 1)
        .map(|order| order.id.clone())
        .collect();
    say_some(differences, "orders whose review was requested twice", &requested);
    let stored: Vec<String> =
        sqlx::query_scalar("select order_id from orders group by order_id having count(*) > 1")
            .fetch_all(pool)
            .await?;
    let stored: BTreeSet<_> = stored.into_iter().collect();
    say_some(differences, "orders that are stored twice", &stored);
    Ok(summary.duplicate_requests + u64::try_from(stored.len())?)
}

fn say_some<T: std::fmt::Display>(differences: &mut Vec<String>, what: &str, which: &BTreeSet<T>) {
    if !which.is_empty() {
        let some: Vec<_> = which.iter().take(5).map(ToString::to_string).collect();
        differences.push(format!("{} {what}: {}", which.len(), some.join(", ")));
    }
}

fn sorted(mut lengths: Vec<Duration>) -> Vec<Duration> {
    lengths.sort();
    lengths
}

/// Of sorted lengths, in seconds: so many of a hundred are not longer. The longest one where there are few.
fn percentile(sorted: &[Duration], of_a_hundred: usize) -> Option<f64> {
    let place = (sorted.len() * of_a_hundred).div_ceil(100);
    sorted.get(place.checked_sub(1)?).map(|length| tenths(length.as_secs_f64()))
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_longest_of_few() {
        let seconds = |count: u64| (1..=count).map(Duration::from_secs).collect::<Vec<_>>();
        assert_eq!(percentile(&[], 99), None);
        assert_eq!(percentile(&seconds(3), 99), Some(3.0));
        assert_eq!(percentile(&seconds(3), 50), Some(2.0));
        assert_eq!(percentile(&seconds(200), 99), Some(198.0));
    }

    #[test]
    fn a_promised_job_without_an_end_is_lost() {
        let [done, running, unknown] = [1, 2, 3].map(Uuid::from_u128);
        let jobs = [(done, "done".to_owned()), (running, "running".to_owned())];
        let mut differences = Vec::new();
        assert_eq!(lost_jobs(&[done].into(), &jobs[..1], &mut differences), 0);
        assert_eq!(differences, Vec::<String>::new());
        assert_eq!(lost_jobs(&[done, running, unknown].into(), &jobs, &mut differences), 2);
        assert_eq!(
            differences,
            [
                format!("1 jobs that were promised and are not in the ledger: {unknown}"),
                format!("1 jobs without an end: {running}")
            ]
        );
    }
}
