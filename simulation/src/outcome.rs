//! What a simulation came to: one line of JSON.

use std::{collections::BTreeMap, time::Duration};

use jobs::sp_api::Operation;
use runtime::clock::Clock;
use serde::Serialize;

use crate::{
    Options,
    measure::{self, Age, Reviews},
    office::{Office, SLOTS},
    sellers::ReviewState,
};

/// What it came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    sellers: u32,
    hours: u32,
    seed: u64,
    pub(crate) throttled: u64,
    pub(crate) calls: BTreeMap<&'static str, u64>,
    age: BTreeMap<&'static str, Age>,
    review_requests: Reviews,
    pub(crate) runs: BTreeMap<&'static str, u64>,
    snoozes: u64,
    slots: usize,
    peak_memory_mib: u64,
    seconds: f64,
}

impl Office {
    /// What it came to.
    pub(crate) fn result(&self, options: &Options, took: Duration) -> Outcome {
        let now = self.clock.now();
        self.measure.borrow_mut().called(&self.amazon.take_calls());
        let mut reviews = Reviews::default();
        for seller in &self.sellers {
            let seller = seller.borrow();
            for review in
                seller.stored.reviews.iter().filter(|review| review.offered && review.opens_at <= now)
            {
                reviews.eligible += 1;
                reviews.sent += u64::from(review.state == ReviewState::Sent);
                reviews.missed_window +=
                    u64::from(review.state != ReviewState::Sent && review.closes_at <= now);
            }
        }
        let measure = self.measure.borrow();
        let throttled = self.amazon.throttled();
        let calls = Operation::ALL.into_iter().map(|operation| operation.entry().name);
        Outcome {
            ok: throttled == 0 && reviews.missed_window == 0,
            sellers: options.sellers,
            hours: options.hours,
            seed: options.seed,
            throttled,
            calls: calls.map(|name| (name, measure.calls.get(name).copied().unwrap_or(0))).collect(),
            age: measure.all_ages(),
            review_requests: reviews,
            runs: measure.runs.clone(),
            snoozes: measure.snoozes,
            slots: SLOTS * options.workers as usize,
            peak_memory_mib: measure::peak_memory_mib(),
            seconds: took.as_secs_f64(),
        }
    }
}
