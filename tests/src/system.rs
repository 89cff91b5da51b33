//! The whole system on this host: sandbox, schedulers, workers, console, each a real process with a database and a Redis
//! prefix of its own.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context, ensure};
use sandbox::{Seeded, SeededSeller};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::{
    amazon::Amazon,
    ledger,
    process::{self, Environment, Process},
};

/// Where a system's data are, and how fast its Amazon is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A migrated database of its own.
    pub database_url: String,
    /// A Redis server.
    pub redis_url: String,
    /// Folder for logs.
    pub folder: PathBuf,
    /// How much faster than Amazon's the sandbox's quota refills.
    pub speed: f64,
}

/// A running system.
#[derive(Debug)]
pub struct System {
    /// Connections to its database.
    pub pool: PgPool,
    /// The control of its Amazon.
    pub amazon: Amazon,
    plan: Plan,
    environment: Environment,
    started: usize,
    _sandbox: Process,
}

/// A seller that is connected.
#[derive(Debug, Clone)]
pub struct ConnectedSeller {
    /// Our id.
    pub id: String,
    /// Amazon's id.
    pub selling_partner_id: String,
}

impl System {
    /// Starts the sandbox and prepares the settings of everything else.
    ///
    /// # Errors
    /// When the sandbox does not come up.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.folder)
            .with_context(|| format!("making the folder {}", plan.folder.display()))?;
        let speed = plan.speed.to_string();
        let nothing = Environment::new();
        let sandbox = Process::start("sandbox", "sandbox", &["--speed", &speed], &nothing, &plan.folder)?;
        let amazon = Amazon::at(sandbox.address("address")?)?;
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(20))
            .connect_lazy(&plan.database_url)?;
        let mut system =
            Self { pool, amazon, environment: Environment::new(), started: 0, _sandbox: sandbox, plan };
        let key = system.amzigo(&["new-key", "--json"])?;
        let key =
            key["AMZIGO_KEYS"].as_str().context("`amzigo new-key --json` said no AMZIGO_KEYS")?.to_owned();
        let base = system.amazon.base_url().to_owned();
        system.environment = Environment::from([
            ("DATABASE_URL".into(), system.plan.database_url.clone()),
            ("REDIS_URL".into(), system.plan.redis_url.clone()),
            ("AMZIGO_PREFIX".into(), format!("system-{}", Uuid::new_v4().simple())),
            ("AMZIGO_KEYS".into(), key),
            ("AMZIGO_LOG".into(), "info,queue=debug,scheduler=debug".into()),
            ("AMZIGO_GRACE_SECONDS".into(), "10".into()),
            ("LWA_CLIENT_ID".into(), "not seeded".into()),
            ("LWA_CLIENT_SECRET".into(), "not seeded".into()),
            ("LWA_ENDPOINT".into(), format!("{base}/auth/o2/token")),
            ("AMZIGO_SQS_QUEUE_URL".into(), format!("{base}/000000000000/amzigo-notifications")),
            ("AMZIGO_SQS_ENDPOINT".into(), base.clone()),
            ("SP_API_ENDPOINT".into(), base),
            ("SP_API_TIMEOUT_SECONDS".into(), "3".into()),
            ("USER".into(), "system".into()),
        ]);
        Ok(system)
    }

    /// Sets a variable for the processes that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// The environment of the processes that are started from now on.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Prefix of its keys in Redis.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.environment.get("AMZIGO_PREFIX").map_or("", String::as_str)
    }

    /// Runs an `amzigo` command that must succeed, and reads what it prints as JSON.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn amzigo(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.amzigo_with(arguments, "")
    }

    /// As [`System::amzigo`], with standard input.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn amzigo_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<Value> {
        let output = self.try_amzigo(arguments, input)?;
        ensure!(
            output.status.success(),
            "amzigo {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("reading what `{}` said", arguments.join(" ")))
    }

    /// Runs an `amzigo` command that may fail.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_amzigo(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        process::run("amzigo", arguments, &self.environment, input)
    }

    /// Connects sellers as staff would, and learns our application's credentials.
    ///
    /// # Errors
    /// When a seller cannot be connected.
    pub fn connect(&mut self, seeded: &Seeded) -> anyhow::Result<Vec<ConnectedSeller>> {
        self.set("LWA_CLIENT_ID", &seeded.client_id);
        self.set("LWA_CLIENT_SECRET", &seeded.client_secret);
        seeded.sellers.iter().map(|seller| self.connect_seller(seller, &seller.refresh_token)).collect()
    }

    /// Connects one seller as staff would, or renews its authorisation.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn connect_seller(
        &self,
        seller: &SeededSeller,
        refresh_token: &str,
    ) -> anyhow::Result<ConnectedSeller> {
        let region = json!(seller.region);
        let region = region.as_str().unwrap_or_default().to_lowercase();
        let mut arguments = vec![
            "sellers",
            "connect",
            "--selling-partner-id",
            &seller.selling_partner_id,
            "--region",
            &region,
            "--refresh-token-stdin",
            "--reason",
            "a seller of the sandbox",
            "--json",
        ];
        for marketplace in &seller.marketplace_ids {
            arguments.extend(["--marketplace", marketplace]);
        }
        let answer = self.amzigo_with(&arguments, refresh_token)?;
        let id = answer["id"].as_str().context("`amzigo sellers connect` said no id")?.to_owned();
        Ok(ConnectedSeller { id, selling_partner_id: seller.selling_partner_id.clone() })
    }

    /// Enqueues a job as staff would. Returns its id.
    ///
    /// # Errors
    /// When it is refused.
    pub fn enqueue(&self, kind: &str, seller: &str) -> anyhow::Result<String> {
        let answer = self.amzigo(&["enqueue", kind, "--seller", seller, "--json"])?;
        Ok(answer["id"].as_str().context("`amzigo enqueue` said no id")?.to_owned())
    }

    /// Enqueues a job that is for no seller, as staff would. Returns its id.
    ///
    /// # Errors
    /// When it is refused.
    pub fn enqueue_for_all(&self, kind: &str) -> anyhow::Result<String> {
        let answer = self.amzigo(&["enqueue", kind, "--payload", "{}", "--json"])?;
        Ok(answer["id"].as_str().context("`amzigo enqueue` said no id")?.to_owned())
    }

    /// Cancels the syncs of orders that wait for some minutes after a notice, as staff would who have just synced them.
    ///
    /// # Errors
    /// When a command fails.
    pub fn cancel_syncs_after_notices(&self) -> anyhow::Result<()> {
        let said = self.amzigo(&["jobs", "--kind", "sync_orders", "--state", "delayed", "--json"])?;
        for job in said["jobs"].as_array().into_iter().flatten() {
            let id = job["id"].as_str().context("`amzigo jobs` said no id")?;
            self.amzigo(&["jobs", "cancel", id, "--reason", "the orders were just synced", "--json"])?;
        }
        Ok(())
    }

    fn name(&mut self, program: &str) -> String {
        self.started += 1;
        format!("{}-{program}", self.started)
    }

    /// Starts a scheduler.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn scheduler(&mut self) -> anyhow::Result<Process> {
        let name = self.name("scheduler");
        Process::start(&name, "scheduler", &[], &self.environment, &self.plan.folder)
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn worker(&mut self) -> anyhow::Result<Process> {
        let name = self.name("worker");
        Process::start(&name, "worker", &[], &self.environment, &self.plan.folder)
    }

    /// Starts the console where it is told to listen, with a link that signs in (`console::Reader` follows it).
    ///
    /// # Errors
    /// When it does not come up.
    pub fn console(&mut self, listen: &str) -> anyhow::Result<Process> {
        let name = self.name("console");
        let arguments = ["serve", "--demo", "--listen", listen, "--api-listen", "127.0.0.1:0"];
        Process::start(&name, "amzigo", &arguments, &self.environment, &self.plan.folder)
    }

    /// Waits until no job is unfinished.
    ///
    /// # Errors
    /// When that takes longer than `limit`; the error shows what is left.
    pub async fn until_quiet(&self, limit: Duration) -> anyhow::Result<()> {
        until(limit, "no job is unfinished", async || Ok(ledger::jobs(&self.pool).await?.unfinished == 0))
            .await
            .with_context(|| format!("see the logs in {}", self.plan.folder.display()))
    }

    /// Everything that any process of the system has logged so far.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn logs(&self) -> anyhow::Result<String> {
        logs_of(&self.plan.folder)
    }

    /// Forgets its keys in Redis.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn delete_keys(&self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.plan.redis_url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{{{}:*", self.prefix()))
                .arg("COUNT")
                .arg(1_000)
                .query_async(&mut connection)
                .await?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).exec_async(&mut connection).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

fn logs_of(folder: &Path) -> anyhow::Result<String> {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            all.push_str(&String::from_utf8_lossy(&std::fs::read(&path)?));
        }
    }
    Ok(all)
}

/// Looks at a condition until it holds.
///
/// # Errors
/// When it does not hold within `limit`, or looking fails the last time.
pub async fn until(
    limit: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        // A database that is being restarted does not answer; that is no reason to stop looking.
        let last = holds().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            return match last {
                Err(error) => Err(error.context(format!("waiting until {what}"))),
                Ok(_) => anyhow::bail!("not within {} s: {what}", limit.as_secs()),
            };
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
