//! Every operation of the API, asked in every way that its own document allows and in many that it forbids, by a fuzzer that
//! others wrote (schemathesis): against a real console with a key, beside a scheduler and a worker that run what is enqueued.
//!
//! It must never answer 5xx, nor with a status, a header, a media type or a body that the document does not have; must not refuse
//! as misformed what the document allows, nor take what it forbids; and must not answer without a key. The same seed asks much the same, as far as time allows.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    database::Database,
    process::interrupted,
    system::{Plan, System},
};

/// Fuzzes the API. Needs REDIS_URL, DATABASE_URL and TEST_PYTHON; `cargo xtask fuzz` sets them.
///
/// Says on stderr what happens. Prints one line of JSON; exit code 0 only if every answer was as the document says.
#[derive(Debug, Parser)]
#[command(version, after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --minutes 60 --seed 7")]
pub struct Options {
    /// How many minutes the fuzzer may take; it repeats itself with other data until they are over.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,
    /// Which data.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// The Python that has schemathesis.
    #[arg(long, env = "TEST_PYTHON")]
    python: PathBuf,
    /// Postgres server on which a database for this run may be made.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Redis server.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
}

/// Everything that a key can be allowed.
const SCOPES: [&str; 5] = ["enqueue", "read", "cancel", "batches", "schedules"];
/// More requests a second than the fuzzer sends: what it is to find is not the limit.
const PLENTY: &str = "10000";

/// How long and with which data the API is asked.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Longest time, in seconds.
    pub seconds: u32,
    /// Most data for each operation.
    pub examples: u32,
    /// Which data.
    pub seed: u32,
}

/// What the fuzzer found.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether every answer was right.
    pub ok: bool,
    /// Operations that the document has.
    pub operations: u64,
    /// Operations that were asked.
    pub tested: u64,
    /// How often they were asked.
    pub cases: u64,
    /// What the fuzzer said, in words.
    #[serde(skip)]
    pub said: String,
}

/// Runs it. True when every answer was right, or a signal ended it.
///
/// # Errors
/// When something cannot be started.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let database = Database::make(&options.database_url, "fuzz").await?;
    let outcome = with_database(&options, database.url()).await;
    // The database is dropped whatever became of the run.
    let dropped = database.drop_it().await;
    let verdict = outcome?;
    dropped?;
    let Some(verdict) = verdict else { return Ok(true) };
    eprintln!("{}", verdict.said);
    println!("{}", serde_json::to_string(&verdict)?);
    Ok(verdict.ok)
}

async fn with_database(options: &Options, database_url: &str) -> anyhow::Result<Option<Verdict>> {
    let folder = PathBuf::from("target/fuzz").join(Uuid::new_v4().simple().to_string());
    let mut system = System::start(Plan {
        database_url: database_url.to_owned(),
        redis_url: options.redis_url.clone(),
        folder: folder.clone(),
        speed: 600.0,
    })
    .await?;
    system.amzigo(&["migrate", "--json"])?;
    eprintln!("fuzzing for {} min; logs are in {}", options.minutes, folder.display());
    let extent = Extent { seconds: options.minutes * 60, examples: 1_000, seed: options.seed };
    let verdict = tokio::select! {
        verdict = fuzz(&mut system, &options.python, &folder, extent) => Some(verdict?),
        signal = interrupted() => signal.map(|()| None)?,
    };
    system.pool.close().await;
    system.delete_keys().await.context("deleting the run's keys")?;
    if verdict.as_ref().is_none_or(|verdict| verdict.ok) {
        std::fs::remove_dir_all(&folder).context("removing the logs")?;
    }
    Ok(verdict)
}

/// Starts a scheduler, a worker and a console on a migrated database, asks the API, and stops them. The fuzzer's report stays in
/// `folder`.
///
/// # Errors
/// When a process cannot be started, has ended by itself, or the fuzzer did not come to a verdict.
pub async fn fuzz(
    system: &mut System,
    python: &Path,
    folder: &Path,
    extent: Extent,
) -> anyhow::Result<Verdict> {
    let scheduler = system.scheduler()?;
    let worker = system.worker()?;
    let mut console = system.console("127.0.0.1:0")?;
    let api = console.address("api")?.to_owned();
    let mut create = vec!["keys", "create", "the.fuzzer", "--rate", PLENTY, "--burst", PLENTY];
    create.extend(["--reason", "asks everything", "--json"]);
    create.extend(SCOPES.iter().flat_map(|scope| ["--scope", scope]));
    let key = system.amzigo(&create)?;
    let key = key["key"].as_str().context("`amzigo keys create` said no key")?;

    // It leaves things where it is started.
    let folder = folder.canonicalize().with_context(|| format!("looking up {}", folder.display()))?;
    // Not to where its links lead: the environment is where the link is.
    let python = std::path::absolute(python).context("looking up Python")?;
    let report = folder.join("fuzz.json");
    let output = Command::new(python)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/schemathesis.toml"))
        .args(["run", &format!("{api}/v1/openapi.json"), "--report", "json", "--report-json-path"])
        .arg(&report)
        .args(["--seed", &extent.seed.to_string(), "--max-time", &extent.seconds.to_string()])
        .args(["--max-examples", &extent.examples.to_string()])
        .current_dir(&folder)
        .env("AMZIGO_KEY", key)
        // A proxy of the machine's has no business on loopback.
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("starting schemathesis")?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(console.ended().is_none(), "the console has ended; the end of its log:\n{}", console.log());
    let summary = std::fs::read_to_string(&report)
        .with_context(|| format!("the fuzzer left no report:\n{said}"))
        .and_then(|text| Ok(serde_json::from_str::<Value>(&text)?))?;
    for process in [console, worker, scheduler] {
        process.stop()?;
    }
    let count = |path: &str| summary.pointer(path).and_then(Value::as_u64);
    Ok(Verdict {
        ok: output.status.success(),
        operations: count("/operations/selected").context("the report has no operations")?,
        tested: count("/operations/tested").context("the report has no tested operations")?,
        cases: count("/test_cases/generated").context("the report has no cases")?,
        said,
    })
}
