//! A day of thousands of sellers in minutes: our own scheduling, budgets and paging against a simulated Amazon.
//!
//! What is real: the kinds' policies and schedules, the stepping of schedules and each seller's place in them, the engine's
//! turns and limits (its twin in memory), the budgets, the permits, and the functions that say which page, which step, which
//! order comes next. What is simulated: time, Amazon (its usage plans, how long it takes to answer, how much there is to tell)
//! and the tables behind the kinds. `cargo xtask simulate` builds and runs this.

mod amazon;
mod clock;
mod measure;
mod office;
mod outcome;
mod picture;
mod runs;
mod schedules;
mod sellers;

use std::{path::PathBuf, process::ExitCode, rc::Rc, time::Instant};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;

use crate::{office::Office, outcome::Outcome};

/// Simulates our dealings with Amazon for thousands of sellers. Prints one line of JSON; exit code 0 when no call was
/// throttled and no review request missed its window.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  cargo xtask simulate --sellers 10000 --hours 24\n  cargo xtask simulate --sellers 500 --hours 6 --seed 7 --picture target/small.svg"
)]
pub(crate) struct Options {
    /// How many sellers.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sellers: u32,
    /// How many hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=24 * 14))]
    hours: u32,
    /// How many workers, with as many slots for syncs as a worker has by default.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    workers: u32,
    /// What the sellers are like, and what happens to them: the same number, the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the picture goes.
    #[arg(long, default_value = "target/simulation.svg")]
    picture: PathBuf,
}

/// When the simulated day begins: a Tuesday, midnight in London, in winter.
fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_478_400, 0).unwrap_or_default()
}

/// Plays the hours. Returns what they came to, and the picture.
fn simulate(options: &Options) -> anyhow::Result<(Outcome, String)> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    // Outside, time is the host's again.
    Ok(tokio::task::LocalSet::new().block_on(&runtime, async {
        let office = Rc::new(Office::open(options, beginning()));
        office.work(TimeDelta::hours(i64::from(options.hours))).await;
        (office.result(options, started.elapsed()), picture::draw(&office.measure.borrow(), options))
    }))
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let (result, picture) = simulate(&options)?;
    if let Some(folder) = options.picture.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    std::fs::write(&options.picture, picture)
        .with_context(|| format!("writing {}", options.picture.display()))?;
    eprintln!("simulate: the picture is {}", options.picture.display());
    println!("{}", serde_json::to_string(&result)?);
    Ok(if result.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours_of(sellers: u32, hours: u32) -> (Outcome, String) {
        let options = Options { sellers, hours, workers: 1, seed: 3, picture: PathBuf::from("nowhere.svg") };
        simulate(&options).expect("a runtime starts")
    }

    #[test]
    fn nothing_is_throttled_and_nothing_missed() {
        let (outcome, picture) = hours_of(60, 6);
        assert!(outcome.ok, "{outcome:?}");
        assert_eq!(outcome.throttled, 0);
        let without_calls: Vec<_> =
            outcome.calls.iter().filter(|(_, calls)| **calls == 0).map(|(name, _)| *name).collect();
        // What is not made for each seller all the time: destinations and subscriptions are made once.
        let once = ["createDestination", "createSubscription", "getDestinations", "getSubscription"];
        assert_eq!(without_calls, once);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert_eq!(
            picture.matches("<polyline").count(),
            4 + 8 + 6,
            "a line for each data set and the most used plans"
        );
    }

    #[test]
    fn the_same_seed_is_the_same_day() {
        let (one, other) = (hours_of(20, 3).0, hours_of(20, 3).0);
        assert_eq!((one.calls, one.runs), (other.calls, other.runs));
    }
}
