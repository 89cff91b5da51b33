//! The main job, end to end, on a database of its own that is dropped at the end: orders are synced and reviews requested
//! by one scheduler and two workers from a stand-in for Amazon, while the console shows it.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Parser;
use sandbox::{OrderChanges, Region, Seed, Summary};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    ledger::{self, Jobs},
    process::{Process, interrupted},
    system::{ConnectedSeller, Plan, System},
};

/// Runs Amzigo's main job against a stand-in for Amazon. Needs REDIS_URL and DATABASE_URL; `cargo xtask demo` sets them.
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
    /// How many orders in all; they are spread unevenly over the sellers.
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

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

/// What both sides say at the end.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
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
    differences: Vec<String>,
}

/// Runs the demo. True when both sides agree, or the demo was ended by a signal.
///
/// # Errors
/// When something cannot be started.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let database = Database::make(&options.database_url).await?;
    let outcome = with_database(&options, &database.url).await;
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

/// What a demo plays with.
struct Cast {
    console: String,
    sellers: Vec<ConnectedSeller>,
}

async fn play(
    options: &Options,
    system: &mut System,
    processes: &mut Vec<Process>,
) -> anyhow::Result<Option<Verdict>> {
    let cast = start_all(options, system, processes).await?;
    let started = Instant::now();
    for seller in &cast.sellers {
        system.enqueue("sync_orders", &seller.id)?;
    }
    say("each seller's orders are being synced; then reviews are requested");
    let limit = options.check.then(|| Duration::from_secs(options.limit));
    let finished = watch(system, &cast.console, started, limit).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut verdict = compare(system, seconds).await?;
    if !finished {
        verdict.ok = false;
        verdict.differences.push(format!("jobs are unfinished after {} s", options.limit));
    }
    if options.check {
        return Ok(Some(verdict));
    }
    if !verdict.ok {
        bail!("the two sides do not agree: {}", verdict.differences.join("; "));
    }
    say(&format!(
        "done in {seconds:.1} s: {} orders stored, {} reviews requested, none twice; both sides agree",
        verdict.orders_stored, verdict.review_requests_sent
    ));
    say(&format!("it goes on with new orders now: look at {} and press Ctrl-C to stop", cast.console));
    go_on(system, &cast).await
}

async fn start_all(
    options: &Options,
    system: &mut System,
    processes: &mut Vec<Process>,
) -> anyhow::Result<Cast> {
    say("migrating the database");
    system.amzigo(&["migrate", "--json"])?;
    say(&format!("seeding {} sellers and {} orders", options.sellers, options.orders));
    let seed = Seed {
        sellers: usize::try_from(options.sellers)?,
        orders: usize::try_from(options.orders)?,
        seed: 0,
        region: Region::default(),
    };
    let seeded = system.amazon.seed(&seed).await?;
    let sellers = system.connect(&seeded)?;
    say("starting one scheduler, two workers and the console");
    let port = options.port.unwrap_or(if options.check { 0 } else { 8480 });
    let console = match system.console(&format!("127.0.0.1:{port}")) {
        // Somebody else has the usual port; any other will do unless it was asked for.
        Err(_) if options.port.is_none() => system.console("127.0.0.1:0")?,
        started => started?,
    };
    let address = format!("http://{}/", console.address("address")?);
    say(&format!("the console is at {address}"));
    processes.push(console);
    processes.push(system.scheduler()?);
    processes.push(system.worker()?);
    processes.push(system.worker()?);
    Ok(Cast { console: address, sellers })
}

