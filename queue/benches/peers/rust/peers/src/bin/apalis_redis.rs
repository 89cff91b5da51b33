//! The same work with apalis-redis 1.0.
//!
//! Its script for taking jobs hands every due id to `unpack`, and Lua refuses more than about 8,000: a worker that starts
//! with a larger backlog stops at once with "too many results to unpack", for good. So before the clock of the drain runs,
//! [`Peer::prepare`] does what that script does first, in portions: it moves the due ids to the list of active ones.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Result;
use apalis::prelude::*;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use measure::{Payload, Peer, Server, Work};
use redis::AsyncCommands;
use tokio::{
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};

const CHUNK: usize = 500;
/// Ids a portion; below what `unpack` refuses.
const PORTION: isize = 5_000;
/// How often an idle worker asks: a script call each time. By default it is 30 s, and a job of an idle queue waits so long.
const POLL: Duration = Duration::from_millis(1);

/// Wakes the worker each [`POLL`]. The crate's own strategy for an interval waits for ever when the interval ends while the
/// worker still fetches, which at short intervals happens within seconds.
struct Ticks(Interval);

impl PollStrategy for Ticks {
    fn poll_drive(&mut self, context: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = Poll::Pending;
        while self.0.poll_tick(context).is_ready() {
            due = Poll::Ready(Some(()));
        }
        due
    }
}

struct ApalisRedis {
    server: Server,
    storage: RedisStorage<Payload, ConnectionManager>,
    concurrency: usize,
    batch: usize,
}

impl ApalisRedis {
    async fn connect(server: Server) -> Result<Self> {
        let batch = setting("BENCH_BATCH", 500)?;
        let concurrency = setting("BENCH_CONCURRENCY", 500)?;
        // Both are documented as unneeded for jobs that are shorter than a heartbeat, and where nobody listens.
        let config =
            Config::default().queue(server.prefix()).batch_size(batch).lock_tasks(false).emit_events(false);
        let storage = RedisStorage::new(apalis_redis::connect(server.url()).await?).with_config(config);
        Ok(Self { server, storage, concurrency, batch })
    }
}

impl Peer for ApalisRedis {
    const SYSTEM: &'static str = "apalis-redis 1.0.0";

    fn settings(&self) -> String {
        format!(
            "concurrency {}, batch_size {}, poll each {} ms, lock_tasks off, emit_events off",
            self.concurrency,
            self.batch,
            POLL.as_millis()
        )
    }

    async fn push_all(&self, payloads: Vec<Payload>) -> Result<()> {
        let mut storage = self.storage.clone();
        for chunk in payloads.chunks(CHUNK) {
            storage.push_bulk(chunk.to_vec()).await?;
        }
        Ok(())
    }

    async fn push(&self, payload: Payload) -> Result<()> {
        Ok(self.storage.clone().push(payload).await?)
    }

    async fn prepare(&self) -> Result<()> {
        let config = self.storage.get_config();
        let (scheduled, active) = (config.scheduled_jobs_set(), config.active_jobs_list());
        let mut connection = self.server.connection();
        loop {
            let ids: Vec<String> = connection.zrange(&scheduled, 0, PORTION - 1).await?;
            if ids.is_empty() {
                return Ok(());
            }
            let _: u64 = connection.rpush(&active, &ids).await?;
            let _: u64 = connection.zrem(&scheduled, &ids).await?;
        }
    }

    async fn start(&self, work: Arc<Work>) -> Result<JoinHandle<()>> {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let worker = WorkerBuilder::new(format!("{}-{:p}", self.server.prefix(), Arc::as_ptr(&work)))
            .backend(self.storage.clone().poll_with_strategy(Ticks(ticks)))
            .concurrency(self.concurrency)
            .data(work)
            .build(run);
        Ok(tokio::spawn(async move {
            if let Err(error) = worker.run().await {
                eprintln!("apalis-redis: its worker stopped: {error}");
            }
        }))
    }

    async fn all_acknowledged(&self, jobs: u32) -> Result<bool> {
        let done: u32 = self.server.connection().scard(self.storage.get_config().done_jobs_set()).await?;
        Ok(done >= jobs)
    }
}

async fn run(payload: Payload, work: Data<Arc<Work>>) -> Result<(), BoxDynError> {
    work.run(&payload);
    Ok(())
}

fn setting(name: &str, default: usize) -> Result<usize> {
    Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::from_environment().await?;
    let peer = ApalisRedis::connect(server.clone()).await?;
    measure::measure(&server, &peer).await
}
