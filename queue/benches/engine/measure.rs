//! Numbers: rates, percentiles, settings, and a line of JSON.

use std::time::Duration;

use runtime::env::{Environment, ProcessEnvironment};
use serde_json::Value;

pub(crate) fn number(name: &str, usual: usize) -> usize {
    ProcessEnvironment
        .get(name)
        .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Whether this measure was asked for; all are, unless the command line names some.
pub(crate) fn wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|word| !word.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|wanted| wanted == name)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
pub(crate) fn rate(count: usize, took: Duration) -> f64 {
    (count as f64 / took.as_secs_f64()).round()
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits")]
pub(crate) fn per(total: u64, count: usize) -> f64 {
    (total as f64 / count as f64 * 1_000.0).round() / 1_000.0
}

pub(crate) fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index"
)]
pub(crate) fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * share / 100.0).round() as usize]
}

pub(crate) fn print(line: Value) {
    println!("{line}");
}
