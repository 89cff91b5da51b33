//! What faults happen to: servers of the run's own, the ways to them, and the processes of ours, each of which is started
//! again whenever it is gone, as a supervisor would.
//!
//! Everything that blocks happens on threads for that. Whatever a fault was doing when it was broken off, [`end`]
//! puts right before it stops all.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};
use uuid::Uuid;
use xtask::{
    process::signal,
    services::{PostgresServer, RedisServer},
};

use crate::{
    chaos::{
        plan::{Cast, Role, Server, Whom},
        say,
    },
    process::{Environment, Process},
    proxy::{Proxy, Way},
};

/// Between two attempts to start what did not come up.
const START_AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether a process has ended that nobody ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a worker logs when it begins, with its id.
const BEGINS: &str = "a worker begins";
/// Longest time from a worker's being up until it begins; Redis may be away just then.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// A server that can go and come back. Its methods block.
pub(super) trait Restartable: Send + 'static {
    fn stop(&mut self) -> xtask::Result<()>;
    fn kill_hard(&mut self) -> xtask::Result<()>;
    fn start_again(&mut self) -> xtask::Result<()>;
}

impl Restartable for RedisServer {
    fn stop(&mut self) -> xtask::Result<()> {
        Self::stop(self)
    }

    fn kill_hard(&mut self) -> xtask::Result<()> {
        Self::kill_hard(self)
    }

    fn start_again(&mut self) -> xtask::Result<()> {
        Self::start_again(self)
    }
}

impl Restartable for PostgresServer {
    fn stop(&mut self) -> xtask::Result<()> {
        Self::stop(self)
    }

    fn kill_hard(&mut self) -> xtask::Result<()> {
        Self::kill_hard(self)
    }

    fn start_again(&mut self) -> xtask::Result<()> {
        Self::start_again(self)
    }
}

/// The two servers and the ways to them.
pub(super) struct Servers {
    redis: Arc<Mutex<RedisServer>>,
    postgres: Arc<Mutex<PostgresServer>>,
    redis_way: Proxy,
    postgres_way: Proxy,
    redis_url: String,
    postgres_url: String,
    /// How often Redis has gone or been flushed.
    redis_losses: AtomicU64,
}

impl Servers {
    /// Starts both, with their data in `folder`.
    pub(super) async fn start(folder: PathBuf) -> anyhow::Result<Self> {
        blocking(move || {
            let redis = RedisServer::start_in(&folder.join("redis"))?;
            let postgres = PostgresServer::start_in(&folder.join("postgres"))?;
            Ok(Self {
                redis_way: Proxy::before(redis.port())?,
                postgres_way: Proxy::before(postgres.port())?,
                redis_url: redis.url(),
                postgres_url: postgres.url(),
                redis: Arc::new(Mutex::new(redis)),
                postgres: Arc::new(Mutex::new(postgres)),
                redis_losses: AtomicU64::new(0),
            })
        })
        .await
    }

    /// The way to a server.
    pub(super) fn way(&self, server: Server) -> &Proxy {
        match server {
            Server::Redis => &self.redis_way,
            Server::Postgres => &self.postgres_way,
        }
    }

    /// The URL of a server without anything in between, for whoever watches.
    pub(super) fn direct_url(&self, server: Server) -> &str {
        match server {
            Server::Redis => &self.redis_url,
            Server::Postgres => &self.postgres_url,
        }
    }

    /// The URL of a server through its proxy, for whoever plays.
    pub(super) fn url(&self, server: Server) -> anyhow::Result<String> {
        let mut url: reqwest::Url = self.direct_url(server).parse()?;
        url.set_port(Some(self.way(server).port())).ok().context("a URL without a port")?;
        Ok(url.into())
    }

    /// Takes a server away, in good order or not, for `down`.
    pub(super) async fn take_away(&self, server: Server, down: Duration, hard: bool) -> anyhow::Result<()> {
        match server {
            Server::Redis => {
                self.redis_loses();
                take_away(Arc::clone(&self.redis), down, hard).await
            }
            Server::Postgres => take_away(Arc::clone(&self.postgres), down, hard).await,
        }
    }

