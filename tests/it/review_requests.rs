//! A worker is killed outright at each step of a review request: for every order the buyer is asked, and only once.
//!
//! The steps are those of `send_review_request`: ask whether it is offered, note that it leaves, send it, store what came of
//! it. Real processes, a real Amazon stand-in, a Postgres in which a test can make a statement wait. Each test first proves that
//! the worker stood at the very step when it was killed.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use reqwest::Url;
use runtime::env::{self, Environment, ProcessEnvironment};
use sandbox::{Call, Fault, FaultScript, Operation};
use sqlx::{Connection, PgConnection};
use tests::{
    process::Process,
    proxy::{Proxy, Way},
    system::until,
};

use crate::scene::{STEP, Scene, WORK};

const OFFERS: Operation = Operation::GetSolicitationActionsForOrder;
const ASK_BUYER: Operation = Operation::CreateProductReviewAndSellerFeedbackSolicitation;

/// A scene in which all orders are stored and a request waits for each that may have one. Its worker reaches Postgres through
/// a proxy.
struct Stage {
    scene: Scene,
    scheduler: Process,
    proxy: Proxy,
    /// The orders whose buyers may be asked, as Amazon sees it.
    eligible: BTreeSet<String>,
}

impl Stage {
    async fn set(test: &str) -> anyhow::Result<Self> {
        let mut scene = Scene::with(test, 1, 60).await?;
        scene.system.amzigo(&[&["pause"], &REQUESTS[..]].concat())?;
        let scheduler = scene.system.scheduler()?;
        let worker = scene.system.worker()?;
        for id in scene.sync_all()? {
            scene.until_job(&id, "done").await?;
        }
        let planned = async || {
            let plans = "select count(*) from jobs where kind = 'plan_review_requests' and state = 'done'";
            Ok(sqlx::query_scalar::<_, i64>(plans).fetch_one(&scene.system.pool).await? == 1)
        };
        until(STEP, "the requests are planned", planned).await?;
        worker.stop()?;
        let orders = scene.system.amazon.orders().await?.into_values().flatten();
        let eligible: BTreeSet<_> = orders.filter(|order| order.eligible).map(|order| order.id).collect();
        ensure!(eligible.len() >= 5, "some orders were to be eligible: {eligible:?}");
        let database = ProcessEnvironment.get(env::DATABASE_URL.name).context("DATABASE_URL is not set")?;
        let server: Url = database.parse()?;
        let proxy = Proxy::before(server.port().unwrap_or(5432))?;
        Ok(Self { scene, scheduler, proxy, eligible })
    }

    /// Starts the worker that will be killed, and lets requests run.
    async fn worker(&mut self) -> anyhow::Result<Process> {
        let direct = self.scene.system.environment()["DATABASE_URL"].clone();
        let mut through: Url = direct.parse()?;
        through.set_port(Some(self.proxy.port())).ok().context("a URL with a host")?;
        self.scene.system.set("DATABASE_URL", through.as_str());
        let worker = self.scene.system.worker()?;
        self.scene.system.set("DATABASE_URL", &direct);
        self.scene.system.amzigo(&[&["resume"], &REQUESTS[..]].concat())?;
        Ok(worker)
    }

    /// Lets nobody write to the outcomes of review requests until the lock is given back.
    async fn lock_outcomes(&self) -> anyhow::Result<Lock> {
        let mut connection = PgConnection::connect(&self.scene.system.environment()["DATABASE_URL"]).await?;
        sqlx::raw_sql("begin; lock table review_requests in share mode").execute(&mut connection).await?;
        Ok(Lock { connection })
    }

    /// Lets nobody write a first note about any order until the lock is given back. Unlike a table's, this lock makes a
    /// statement wait when all of it has been received: then nobody needs to hear of it for it to be done.
    async fn hold_every_order(&self) -> anyhow::Result<Lock> {
        let mut connection = PgConnection::connect(&self.scene.system.environment()["DATABASE_URL"]).await?;
        sqlx::raw_sql(
            "begin; insert into review_requests (seller_id, order_id, state, reason, decided_at, checks)
             select seller_id, order_id, 'gone', 'a test holds it', now(), 1 from orders",
        )
        .execute(&mut connection)
        .await?;
        Ok(Lock { connection })
    }

    /// Waits until somebody waits for the lock, with a statement that begins like this.
    async fn until_waiting(&self, begins: &str) -> anyhow::Result<()> {
        until(STEP, &format!("somebody waits with `{begins}`"), async || {
            Ok(sqlx::query_scalar::<_, i64>(WAITING).bind(begins).fetch_one(&self.scene.system.pool).await?
                > 0)
        })
        .await
    }

