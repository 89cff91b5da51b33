//! The rates that Amazon tells with its answers: each moves the budget that it is about, in all processes.

use std::{collections::HashMap, time::Duration};

use queue::limit::{Budget, Budgets};
use reqwest::header::HeaderMap;
use tokio::{sync::Mutex, time::Instant};

/// How often a rate that Amazon keeps telling is written down again; so long, after Redis lost its data, the usual rate
/// holds.
const REMEMBER_RATE: Duration = Duration::from_secs(60);

/// What was told lately, by the budget's name.
#[derive(Debug, Default)]
pub(super) struct Rates {
    known: Mutex<HashMap<String, (u64, Instant)>>,
}

impl Rates {
    /// Amazon tells the pair's present rate on successes, 400 and 404; not always, and not always a number.
    pub(super) async fn note(&self, budgets: &Budgets, budget: Option<Budget>, headers: &HeaderMap) {
        let told = header(headers, "x-amzn-ratelimit-limit").and_then(|text| text.parse::<f64>().ok());
        let told = told.filter(|rate| rate.is_finite() && *rate > 0.0);
        let (Some(rate), Some(budget)) = (told, budget) else { return };
        let mut rates = self.known.lock().await;
        let known = rates.get(&budget.name);
        if known.is_some_and(|(bits, at)| *bits == rate.to_bits() && at.elapsed() < REMEMBER_RATE) {
            return;
        }
        match budgets.move_rate(&budget, rate).await {
            Ok(()) => drop(rates.insert(budget.name, (rate.to_bits(), Instant::now()))),
            Err(error) => tracing::warn!(%error, "could not move a budget's rate"),
        }
    }
}

/// A header's text, where it is text.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
