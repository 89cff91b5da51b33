//! Every kind of job, end to end, on a database of its own that is dropped at the end: sellers connect to a stand-in for
//! Amazon, everything about them is copied and their reviews are requested, things change, and one seller leaves; by one
//! scheduler and two workers, while the console shows it.

mod acts;
mod progress;
mod verdict;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Parser;
use sandbox::{OrderChanges, ProductChanges, Region, Seed};
use tokio::time::Instant;
use uuid::Uuid;

use self::{
    acts::{Acts, Cast},
    progress::Progress,
    verdict::Verdict,
};
use crate::{
    database::Database,
    process::{Process, interrupted},
    quiet,
    system::{Plan, System},
};

/// Runs Amzigo's jobs against a stand-in for Amazon. Needs REDIS_URL and DATABASE_URL; `cargo xtask demo` sets them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --check --sellers 10 --orders 5000"
)]
pub struct Options {
    /// Run to the end without a terminal, compare both sides, print one JSON line last; exit code 0 when they agree.
    #[arg(long)]
    check: bool,
    /// How many sellers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sellers: u32,
    /// How many orders in all; they are spread unevenly over the sellers. Beside them, one seller comes and leaves.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    orders: u32,
    /// How much faster than Amazon's the stand-in's quota refills (its calendar runs as ours). Default: 600 with --check, else 120.
    #[arg(long, value_parser = positive)]
    speed: Option<f64>,
    /// Port of the console; 0 picks a free one. Default: 8480, or a free one with --check.
    #[arg(long)]
    port: Option<u16>,
    /// Longest time for the work itself, in seconds, with --check.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Postgres server on which a database for this run may be made.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Redis server.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
}

/// Orders of the seller who leaves.
const ORDERS_OF_ONE_WHO_LEAVES: usize = 40;

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

/// Runs the demo. True when both sides agree, or the demo was ended by a signal.
///
/// # Errors
/// When something cannot be started.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let database = Database::make(&options.database_url, "demo").await?;
    let outcome = with_database(&options, database.url()).await;
    // The database is dropped whatever became of the demo.
    let dropped = database.drop_it().await;
    let verdict = outcome?;
    dropped?;
    let Some(verdict) = verdict else { return Ok(true) };
    if options.check {
        // The last thing that is said: nothing of this run is left by now.
        println!("{}", serde_json::to_string(&verdict)?);
    }
    Ok(verdict.ok)
}

/// The verdict of a demo that came to its end; `None` when a signal ended it.
async fn with_database(options: &Options, database_url: &str) -> anyhow::Result<Option<Verdict>> {
    let folder = PathBuf::from("target/demo").join(Uuid::new_v4().simple().to_string());
    say(&format!("logs are in {}", folder.display()));
    let speed = options.speed.unwrap_or(if options.check { 600.0 } else { 120.0 });
    let mut system = System::start(Plan {
        database_url: database_url.to_owned(),
        redis_url: options.redis_url.clone(),
        folder: folder.clone(),
        speed,
    })
    .await?;
    let mut processes = Vec::new();
    let outcome = tokio::select! {
        outcome = play(options, &mut system, &mut processes) => outcome,
        signal = interrupted() => signal.map(|()| None),
    };
    say("stopping everything that was started");
    for process in processes {
        process.stop()?;
    }
    system.pool.close().await;
    system.delete_keys().await.context("deleting the demo's keys")?;
    if outcome.as_ref().is_ok_and(|verdict| verdict.as_ref().is_none_or(|verdict| verdict.ok)) {
        std::fs::remove_dir_all(&folder).context("removing the logs")?;
    }
    outcome
}