    async fn script(&self, operation: Operation, fault: Fault, skip: u32) -> anyhow::Result<()> {
        let script = FaultScript { skip, ..FaultScript::new(operation, fault, u32::MAX) };
        self.scene.system.amazon.script_fault(&script).await
    }

    /// The calls of an operation that a fault struck.
    async fn struck(&self, operation: Operation, fault: Fault) -> anyhow::Result<Vec<Call>> {
        let calls = self.scene.system.amazon.calls(0).await?.calls.into_iter();
        Ok(calls.filter(|call| call.operation == Some(operation) && call.fault == Some(fault)).collect())
    }

    async fn until_struck(&self, operation: Operation, fault: Fault) -> anyhow::Result<()> {
        until(STEP, &format!("{fault:?} strikes {operation:?}"), async || {
            Ok(!self.struck(operation, fault).await?.is_empty())
        })
        .await
    }

    /// The orders whose buyers Amazon asked.
    async fn asked(&self) -> anyhow::Result<BTreeSet<String>> {
        let orders = self.scene.system.amazon.orders().await?.into_values().flatten();
        Ok(orders.filter(|order| order.solicited_count > 0).map(|order| order.id).collect())
    }

    /// The orders in a state here.
    async fn in_state(&self, state: &str) -> anyhow::Result<BTreeSet<String>> {
        let orders: Vec<String> = sqlx::query_scalar("select order_id from review_requests where state = $1")
            .bind(state)
            .fetch_all(&self.scene.system.pool)
            .await?;
        Ok(orders.into_iter().collect())
    }

    /// Kills the worker in mid-job, as `kill -9` does; what it was saying to Postgres ends with it. Returns the jobs that it
    /// leaves behind: those that still run when nobody is there to end them.
    async fn kill(&self, worker: Process) -> anyhow::Result<BTreeSet<String>> {
        worker.kill()?;
        // A server only notices that a client is gone when it speaks to it; a statement that waits would still be done.
        sqlx::query(TERMINATE).execute(&self.scene.system.pool).await?;
        until(STEP, "the statements of the dead worker are gone", async || {
            Ok(sqlx::query_scalar::<_, i64>(WAITING).bind("").fetch_one(&self.scene.system.pool).await? == 0)
        })
        .await?;
        let orphans = self.scene.jobs_in(&["running"]).await?;
        ensure!(!orphans.is_empty(), "the worker was to be killed in mid-job");
        Ok(orphans)
    }

    /// A second worker takes over. Every buyer who may be asked is asked once, and each job is done once.
    async fn must_end_well(mut self, orphans: &BTreeSet<String>) -> anyhow::Result<()> {
        self.scene.system.amazon.clear_faults().await?;
        self.proxy.set(Way::Open);
        let saviour = self.scene.system.worker()?;
        self.scene.system.until_quiet(WORK).await?;
        ensure!(self.asked().await? == self.eligible, "asked: {:?}", self.asked().await?);
        let summary = self.scene.system.amazon.summary().await?;
        ensure!(summary.duplicate_requests == 0, "{} buyers were asked twice", summary.duplicate_requests);
        let sent: BTreeSet<_> =
            self.in_state("sent").await?.union(&self.in_state("sent_probably").await?).cloned().collect();
        ensure!(sent == self.eligible, "stored as sent: {sent:?}");
        let jobs: Vec<(String, String)> = sqlx::query_as(
            "select payload->>'order', state from jobs where kind = 'send_review_request' order by 1",
        )
        .fetch_all(&self.scene.system.pool)
        .await?;
        let orders: BTreeSet<_> = jobs.iter().map(|(order, _)| order).collect();
        ensure!(orders.len() == jobs.len(), "an order has two jobs: {jobs:?}");
        ensure!(jobs.iter().all(|(_, state)| state == "done"), "not all are done: {jobs:?}");
        let failed: BTreeSet<_> = self.scene.failures().await?.into_keys().collect();
        ensure!(orphans.is_subset(&failed), "each lost run is on record: {orphans:?}, {failed:?}");
        self.scene.end([self.scheduler, saviour]).await
    }
}

/// A lock that a test holds.
struct Lock {
    connection: PgConnection,
}

