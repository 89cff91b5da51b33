//! Redis and Postgres that go away in mid-run: everything unfinished comes back by itself.
//!
//! The servers are the tests' own, so that nothing else suffers. Starting and stopping one blocks the test's thread, on
//! which nothing else runs.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use queue::{
    Engine, Queue,
    controls::{self, Scope},
    keys::QueueKeys,
};
use runtime::{
    clock::{Clock, SystemClock},
    env,
    redis::Redis,
};
use sandbox::Operation;
use tests::system::until;
use tokio::time::Instant;
use xtask::services::{PostgresServer, RedisServer};

use crate::scene::{STEP, Scene, WORK, folder};

/// From Redis' return until it holds every unfinished job again.
const BACK: Duration = Duration::from_secs(30);

/// How a server goes and comes back.
enum Outage {
    /// Stopped in good order, and back at once.
    Restarted,
    /// Killed outright, and back at once.
    Crashed,
    /// Stopped, and back when a log says this.
    AwayUntilLogged(&'static str),
}

/// What can happen to Redis.
enum RedisOutage {
    /// It goes, and comes back with its data.
    Goes(Outage),
    /// It stays, and its data go.
    Flushed,
    /// It comes back with an older copy, as when a replica that was behind takes over.
    FailedOver,
}

/// Takes Redis away while one job runs, one waits and one is delayed.
async fn redis_goes(test: &str, outage: RedisOutage) -> anyhow::Result<()> {
    let folder = folder(test)?;
    let (data, older_copy) = (folder.join("redis"), folder.join("older"));
    let mut server = RedisServer::start_in(&data)?;
    let mut scene = Scene::on_redis(folder, server.url(), 3, 90).await?;
    scene.system.set("AMZIGO_WORKER_SLOTS", "sync=1");
    // The run outlives the outage, so that its lease is what it loses.
    scene.hang_after(Operation::GetSolicitationActionsForOrder, 3, Duration::from_secs(90)).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let [running, waiting, delayed] = &scene.sellers[..] else { anyhow::bail!("three sellers") };
    let mut asked = BTreeSet::from([scene.system.enqueue("sync_orders", &running.id)?]);
    scene.until_calls(Operation::GetSolicitationActionsForOrder, 4).await?;
    copy(&data, &older_copy)?;
    asked.insert(scene.system.enqueue("sync_orders", &waiting.id)?);
    let later = scene.system.amzigo(&[
        "enqueue",
        "sync_orders",
        "--seller",
        &delayed.id,
        "--delay",
        "12s",
        "--json",
    ])?;
    asked.insert(later["id"].as_str().unwrap_or_default().to_owned());
    until(WORK, "the jobs are in Redis", async || Ok(missing_in_redis(&scene).await?.is_empty())).await?;
    for state in ["running", "ready", "delayed"] {
        assert_ne!(scene.jobs_in(&[state]).await?, BTreeSet::new(), "a job was to be {state}");
    }

    match outage {
        RedisOutage::Flushed => flush(&server)?,
        RedisOutage::FailedOver => {
            server.kill_hard()?;
            std::fs::remove_dir_all(&data)?;
            copy(&older_copy, &data)?;
        }
        RedisOutage::Goes(Outage::Restarted) => server.stop()?,
        RedisOutage::Goes(Outage::Crashed) => server.kill_hard()?,
        RedisOutage::Goes(Outage::AwayUntilLogged(words)) => {
            server.stop()?;
            until_logged(&scene, words).await?;
        }
    }
    // It does nothing where the server never went.
    server.start_again()?;
    let back_at = Instant::now();
    until(WORK, "Redis holds every unfinished job", async || Ok(missing_in_redis(&scene).await?.is_empty()))
        .await?;
    let took = back_at.elapsed();
    eprintln!("{test}: Redis held every unfinished job again after {:.1} s", took.as_secs_f64());
    assert!(took <= BACK, "the jobs were back only after {took:?}");

    scene.system.amazon.clear_faults().await?;
    scene.must_end_well(&asked).await?;
    eprintln!("{test}: all work was done after {:.1} s", back_at.elapsed().as_secs_f64());
    scene.end([scheduler, worker]).await
}

/// The unfinished jobs that Redis does not hold.
async fn missing_in_redis(scene: &Scene) -> anyhow::Result<BTreeSet<String>> {
    let settings = HashMap::from([
        (env::REDIS_URL.name, scene.redis_url.clone()),
        (env::PREFIX.name, scene.system.prefix().to_owned()),
    ]);
    let engine = Engine::new(Redis::connect(&settings).await?, Arc::new(SystemClock));
    let held: BTreeSet<_> = engine.census(Queue::Sync).await?.iter().map(ToString::to_string).collect();
    let unfinished = scene.jobs_in(&["ready", "delayed", "running"]).await?;
    Ok(unfinished.difference(&held).cloned().collect())
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn flush(server: &RedisServer) -> anyhow::Result<()> {
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    Ok(redis::cmd("FLUSHALL").exec(&mut connection)?)
}

#[tokio::test]
async fn redis_flushed_in_mid_run_loses_no_job() -> anyhow::Result<()> {
    redis_goes("redis_flushed", RedisOutage::Flushed).await
}

#[tokio::test]
async fn redis_restarted_in_mid_run_loses_no_job() -> anyhow::Result<()> {
    redis_goes("redis_restarted", RedisOutage::Goes(Outage::Restarted)).await
}

#[tokio::test]
async fn redis_killed_in_mid_run_loses_no_job() -> anyhow::Result<()> {
    redis_goes("redis_killed", RedisOutage::Goes(Outage::Crashed)).await
}

/// Jobs that were enqueued since the copy was made are missing in it.
#[tokio::test]
async fn redis_failed_over_to_an_older_copy_loses_no_job() -> anyhow::Result<()> {
    redis_goes("redis_failed_over", RedisOutage::FailedOver).await
}

/// Whether a Redis was told something of a queue.
fn is_told(server: &RedisServer, prefix: &str, field: &str) -> anyhow::Result<bool> {
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    let head = QueueKeys::new(prefix, Queue::Sync).head();
    Ok(redis::cmd("HEXISTS").arg(head).arg(field).query(&mut connection)?)
}

/// The older copy knows nothing of the pause, and what its predecessor was told counts for nothing.
#[tokio::test]
async fn a_pause_holds_after_a_failover_to_an_older_copy() -> anyhow::Result<()> {
    let folder = folder("pause_failed_over")?;
    let (data, older_copy) = (folder.join("redis"), folder.join("older"));
    let mut server = RedisServer::start_in(&data)?;
    let mut scene = Scene::on_redis(folder, server.url(), 1, 10).await?;
    let scheduler = scene.system.scheduler()?;
    let prefix = scene.system.prefix().to_owned();
    until(STEP, "the queue is open", async || is_told(&server, &prefix, "open")).await?;
    copy(&data, &older_copy)?;
    let mut transaction = scene.system.pool.begin().await?;
    let now = SystemClock.now();
    controls::set_paused(&mut transaction, Queue::Sync, &Scope::Queue, true, now).await?;
    transaction.commit().await?;
    until(STEP, "the queue is paused", async || is_told(&server, &prefix, "paused")).await?;

    server.kill_hard()?;
    std::fs::remove_dir_all(&data)?;
    copy(&older_copy, &data)?;
    server.start_again()?;
    until(STEP, "the queue is paused again", async || is_told(&server, &prefix, "paused")).await?;
    scene.end([scheduler]).await
}

/// All leases look ended when it returns, although their workers live.
#[tokio::test]
async fn redis_away_for_longer_than_a_lease_loses_no_job() -> anyhow::Result<()> {
    let away = Outage::AwayUntilLogged("Redis was away for longer than a lease");
    redis_goes("redis_away", RedisOutage::Goes(away)).await
}

async fn until_logged(scene: &Scene, words: &str) -> anyhow::Result<()> {
    until(STEP, &format!("a log says: {words}"), async || Ok(scene.system.logs()?.contains(words))).await
}

/// Takes Postgres away while jobs run.
async fn postgres_goes(test: &str, outage: Outage) -> anyhow::Result<()> {
    let folder = folder(test)?;
    let mut server = PostgresServer::start_in(&folder.join("postgres"))?;
    let mut scene = Scene::on_postgres(folder, server.url(), 3, 90).await?;
    scene.hang_after(Operation::GetSolicitationActionsForOrder, 12, Duration::from_secs(8)).await?;
    let scheduler = scene.system.scheduler()?;
    let workers = [scene.system.worker()?, scene.system.worker()?];
    let asked = scene.sync_all()?;
    scene.until_calls(Operation::GetSolicitationActionsForOrder, 13).await?;
    assert_ne!(scene.jobs_in(&["running"]).await?, BTreeSet::new(), "jobs were to run");

    match outage {
        Outage::Crashed => server.kill_hard()?,
        Outage::Restarted | Outage::AwayUntilLogged(_) => server.stop()?,
    }
    // What Amazon answers now cannot be stored at once.
    scene.system.amazon.clear_faults().await?;
    if let Outage::AwayUntilLogged(words) = outage {
        until_logged(&scene, words).await?;
    }
    server.start_again()?;
    let back_at = Instant::now();
    scene.must_end_well(&asked).await?;
    eprintln!("{test}: all work was done {:.1} s after its return", back_at.elapsed().as_secs_f64());
    let [one, other] = workers;
    scene.end([scheduler, one, other]).await
}

#[tokio::test]
async fn postgres_restarted_in_mid_run_loses_no_job() -> anyhow::Result<()> {
    postgres_goes("postgres_restarted", Outage::Restarted).await
}

#[tokio::test]
async fn postgres_killed_in_mid_run_loses_no_job() -> anyhow::Result<()> {
    postgres_goes("postgres_killed", Outage::Crashed).await
}

/// Long enough that the leader gives its lead up and runs have failed.
#[tokio::test]
async fn postgres_away_until_the_lead_is_given_up_loses_no_job() -> anyhow::Result<()> {
    postgres_goes("postgres_away", Outage::AwayUntilLogged("the lead could not be renewed in time")).await
}
