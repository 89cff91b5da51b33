//! Four worker processes and one seller with far more work than Amazon's usage plans allow: how much of each plan is used,
//! counted by the stand-in for Amazon, and whether any call is one too many.
//!
//! First everything that review requests need is stored, at a speed at which quota is plenty. Then quota runs at the speed that
//! was asked for, in a Redis prefix that knows no rate yet; the history is fetched anew, requests are sent, figures copied, and
//! the other kinds run as often as their schedules let them. When the bursts are used up, the time that counts begins.
//!
//! It does not promise that this host can make the calls: where its processors have no rest, it says so.

mod measure;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use runtime::clock::{Clock, SystemClock};
use sandbox::{Region, Seed, SettingsChange};
use tokio::time::Instant;
use uuid::Uuid;

use self::measure::{CONTENDED, Contention, Processors, Verdict};
use crate::{
    database::Database,
    ledger,
    process::{Process, interrupted},
    quiet,
    system::{ConnectedSeller, Plan, System},
};

/// Measures how much of Amazon's usage plans one seller's work uses. Needs REDIS_URL and DATABASE_URL; `cargo xtask usage`
/// sets them.
///
/// Says on stderr what happens. Prints one line of JSON; exit code 0 only if no call was throttled and each plan for which work
/// waited all the time was used to 97 %, or this host had no processor left to make the calls.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  cargo xtask usage\n  cargo xtask usage --hours 1 --speed 20\n  cargo xtask usage --hours 0.25"
)]
pub struct Options {
    /// How many hours of Amazon's quota are measured.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    hours: f64,
    /// How much faster than Amazon's the stand-in's quota refills; at 10 an hour of it lasts six minutes. A call may be late by
    /// one refill of its bucket, which is 100 ms then: a busy host needs a lower speed.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    speed: f64,
    /// How many worker processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    workers: u32,
    /// How many orders the seller has; four of nine have a review request waiting.
    #[arg(long, default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1_000..=200_000))]
    orders: u32,
    /// Postgres server on which a database for this run may be made.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Redis server.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

/// Speed at which everything is stored first.
const PLENTY: f64 = 3_600.0;
/// Longest time for that.
const STORED_WITHIN: Duration = Duration::from_secs(300);
/// After so long the stand-in's buckets are full again.
const BUCKETS_FULL_AFTER: Duration = Duration::from_secs(2);
/// After so long the bursts are used up.
const BURSTS_USED_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked whether work waits.
const LOOK: Duration = Duration::from_millis(500);

/// Runs it. True when the verdict is good, or a signal ended it.
///
/// # Errors
/// When something cannot be started.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let database = Database::make(&options.database_url, "usage").await?;
    let outcome = with_database(&options, database.url()).await;
    // The database is dropped whatever became of the run.
    let dropped = database.drop_it().await;
    let verdict = outcome?;
    dropped?;
    let Some(verdict) = verdict else { return Ok(true) };
    println!("{}", serde_json::to_string(&verdict)?);
    Ok(verdict.ok)
}

async fn with_database(options: &Options, database_url: &str) -> anyhow::Result<Option<Verdict>> {
    let folder = PathBuf::from("target/usage").join(Uuid::new_v4().simple().to_string());
    say(&format!("logs are in {}", folder.display()));
    let mut system = System::start(Plan {
        database_url: database_url.to_owned(),
        redis_url: options.redis_url.clone(),
        folder: folder.clone(),
        speed: PLENTY,
    })
    .await?;
    // Thousands of jobs end in a minute; a line for each is work for the host.
    system.set("AMZIGO_LOG", "warn");
    let mut processes = Vec::new();
    let outcome = tokio::select! {
        outcome = play(options, &folder, &mut system, &mut processes) => outcome.map(Some),
        signal = interrupted() => signal.map(|()| None),
    };
    say("stopping everything that was started");
    for process in processes {
        process.stop()?;
    }
    system.pool.close().await;
    system.delete_keys().await.context("deleting the keys of this run")?;
    if outcome.as_ref().is_ok_and(|verdict| verdict.as_ref().is_none_or(|verdict| verdict.ok)) {
        std::fs::remove_dir_all(&folder).context("removing the logs")?;
    }
    outcome
}

