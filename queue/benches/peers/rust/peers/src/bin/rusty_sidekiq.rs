//! The same work with rusty-sidekiq 0.15.
//!
//! It has no push in bulk: jobs are pushed one by one, many at once. A job is gone from Redis as soon as a worker has taken
//! it, so there is nothing to acknowledge, and what a worker held is lost with it.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use measure::{Payload, Peer, Server, Work};
use sidekiq::{
    Processor, ProcessorConfig, RedisConnectionManager, RedisPool, Worker, WorkerOpts, with_custom_namespace,
};
use tokio::task::JoinHandle;

const QUEUE: &str = "peers";
const PUSHES_AT_ONCE: usize = 64;

#[derive(Clone)]
struct Count(Arc<Work>);

#[async_trait]
impl Worker<Payload> for Count {
    fn opts() -> WorkerOpts<Payload, Self> {
        WorkerOpts::new().queue(QUEUE)
    }

    async fn perform(&self, payload: Payload) -> sidekiq::Result<()> {
        self.0.run(&payload);
        Ok(())
    }
}

struct RustySidekiq {
    server: Server,
    pushing: RedisPool,
    workers: usize,
}

impl RustySidekiq {
    async fn connect(server: Server) -> Result<Self> {
        let workers = std::env::var("BENCH_CONCURRENCY").map_or(Ok(64), |text| text.parse())?;
        let pushing = pool(&server, PUSHES_AT_ONCE).await?;
        Ok(Self { server, pushing, workers })
    }
}

/// Its guide advises one pool for pushing and one for taking.
async fn pool(server: &Server, connections: usize) -> Result<RedisPool> {
    let manager = RedisConnectionManager::new(server.url())?;
    Ok(bb8::Pool::builder()
        .max_size(u32::try_from(connections)?)
        .connection_customizer(with_custom_namespace(server.prefix().to_owned()))
        .build(manager)
        .await?)
}

impl Peer for RustySidekiq {
    const SYSTEM: &'static str = "rusty-sidekiq 0.15.2";

    fn settings(&self) -> String {
        format!("num_workers {}, a pool of their own; {PUSHES_AT_ONCE} pushes at once", self.workers)
    }

    async fn push_all(&self, payloads: Vec<Payload>) -> Result<()> {
        stream::iter(payloads)
            .map(|payload| self.push(payload))
            .buffer_unordered(PUSHES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn push(&self, payload: Payload) -> Result<()> {
        Ok(Count::opts().perform_async(&self.pushing, payload).await?)
    }

    async fn start(&self, work: Arc<Work>) -> Result<JoinHandle<()>> {
        // A worker holds a connection while it waits for a job; some more for those that finish one.
        let taking = pool(&self.server, self.workers + 8).await?;
        let config = ProcessorConfig::default().num_workers(self.workers);
        let mut processor = Processor::new(taking, vec![QUEUE.to_owned()]).with_config(config);
        processor.register(Count(work));
        Ok(tokio::spawn(processor.run()))
    }

    async fn all_acknowledged(&self, _: u32) -> Result<bool> {
        Ok(true)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::from_environment().await?;
    let peer = RustySidekiq::connect(server.clone()).await?;
    measure::measure(&server, &peer).await
}