    /// Makes Redis forget everything.
    pub(super) async fn flush(&self) -> anyhow::Result<()> {
        let server = Arc::clone(&self.redis).lock_owned().await;
        self.redis_loses();
        blocking(move || {
            let mut connection = redis::Client::open(server.url())?.get_connection()?;
            Ok(redis::cmd("FLUSHALL").exec(&mut connection)?)
        })
        .await
        .context("FLUSHALL")
    }

    fn redis_loses(&self) {
        self.redis_losses.fetch_add(1, Ordering::Relaxed);
    }

    /// How often Redis has gone or been flushed so far.
    pub(super) fn redis_losses(&self) -> u64 {
        self.redis_losses.load(Ordering::Relaxed)
    }

    /// Everything is there and reachable.
    async fn put_right(&self) -> anyhow::Result<()> {
        self.redis_way.set(Way::Open);
        self.postgres_way.set(Way::Open);
        start_again(Arc::clone(&self.redis).lock_owned().await).await?;
        start_again(Arc::clone(&self.postgres).lock_owned().await).await
    }
}

async fn take_away<S: Restartable>(server: Arc<Mutex<S>>, down: Duration, hard: bool) -> anyhow::Result<()> {
    let mut server = server.lock_owned().await;
    let server = blocking(move || {
        if hard {
            server.kill_hard()?
        } else {
            server.stop()?
        }
        Ok(server)
    })
    .await?;
    tokio::time::sleep(down).await;
    start_again(server).await
}

async fn start_again<S: Restartable>(mut server: OwnedMutexGuard<S>) -> anyhow::Result<()> {
    blocking(move || Ok(server.start_again()?)).await
}

/// The processes of ours.
pub(super) struct Crew {
    places: Vec<Place>,
    environment: Environment,
    folder: PathBuf,
    ended_unasked: AtomicU64,
}

/// A place that one process after another takes.
struct Place {
    whom: Whom,
    process: Mutex<Option<Process>>,
    starts: AtomicUsize,
}

impl Crew {
    pub(super) fn new(cast: Cast, environment: Environment, folder: PathBuf) -> Self {
        let of = |role, count| (1..=count).map(move |number| Whom { role, number });
        let places = of(Role::Scheduler, cast.schedulers)
            .chain(of(Role::Worker, cast.workers))
            .map(|whom| Place { whom, process: Mutex::new(None), starts: AtomicUsize::new(0) })
            .collect();
        Self { places, environment, folder, ended_unasked: AtomicU64::new(0) }
    }

    /// Starts whoever is missing.
    pub(super) async fn start_all(&self) {
        for place in &self.places {
            let mut process = place.process.lock().await;
            if process.is_none() {
                *process = Some(self.start(place).await);
            }
        }
    }

    async fn start(&self, place: &Place) -> Process {
        loop {
            let start = place.starts.fetch_add(1, Ordering::Relaxed) + 1;
            let program = place.whom.role.program();
            let name = format!("{program}-{}.{start}", place.whom.number);
            let (environment, folder) = (self.environment.clone(), self.folder.clone());
            match blocking(move || Process::start(&name, program, &[], &environment, &folder)).await {
                Ok(process) => return process,
                // While a server is away nobody comes up.
                Err(_) => tokio::time::sleep(START_AGAIN).await,
            }
        }
    }

    fn place(&self, whom: Whom) -> anyhow::Result<&Place> {
        self.places.iter().find(|place| place.whom == whom).with_context(|| format!("there is no {whom}"))
    }