async fn play(
    options: &Options,
    folder: &Path,
    system: &mut System,
    processes: &mut Vec<Process>,
) -> anyhow::Result<Verdict> {
    let seller = store_everything(options, system, processes).await?;
    let settings = SettingsChange { speed: Some(options.speed), ..SettingsChange::default() };
    system.amazon.change_settings(&settings).await?;
    let stored_until = SystemClock.now();
    say(
        "the history is fetched anew, review requests are sent, figures copied; the other kinds run by the clock",
    );
    sqlx::raw_sql(
        "delete from sync_cursors where data_set = 'order_history'; delete from order_metrics_asked",
    )
    .execute(&system.pool)
    .await?;
    for kind in ["backfill_orders", "sync_performance", "sync_listings", "sync_participations"] {
        system.enqueue(kind, &seller.id)?;
    }
    system.enqueue("subscribe_notifications", &seller.id)?;
    system.enqueue_for_all("receive_notifications")?;
    system.enqueue_for_all("watch_authorisations")?;
    by_the_clock(system, &seller, 0)?;
    processes.push(system.scheduler()?);
    for _ in 0..options.workers {
        processes.push(system.worker()?);
    }
    tokio::time::sleep(BURSTS_USED_AFTER).await;

    let from = SystemClock.now();
    let lasts = TimeDelta::nanoseconds((options.hours * 3.6e12 / options.speed) as i64);
    say(&format!("the {} hours of quota that count last {} seconds", options.hours, lasts.num_seconds()));
    let busy = Processors::now()?;
    let contention = watch(options, system, &seller, (from, from + lasts)).await?;
    let idle = Processors::now()?.idle_since(&busy);
    // A call after the end shows how long the last interval was.
    tokio::time::sleep(after_the_end(options.speed)).await;
    let calls = measure::calls_since(&system.amazon, stored_until).await?;
    let told = serde_json::to_vec(&calls)?;
    std::fs::write(folder.join("calls.json"), told).context("writing the calls down")?;
    let (summary, kinds) = (system.amazon.summary().await?, ledger::kinds(&system.pool).await?);
    Ok(Verdict::of(options, (from, from + lasts), &calls, &contention, idle, &summary, kinds))
}

/// A little more than the longest interval between two calls that are measured: that of `searchOrders`.
fn after_the_end(speed: f64) -> Duration {
    Duration::from_secs_f64(1.2 / (0.0056 * speed)).min(Duration::from_secs(30))
}

/// Connects a seller and stores its orders, where quota is plenty; then forgets the rates that were told.
async fn store_everything(
    options: &Options,
    system: &mut System,
    processes: &mut Vec<Process>,
) -> anyhow::Result<ConnectedSeller> {
    system.amzigo(&["migrate", "--json"])?;
    say(&format!("storing {} orders of one seller, where quota is plenty", options.orders));
    let orders = usize::try_from(options.orders)?;
    let seeded = system.amazon.seed(&Seed { sellers: 1, orders, seed: 3, region: Region::Na }).await?;
    let seller = system.connect(&seeded)?.pop().context("a seller was seeded")?;
    quiet::start_quiet(&system.pool).await?;
    let requests =
        ["sync", "--kind", "plan_review_requests", "--reason", "orders are stored first", "--json"];
    system.amzigo(&[&["pause"], &requests[..]].concat())?;
    processes.extend([system.scheduler()?, system.worker()?]);
    let synced = system.enqueue("sync_orders", &seller.id)?;
    let end = Instant::now() + STORED_WITHIN;
    loop {
        let done: bool = sqlx::query_scalar("select state = 'done' from jobs where id = $1::uuid")
            .bind(&synced)
            .fetch_one(&system.pool)
            .await?;
        if done {
            break;
        }
        ensure!(Instant::now() < end, "the orders are not stored within {} s", STORED_WITHIN.as_secs());
        tokio::time::sleep(LOOK).await;
    }
    for process in processes.drain(..) {
        process.stop()?;
    }
    // At this speed every bucket that matters here fills within a second.
    tokio::time::sleep(BUCKETS_FULL_AFTER).await;
    system.amzigo(&[&["resume"], &requests[..]].concat())?;
    system.delete_keys().await?;
    system.set("AMZIGO_PREFIX", &format!("usage-{}", Uuid::new_v4().simple()));
    Ok(seller)
}

/// What the schedules ask for, a quarter of an hour after the other.
fn by_the_clock(system: &System, seller: &ConnectedSeller, quarter: u32) -> anyhow::Result<()> {
    for kind in ["sync_orders", "plan_review_requests"] {
        system.enqueue(kind, &seller.id)?;
    }
    if quarter.is_multiple_of(2) {
        system.enqueue("sync_inventory", &seller.id)?;
    }
    Ok(())
}

/// Lets the clock go on until the end, and looks at which work waits all the time.
async fn watch(
    options: &Options,
    system: &System,
    seller: &ConnectedSeller,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> anyhow::Result<Contention> {
    let mut contention = Contention::default();
    let mut quarter = 0;
    while SystemClock.now() < until {
        let passed = (SystemClock.now() - from).as_seconds_f64() * options.speed / 900.0;
        if passed > f64::from(quarter + 1) {
            quarter += 1;
            by_the_clock(system, seller, quarter)?;
        }
        for (operation, waits) in CONTENDED {
            let waits: bool = sqlx::query_scalar(waits).fetch_one(&system.pool).await?;
            contention.note(operation, waits);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(contention)
}

fn say(what: &str) {
    eprintln!("usage: {what}");
}