async fn play(
    options: &Options,
    system: &mut System,
    processes: &mut Vec<Process>,
) -> anyhow::Result<Option<Verdict>> {
    let cast = start_all(options, system, processes).await?;
    let started = Instant::now();
    let limit = Duration::from_secs(if options.check { options.limit } else { u64::MAX / 4 });
    let mut acts = Acts { system, cast: &cast, started, limit, progress: Progress::new(&cast.console) };
    let finished = acts.play().await;
    let seconds = started.elapsed().as_secs_f64();
    let mut verdict = verdict::compare(system, &cast, seconds).await?;
    if let Err(error) = finished {
        verdict.fail(format!("{error:#}"));
    }
    if options.check {
        return Ok(Some(verdict));
    }
    if !verdict.ok {
        bail!("the two sides do not agree: {}", verdict.differences.join("; "));
    }
    say(&format!("done in {seconds:.1} s; both sides agree on {}", verdict.in_words()));
    say(&format!("it goes on with changes now: look at {} and press Ctrl-C to stop", cast.console));
    go_on(system, &cast).await
}

async fn start_all(
    options: &Options,
    system: &mut System,
    processes: &mut Vec<Process>,
) -> anyhow::Result<Cast> {
    say("migrating the database");
    system.amzigo(&["migrate", "--json"])?;
    // What happens is told in acts; a tick in between would belong to none.
    quiet::pause_schedules(&system.pool).await?;
    say(&format!(
        "seeding {} sellers and {} orders, and one who will leave",
        options.sellers, options.orders
    ));
    let seed = Seed {
        sellers: usize::try_from(options.sellers)?,
        orders: usize::try_from(options.orders)?,
        seed: 0,
        region: Region::default(),
    };
    let seeded = system.amazon.seed(&seed).await?;
    let leaves =
        system.amazon.seed(&Seed { sellers: 1, orders: ORDERS_OF_ONE_WHO_LEAVES, seed: 1, ..seed }).await?;
    say("connecting the sellers, which asks for their first syncs");
    let sellers = system.connect(&seeded)?;
    let leaver = system.connect(&leaves)?.pop().context("a seller was seeded")?;
    say("starting one scheduler, two workers and the console");
    let port = options.port.unwrap_or(if options.check { 0 } else { 8480 });
    let console = match system.console(&format!("127.0.0.1:{port}")) {
        // Somebody else has the usual port; any other will do unless it was asked for.
        Err(_) if options.port.is_none() => system.console("127.0.0.1:0")?,
        started => started?,
    };
    let address = console.address("open")?.to_owned();
    say(&format!("open {} (it signs you in, once; afterwards {address})", console.address("sign_in")?));
    processes.push(console);
    processes.push(system.scheduler()?);
    processes.push(system.worker()?);
    processes.push(system.worker()?);
    Ok(Cast { console: address, sellers, leaver })
}

/// Orders and products change, and the system follows by its schedules and Amazon's notices, until a signal ends it.
async fn go_on(system: &System, cast: &Cast) -> anyhow::Result<Option<Verdict>> {
    sqlx::query("update schedules set paused_at = null").execute(&system.pool).await?;
    let mut progress = Progress::new(&cast.console);
    let started = Instant::now();
    for round in 0_usize.. {
        let seller = &cast.sellers[round % cast.sellers.len()];
        // Amazon tells changes that are over two minutes old.
        let orders = OrderChanges {
            seller: seller.selling_partner_id.clone(),
            count: 3,
            touch: 2,
            seconds_ago: 130,
            seed: u64::try_from(round)?,
        };
        system.amazon.change_orders(&orders).await?;
        let products = ProductChanges {
            seller: seller.selling_partner_id.clone(),
            count: 1,
            touch: 2,
            ..ProductChanges::default()
        };
        system.amazon.change_products(&products).await?;
        for kind in ["sync_orders", "sync_inventory", "sync_listings"] {
            system.enqueue(kind, &seller.id)?;
        }
        let next = Instant::now() + Duration::from_secs(10);
        while Instant::now() < next {
            progress.show(system, started).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(None)
}

fn say(what: &str) {
    eprintln!("demo: {what}");
}
