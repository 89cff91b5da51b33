//! The README's examples of enqueueing, each run as it stands there, against a real API, a real key and a real database.
//!
//! Each is run twice: the job it names is in the ledger, and the second time it names the same one.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use jobs::catalog::CATALOG;
use queue::kinds;
use runtime::{
    postgres::newest_migration,
    testing::{TestDatabase, TestRedis},
};
use sqlx::PgPool;
use tests::process::{self, Environment, Process};
use uuid::Uuid;
use xtask::{process::on_path, services::postgres_program, tools::Tool};

use crate::tools::found;

/// A console that serves the API, and a key for it.
struct Served {
    database: TestDatabase,
    api: String,
    key: String,
    folder: PathBuf,
    _redis: TestRedis,
    _console: Process,
}

impl Served {
    async fn start(test: &str) -> anyhow::Result<Self> {
        let (database, redis) = (TestDatabase::new().await, TestRedis::new().await);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("examples-{test}"));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let mut environment = Environment::from([
            ("DATABASE_URL".to_owned(), database.url.clone()),
            ("REDIS_URL".to_owned(), redis.url.clone()),
            ("AMZIGO_PREFIX".to_owned(), redis.redis.prefix().to_owned()),
        ]);
        let keys = json(&process::run("amzigo", &["new-key", "--json"], &environment, "")?)?;
        environment.insert("AMZIGO_KEYS".to_owned(), text(&keys, "AMZIGO_KEYS")?);
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"];
        let console = Process::start("console", "amzigo", &arguments, &environment, &folder)?;
        let create = [
            "keys",
            "create",
            "platform.example",
            "--scope",
            "enqueue",
            "--as",
            "tests",
            "--reason",
            "an example",
            "--json",
        ];
        let key = json(&process::run("amzigo", &create, &environment, "")?)?;
        Ok(Self {
            api: console.address("api")?.to_owned(),
            key: text(&key, "key")?,
            database,
            folder,
            _redis: redis,
            _console: console,
        })
    }

    /// Runs an example twice for a seller of its own, and finds the job it named.
    async fn names_a_job(&self, cause: &str, example: impl Fn(&str) -> Command) -> anyhow::Result<()> {
        let seller = Uuid::now_v7().to_string();
        let mut named = BTreeSet::new();
        for _ in 0..2 {
            let mut command = example(&seller);
            command.env("AMZIGO_API", &self.api).env("AMZIGO_API_KEY", &self.key).env("SELLER", &seller);
            command.env("DATABASE_URL", &self.database.url);
            let ended = command.output().with_context(|| format!("starting {command:?}"))?;
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            ensure!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
            named.extend(ids(&said));
        }
        named.remove(&seller);
        ensure!(named.len() == 1, "twice the same job, and no other: {named:?}");
        let job = row(&self.database.pool, named.first().context("one")?).await?;
        ensure!(job == ("sync_orders".to_owned(), seller, cause.to_owned()), "{job:?}");
        Ok(())
    }
}

/// Kind, seller and door of a job in the ledger.
async fn row(pool: &PgPool, id: &str) -> anyhow::Result<(String, String, String)> {
    sqlx::query_as(
        "select kind, payload ->> 'seller', split_part(cause, ':', 1) from jobs where id = $1::uuid and state = 'ready'",
    )
    .bind(id)
    .fetch_one(pool)
    .await
    .with_context(|| format!("looking for job {id}"))
}

/// The ids in a text.
fn ids(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_ascii_hexdigit() || c == '-'))
        .filter(|word| Uuid::try_parse(word).is_ok())
        .map(str::to_owned)
}

fn json(output: &std::process::Output) -> anyhow::Result<serde_json::Value> {
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(value: &serde_json::Value, field: &str) -> anyhow::Result<String> {
    Ok(value[field].as_str().with_context(|| format!("no {field}"))?.to_owned())
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../jobs/examples").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl() -> anyhow::Result<()> {
    if found("the README's example for curl", [Tool::Curl]).is_none() {
        return Ok(());
    }
    let served = Served::start("curl").await?;
    let run = |_: &str| {
        let mut command = Command::new("sh");
        command.arg(example("enqueue.sh"));
        command
    };
    served.names_a_job("api", run).await
}

#[tokio::test]
async fn sql() -> anyhow::Result<()> {
    let served = Served::start("sql").await?;
    let mut connection = served.database.pool.acquire().await?;
    kinds::write(&mut connection, &CATALOG, newest_migration()).await?;
    let psql = postgres_program("psql").or_else(|| on_path("psql")).context("psql is missing")?;
    let run = |seller: &str| {
        let mut command = Command::new(&psql);
        command.arg("--no-psqlrc").arg(&served.database.url).arg("--set").arg(format!("seller={seller}"));
        command.args(["--set", "ON_ERROR_STOP=1", "--file"]).arg(example("enqueue.sql"));
        command
    };
    served.names_a_job("sql", run).await
}

#[tokio::test]
async fn rust() -> anyhow::Result<()> {
    let served = Served::start("rust").await?;
    // Built with the workspace's tests, beside its programs.
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).context("a test lies in the build's folder")?;
    let program = folder.join("examples/enqueue");
    ensure!(program.is_file(), "the example is not built; run `cargo build --package jobs --examples` first");
    let run = |seller: &str| {
        let mut command = Command::new(&program);
        command.arg(seller);
        command
    };
    served.names_a_job("rust", run).await
}

#[tokio::test]
async fn python() -> anyhow::Result<()> {
    let Some([python]) = found("the README's example for Python", [Tool::Python]) else { return Ok(()) };
    let served = Served::start("python").await?;
    let run = |_: &str| {
        let mut command = Command::new(&python);
        command.arg(example("enqueue.py"));
        command
    };
    served.names_a_job("api", run).await
}

#[tokio::test]
async fn typescript() -> anyhow::Result<()> {
    let Some([node, packages]) =
        found("the README's example for TypeScript", [Tool::Node, Tool::NodePackages])
    else {
        return Ok(());
    };
    let served = Served::start("typescript").await?;
    let compiled = Command::new(&node)
        .arg(packages.join("typescript/bin/tsc"))
        .args(["--strict", "--target", "es2022", "--module", "commonjs", "--types", "node", "--typeRoots"])
        .arg(packages.join("@types"))
        .arg("--outDir")
        .arg(&served.folder)
        .arg(example("enqueue.ts"))
        .output()?;
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
    let run = |_: &str| {
        let mut command = Command::new(&node);
        command.arg(served.folder.join("enqueue.js"));
        command
    };
    served.names_a_job("api", run).await
}

#[test]
fn ids_are_found_in_what_programs_say() {
    let said = "New(JobId(0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10)) {\"id\":\"0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11\"} bad";
    let found: Vec<_> = ids(said).collect();
    assert_eq!(found, ["0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11"]);
}
