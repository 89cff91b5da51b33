//! The stage of the end-to-end tests: a whole system of real processes, with sellers and orders, on a database, a Redis
//! prefix and an Amazon of its own.
//!
//! It starts quiet: no job is there that the test did not ask for, and all orders are `sync_orders`'. What a scene starts ends
//! with it, also when the test fails; its logs stay in the build's folder for whoever looks into a failure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use runtime::{
    env::{self, Environment, ProcessEnvironment},
    testing::TestDatabase,
};
use sandbox::{Fault, FaultScript, Operation, Region, Seed, Seeded};
use serde_json::Value;
use tests::{
    ledger,
    process::Process,
    quiet::start_quiet,
    system::{ConnectedSeller, Plan, System, until},
};

/// Longest time for all work to be done once nothing stands in its way.
pub(crate) const WORK: Duration = Duration::from_secs(90);
/// Longest time for a single step: a job to begin, a call to arrive.
pub(crate) const STEP: Duration = Duration::from_secs(40);

/// A system on its stage.
pub(crate) struct Scene {
    pub(crate) system: System,
    pub(crate) seeded: Seeded,
    pub(crate) sellers: Vec<ConnectedSeller>,
    pub(crate) redis_url: String,
}

/// An empty folder of this test's own, for logs and private servers.
pub(crate) fn folder(test: &str) -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

impl Scene {
    /// A scene on the servers that all tests share.
    pub(crate) async fn with(test: &str, sellers: usize, orders: usize) -> anyhow::Result<Self> {
        let redis_url = ProcessEnvironment.get(env::REDIS_URL.name).context("REDIS_URL is not set")?;
        Self::on_redis(folder(test)?, redis_url, sellers, orders).await
    }

    /// A scene whose Redis is the test's own.
    pub(crate) async fn on_redis(
        folder: PathBuf,
        redis_url: String,
        sellers: usize,
        orders: usize,
    ) -> anyhow::Result<Self> {
        let database = TestDatabase::new().await;
        let plan = Plan { database_url: database.url, redis_url, folder, speed: 600.0 };
        Self::set(plan, sellers, orders).await
    }

    /// A scene whose Postgres is the test's own, and empty.
    pub(crate) async fn on_postgres(
        folder: PathBuf,
        database_url: String,
        sellers: usize,
        orders: usize,
    ) -> anyhow::Result<Self> {
        let redis_url = ProcessEnvironment.get(env::REDIS_URL.name).context("REDIS_URL is not set")?;
        Self::set(Plan { database_url, redis_url, folder, speed: 600.0 }, sellers, orders).await
    }

    async fn set(plan: Plan, sellers: usize, orders: usize) -> anyhow::Result<Self> {
        let redis_url = plan.redis_url.clone();
        let mut system = System::start(plan).await?;
        system.amzigo(&["migrate", "--json"])?;
        let seed = Seed { sellers, orders, seed: 7, region: Region::Eu };
        let seeded = system.amazon.seed(&seed).await?;
        let sellers = system.connect(&seeded)?;
        start_quiet(&system.pool).await?;
        Ok(Self { system, seeded, sellers, redis_url })
    }

    /// Asks for a sync of every seller, as staff would. Returns the jobs.
    pub(crate) fn sync_all(&self) -> anyhow::Result<BTreeSet<String>> {
        self.sellers.iter().map(|seller| self.system.enqueue("sync_orders", &seller.id)).collect()
    }

    /// Scripts a fault.
    pub(crate) async fn fault(&self, operation: Operation, fault: Fault, times: u32) -> anyhow::Result<()> {
        self.system.amazon.script_fault(&FaultScript::new(operation, fault, times)).await
    }

    /// After `quick` calls, no call of an operation is answered until the faults are cleared: whoever makes one is surely
    /// in mid-job. Workers that are started from now on give a call up after `patience`; should its answer matter, they
    /// ask again only when it must have ended, after a little more than twice that.
    pub(crate) async fn hang_after(
        &mut self,
        operation: Operation,
        quick: u32,
        patience: Duration,
    ) -> anyhow::Result<()> {
        self.system.set("SP_API_TIMEOUT_SECONDS", &patience.as_secs().to_string());
        let mut script = FaultScript::new(operation, Fault::Hang, u32::MAX);
        script.skip = quick;
        self.system.amazon.script_fault(&script).await
    }

    /// Waits until Amazon has received so many calls of an operation.
    pub(crate) async fn until_calls(&self, operation: Operation, least: u64) -> anyhow::Result<()> {
        until(STEP, &format!("Amazon received {least} calls of {operation:?}"), async || {
            let calls = self.system.amazon.summary().await?.calls;
            Ok(calls.get(&operation).copied().unwrap_or_default() >= least)
        })
        .await
    }