impl Lock {
    async fn give_back(mut self) -> anyhow::Result<()> {
        sqlx::raw_sql("rollback").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}

const REQUESTS: [&str; 6] =
    ["sync", "--kind", "send_review_request", "--reason", "the stage is being set", "--json"];

/// Statements that wait for a lock on the outcomes.
const WAITING: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    and query like '%review_requests%' and position($1 in query) > 0 and pid <> pg_backend_pid()";
const TERMINATE: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
    and wait_event_type = 'Lock' and query like '%review_requests%' and pid <> pg_backend_pid()";
/// How the note begins to be told from the outcome.
const NOTE: &str = "'the request is on its way'";
const OUTCOME: &str = "coalesce($5, r.request_id)";

#[tokio::test]
async fn killed_before_the_note_while_amazon_is_asked() -> anyhow::Result<()> {
    let mut stage = Stage::set("killed_before_the_note").await?;
    stage.script(OFFERS, Fault::Hang, 0).await?;
    let worker = stage.worker().await?;
    stage.until_struck(OFFERS, Fault::Hang).await?;
    let orphans = stage.kill(worker).await?;
    assert_eq!(stage.in_state("sending").await?, BTreeSet::new(), "nothing was noted");
    stage.must_end_well(&orphans).await
}

#[tokio::test]
async fn killed_after_the_note_and_before_the_request_leaves() -> anyhow::Result<()> {
    let mut stage = Stage::set("killed_after_the_note").await?;
    let lock = stage.hold_every_order().await?;
    let worker = stage.worker().await?;
    stage.until_waiting(NOTE).await?;
    // The notes are written, and the worker does not hear of it.
    stage.proxy.set(Way::Hung);
    lock.give_back().await?;
    until(STEP, "a note is written", async || Ok(!stage.in_state("sending").await?.is_empty())).await?;
    let noted = stage.in_state("sending").await?;
    let orphans = stage.kill(worker).await?;
    assert_eq!(stage.asked().await?, BTreeSet::new(), "no request has left");
    assert!(noted.is_subset(&stage.eligible), "{noted:?}");
    stage.must_end_well(&orphans).await
}

#[tokio::test]
async fn killed_while_the_request_is_under_way() -> anyhow::Result<()> {
    let mut stage = Stage::set("killed_under_way").await?;
    stage.script(ASK_BUYER, Fault::Hang, 1).await?;
    let worker = stage.worker().await?;
    stage.until_struck(ASK_BUYER, Fault::Hang).await?;
    let orphans = stage.kill(worker).await?;
    assert!(!stage.in_state("sending").await?.is_empty(), "a note was written");
    assert!(stage.asked().await?.len() <= 1, "what hangs has had no effect");
    stage.must_end_well(&orphans).await
}

#[tokio::test]
async fn killed_when_amazon_has_done_it_and_not_answered() -> anyhow::Result<()> {
    let mut stage = Stage::set("killed_without_answer").await?;
    stage.script(ASK_BUYER, Fault::HangAfter, 1).await?;
    let worker = stage.worker().await?;
    stage.until_struck(ASK_BUYER, Fault::HangAfter).await?;
    let done = async || Ok(stage.asked().await?.len() >= 2);
    until(STEP, "a buyer is asked by a call without an answer", done).await?;
    let orphans = stage.kill(worker).await?;
    let (asked, noted) = (stage.asked().await?, stage.in_state("sending").await?);
    assert!(asked.intersection(&noted).next().is_some(), "asked {asked:?}, noted {noted:?}");
    stage.must_end_well(&orphans).await
}

#[tokio::test]
async fn killed_after_the_answer_and_before_it_is_stored() -> anyhow::Result<()> {
    let mut stage = Stage::set("killed_before_the_outcome").await?;
    let late = FaultScript { delay_ms: 1_500, ..FaultScript::new(ASK_BUYER, Fault::Slow, u32::MAX) };
    stage.scene.system.amazon.script_fault(&late).await?;
    let worker = stage.worker().await?;
    stage.until_struck(ASK_BUYER, Fault::Slow).await?;
    let lock = stage.lock_outcomes().await?;
    stage.until_waiting(OUTCOME).await?;
    let asked = stage.asked().await?;
    assert!(!asked.is_empty(), "Amazon has answered");
    let orphans = stage.kill(worker).await?;
    lock.give_back().await?;
    let noted = stage.in_state("sending").await?;
    assert!(asked.iter().any(|order| noted.contains(order)), "asked {asked:?}, noted {noted:?}");
    stage.must_end_well(&orphans).await
}
