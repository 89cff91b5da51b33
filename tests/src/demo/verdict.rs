//! What the system says against what the sandbox recorded: which rows, not only how many.

use std::collections::BTreeMap;

use jobs::catalog::CATALOG;
use serde::Serialize;

use super::acts::Cast;
use crate::{
    data_sets,
    ledger::{self, Jobs},
    system::System,
};

/// What both sides say at the end.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) ok: bool,
    sellers: usize,
    orders_in_sandbox: usize,
    orders_stored: i64,
    review_requests_eligible: usize,
    review_requests_sent: usize,
    duplicate_requests: u64,
    throttled: u64,
    jobs_done: i64,
    jobs_dead: i64,
    jobs_lost: i64,
    calls_to_amazon: u64,
    seconds: f64,
    /// Jobs of each kind by how they ended.
    kinds: BTreeMap<String, Jobs>,
    /// Rows that both sides have, by data set.
    data_sets: BTreeMap<&'static str, usize>,
    pub(super) differences: Vec<String>,
}

impl Verdict {
    /// Notes that something is wrong.
    pub(super) fn fail(&mut self, what: String) {
        self.ok = false;
        self.differences.push(what);
    }

    /// What was compared, for people.
    pub(super) fn in_words(&self) -> String {
        let sets = self.data_sets.iter().map(|(name, rows)| format!("{rows} {}", name.replace('_', " ")));
        let sets: Vec<_> = sets.collect();
        format!("{}; {} reviews requested, none twice", sets.join(", "), self.review_requests_sent)
    }
}

/// Compares.
pub(super) async fn compare(system: &System, cast: &Cast, seconds: f64) -> anyhow::Result<Verdict> {
    let (pool, amazon) = (&system.pool, &system.amazon);
    let summary = amazon.summary().await?;
    let orders = amazon.orders().await?;
    let (jobs, kinds) = (ledger::jobs(pool).await?, ledger::kinds(pool).await?);
    let checks = [ledger::review_requests_agree(pool, &orders).await, ledger::all_ended(pool).await];
    let mut differences: Vec<_> =
        checks.into_iter().filter_map(Result::err).map(|e| format!("{e:#}")).collect();
    let compared = data_sets::compare(pool, amazon).await?;
    for (name, set) in &compared {
        differences.extend(set.difference(name));
        if set.rows == 0 {
            differences.push(format!("{name}: there was nothing to compare"));
        }
    }
    for kind in CATALOG.iter().filter(|kind| kinds.get(kind.name).is_none_or(|jobs| jobs.done == 0)) {
        differences.push(format!("no job of {} is done", kind.name));
    }
    for (what, count) in [
        ("review requests arrived twice", summary.duplicate_requests),
        ("calls were throttled", summary.throttled),
        ("jobs are dead letters", jobs.dead.unsigned_abs()),
    ] {
        if count > 0 {
            differences.push(format!("{count} {what}"));
        }
    }
    if !summary.refused.is_empty() {
        differences.push(format!("calls that are not allowed: {:?}", summary.refused));
    }
    let left = data_sets::rows_of(pool, &cast.leaver.id).await?;
    if !left.is_empty() {
        differences.push(format!("rows of the seller who left: {left:?}"));
    }
    Ok(Verdict {
        ok: differences.is_empty(),
        sellers: summary.sellers,
        orders_in_sandbox: summary.orders,
        orders_stored: ledger::orders_stored(pool).await?,
        review_requests_eligible: summary.review_requests_eligible,
        review_requests_sent: summary.review_requests_sent,
        duplicate_requests: summary.duplicate_requests,
        throttled: summary.throttled,
        jobs_done: jobs.done,
        jobs_dead: jobs.dead,
        jobs_lost: jobs.unfinished,
        calls_to_amazon: summary.calls.values().sum(),
        seconds,
        kinds,
        data_sets: compared.into_iter().map(|(name, set)| (name, set.rows)).collect(),
        differences,
    })
}