    /// Puts a job into the ledger and the outbox as a program with its own SQL would, unchecked.
    pub(crate) async fn insert(&self, kind: &str, payload: &Value) -> Result<String, sqlx::Error> {
        sqlx::query_scalar(
            "with born as (
                insert into jobs (id, kind, queue, group_name, payload, cause, created_at, touched_at, due_at)
                values (gen_random_uuid(), $1, 'sync', 'somebody', $2, 'sql', now(), now(), now()) returning id
            ) insert into outbox (job_id) select id from born returning job_id::text",
        )
        .bind(kind)
        .bind(payload)
        .fetch_one(&self.system.pool)
        .await
    }

    /// The jobs in these states, by id.
    pub(crate) async fn jobs_in(&self, states: &[&str]) -> anyhow::Result<BTreeSet<String>> {
        let states: Vec<_> = states.iter().map(|state| (*state).to_owned()).collect();
        let ids: Vec<String> = sqlx::query_scalar("select id::text from jobs where state = any($1)")
            .bind(states)
            .fetch_all(&self.system.pool)
            .await?;
        Ok(ids.into_iter().collect())
    }

    /// A job's state and last error.
    pub(crate) async fn job(&self, id: &str) -> anyhow::Result<(String, Option<String>)> {
        sqlx::query_as("select state, last_error from jobs where id = $1::uuid")
            .bind(id)
            .fetch_one(&self.system.pool)
            .await
            .with_context(|| format!("job {id} is not in the ledger"))
    }

    /// Waits until a job is in this state.
    pub(crate) async fn until_job(&self, id: &str, state: &str) -> anyhow::Result<()> {
        until(STEP, &format!("job {id} is {state}"), async || Ok(self.job(id).await?.0 == state)).await
    }

    /// By job that failed: every error that is kept of it, oldest first.
    pub(crate) async fn failures(&self) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        let rows: Vec<(String, String, DateTime<Utc>)> =
            sqlx::query_as("select job_id::text, error, at from failures order by at")
                .fetch_all(&self.system.pool)
                .await?;
        let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (job, error, _) in rows {
            failures.entry(job).or_default().push(error);
        }
        Ok(failures)
    }

    /// Waits until all work is done, and checks that it was done as it must be: the jobs that were asked for ended well
    /// and once, each seller's reviews were planned, no order is missing, no request was sent twice,
    /// and nothing was called that may not be.
    pub(crate) async fn must_end_well(&self, asked: &BTreeSet<String>) -> anyhow::Result<()> {
        self.system.until_quiet(WORK).await?;
        let pool = &self.system.pool;
        let orders = self.system.amazon.orders().await?;
        ledger::orders_agree(pool, &orders).await?;
        ledger::review_requests_agree(pool, &orders).await?;
        ledger::all_ended(pool).await?;

        let summary = self.system.amazon.summary().await?;
        ensure!(summary.duplicate_requests == 0, "{} requests arrived twice", summary.duplicate_requests);
        ensure!(summary.refused.is_empty(), "calls that may not be made: {:?}", summary.refused);

        let rows: Vec<(String, String, String, String)> =
            sqlx::query_as("select id::text, kind, group_name, state from jobs").fetch_all(pool).await?;
        let synced: BTreeSet<_> = rows
            .iter()
            .filter(|(_, kind, _, state)| kind == "sync_orders" && state == "done")
            .map(|(id, ..)| id.clone())
            .collect();
        ensure!(synced == *asked, "asked for {asked:?}, done {synced:?}");
        let planned: BTreeSet<_> = rows
            .iter()
            .filter(|(_, kind, _, state)| kind == "plan_review_requests" && state == "done")
            .map(|(_, _, seller, _)| seller.clone())
            .collect();
        let sellers: BTreeSet<_> = self.sellers.iter().map(|seller| seller.id.clone()).collect();
        ensure!(planned == sellers, "reviews were planned for {planned:?} only");
        Ok(())
    }

    /// All keys of this system in Redis.
    pub(crate) async fn keys(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut connection = self.redis().await?;
        let mut keys = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, page): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{{{}:*", self.system.prefix()))
                .arg("COUNT")
                .arg(1_000)
                .query_async(&mut connection)
                .await?;
            keys.extend(page);
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }

    /// A connection to its Redis.
    pub(crate) async fn redis(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.redis_url.as_str())?.get_multiplexed_async_connection().await?)
    }

    /// Stops the processes, which must end in good order whatever they went through, and forgets what is in Redis.
    pub(crate) async fn end(self, processes: impl IntoIterator<Item = Process>) -> anyhow::Result<()> {
        for process in processes {
            process.stop()?;
        }
        self.system.delete_keys().await
    }
}