/// Shows how far it is until all jobs have ended. False when `limit` is over first.
async fn watch(
    system: &System,
    console: &str,
    started: Instant,
    limit: Option<Duration>,
) -> anyhow::Result<bool> {
    let mut progress = Progress::new(console);
    loop {
        let (jobs, summary) = (ledger::jobs(&system.pool).await?, system.amazon.summary().await?);
        let stored = ledger::orders_stored(&system.pool).await?;
        progress.show(started, &jobs, &summary, stored);
        if jobs.unfinished == 0 {
            progress.end();
            return Ok(true);
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            progress.end();
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// New orders come in, and the system follows, until a signal ends it.
async fn go_on(system: &System, cast: &Cast) -> anyhow::Result<Option<Verdict>> {
    let mut progress = Progress::new(&cast.console);
    let started = Instant::now();
    for round in 0_usize.. {
        let seller = &cast.sellers[round % cast.sellers.len()];
        // Amazon tells changes that are over two minutes old.
        let changes = OrderChanges {
            seller: seller.selling_partner_id.clone(),
            count: 3,
            touch: 2,
            seconds_ago: 130,
            seed: u64::try_from(round)?,
        };
        system.amazon.change_orders(&changes).await?;
        system.enqueue("sync_orders", &seller.id)?;
        let next = Instant::now() + Duration::from_secs(10);
        while Instant::now() < next {
            let (jobs, summary) = (ledger::jobs(&system.pool).await?, system.amazon.summary().await?);
            let stored = ledger::orders_stored(&system.pool).await?;
            progress.show(started, &jobs, &summary, stored);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(None)
}

/// What the system says against what the sandbox recorded: which, not only how many.
async fn compare(system: &System, seconds: f64) -> anyhow::Result<Verdict> {
    let summary = system.amazon.summary().await?;
    let orders = system.amazon.orders().await?;
    let jobs = ledger::jobs(&system.pool).await?;
    let sent = ledger::review_requests(&system.pool).await?;
    let sent: i64 = ["sent", "sent_probably"].iter().filter_map(|state| sent.get(*state)).sum();
    let checks = [
        ledger::orders_agree(&system.pool, &orders).await,
        ledger::review_requests_agree(&system.pool, &orders).await,
        ledger::all_ended(&system.pool).await,
    ];
    let mut differences: Vec<_> =
        checks.into_iter().filter_map(Result::err).map(|e| format!("{e:#}")).collect();
    if summary.duplicate_requests > 0 {
        differences.push(format!("{} review requests arrived twice", summary.duplicate_requests));
    }
    if !summary.refused.is_empty() {
        differences.push(format!("calls that are not allowed: {:?}", summary.refused));
    }
    if usize::try_from(sent).ok() != Some(summary.review_requests_sent) {
        differences
            .push(format!("we say {sent} reviews were requested, Amazon {}", summary.review_requests_sent));
    }
    Ok(Verdict {
        ok: differences.is_empty(),
        sellers: summary.sellers,
        orders_in_sandbox: summary.orders,
        orders_stored: ledger::orders_stored(&system.pool).await?,
        review_requests_eligible: summary.review_requests_eligible,
        review_requests_sent: summary.review_requests_sent,
        duplicate_requests: summary.duplicate_requests,
        throttled: summary.throttled,
        jobs_done: jobs.done,
        jobs_dead: jobs.dead,
        jobs_lost: jobs.unfinished,
        calls_to_amazon: summary.calls.values().sum(),
        seconds,
        differences,
    })
}

/// One line that is rewritten on a terminal; elsewhere a line every few seconds.
struct Progress {
    terminal: bool,
    console: String,
    shown_at: Option<Instant>,
}

impl Progress {
    fn new(console: &str) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), console: console.to_owned(), shown_at: None }
    }

    fn show(&mut self, started: Instant, jobs: &Jobs, summary: &Summary, stored: i64) {
        let line = format!(
            "{:>5.1} s   orders {stored}/{}   reviews {}/{}   jobs {} open, {} done, {} dead   429s {}",
            started.elapsed().as_secs_f64(),
            summary.orders,
            summary.review_requests_sent,
            summary.review_requests_eligible,
            jobs.unfinished,
            jobs.done,
            jobs.dead,
            summary.throttled,
        );
        if self.terminal {
            eprint!("\r\x1b[2K{line}   {}", self.console);
        } else if self.shown_at.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
            eprintln!("{line}");
            self.shown_at = Some(Instant::now());
        }
    }

    fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}

fn say(what: &str) {
    eprintln!("demo: {what}");
}

/// A database of this run's own.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    async fn make(server: &str) -> anyhow::Result<Self> {
        let name = format!("demo_{}", Uuid::new_v4().simple());
        let mut url: reqwest::Url = server.parse().context("DATABASE_URL is not a URL")?;
        url.set_path(&name);
        let database = Self { server: server.to_owned(), name, url: url.into() };
        database
            .execute(format!("create database {}", database.name))
            .await
            .context("making a database for the demo; the user in DATABASE_URL needs the right to")?;
        Ok(database)
    }

    async fn drop_it(&self) -> anyhow::Result<()> {
        self.execute(format!("drop database {} with (force)", self.name))
            .await
            .context("dropping the demo's database")
    }

    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.server).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