    /// Kills a process, and starts another in its place after `down`. `killed` is told the ids that it worked under.
    pub(super) async fn kill(
        &self,
        whom: Whom,
        down: Duration,
        killed: impl FnOnce(Vec<Uuid>),
    ) -> anyhow::Result<()> {
        let place = self.place(whom)?;
        let mut held = place.process.lock().await;
        if let Some(mut process) = held.take() {
            killed(ids_of(whom, &mut process).await?);
            blocking(move || process.kill()).await?;
        }
        tokio::time::sleep(down).await;
        *held = Some(self.start(place).await);
        Ok(())
    }

    /// Lets a process stand still for `lasts`. `stopped` is told the ids that it works under.
    pub(super) async fn stop(
        &self,
        whom: Whom,
        lasts: Duration,
        stopped: impl FnOnce(Vec<Uuid>),
    ) -> anyhow::Result<()> {
        let mut held = self.place(whom)?.process.lock().await;
        let Some(process) = held.as_mut() else { return Ok(()) };
        let ids = ids_of(whom, process).await?;
        let _still = StandsStill::new(process.pid());
        stopped(ids);
        tokio::time::sleep(lasts).await;
        Ok(())
    }

    /// Starts again whoever has ended by itself, which nobody should. Never returns.
    pub(super) async fn mind(&self) {
        loop {
            for place in &self.places {
                let Ok(mut held) = place.process.try_lock() else { continue };
                let Some(status) = held.as_mut().and_then(Process::ended) else { continue };
                // A worker may give up before it has begun, as when Redis goes just then.
                let had_begun = place.whom.role != Role::Worker
                    || held.as_ref().is_some_and(|process| !worker_ids(process).is_empty());
                self.ended_unasked.fetch_add(u64::from(had_begun), Ordering::Relaxed);
                say(&format!("{} ended by itself: {status}", place.whom));
                *held = Some(self.start(place).await);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many processes have ended that nobody ended.
    pub(super) fn ended_unasked(&self) -> u64 {
        self.ended_unasked.load(Ordering::Relaxed)
    }

    /// Stops everybody in good order. Fails for those that did not end well, when all have been stopped.
    async fn stop_all(&self) -> anyhow::Result<()> {
        let mut stopping = Vec::new();
        for place in &self.places {
            if let Some(process) = place.process.lock().await.take() {
                // One that was left standing still would not hear of it.
                signal(&process.pid().to_string(), "CONT");
                stopping.push(tokio::task::spawn_blocking(move || process.stop()));
            }
        }
        let mut outcome = Ok(());
        for stopped in stopping {
            outcome = outcome.and(stopped.await?);
        }
        outcome
    }
}

/// A process that stands still while this lives.
struct StandsStill {
    pid: String,
}

impl StandsStill {
    fn new(pid: u32) -> Self {
        let pid = pid.to_string();
        signal(&pid, "STOP");
        Self { pid }
    }
}

impl Drop for StandsStill {
    fn drop(&mut self) {
        signal(&self.pid, "CONT");
    }
}

/// The ids that a process works under. A worker is waited for until it has begun: it may have come up just now.
async fn ids_of(whom: Whom, process: &mut Process) -> anyhow::Result<Vec<Uuid>> {
    if whom.role != Role::Worker {
        return Ok(Vec::new());
    }
    let end = Instant::now() + BEGINS_WITHIN;
    loop {
        let ids = worker_ids(process);
        if !ids.is_empty() || process.ended().is_some() {
            return Ok(ids);
        }
        ensure!(Instant::now() < end, "{whom} does not say in its log that `{BEGINS}`, with its id");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The ids that a worker process works under, one for each queue, as it logged them.
fn worker_ids(process: &Process) -> Vec<Uuid> {
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["worker.id"].as_str()?.parse().ok()
    };
    process.log().lines().filter(|line| line.contains(BEGINS)).filter_map(id).collect()
}

/// Puts everything right again, then stops it. Fails when somebody did not end well.
pub(super) async fn end(servers: &Servers, crew: &Crew) -> anyhow::Result<()> {
    servers.put_right().await?;
    crew.stop_all().await
}

/// Does what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(what).await?
}
