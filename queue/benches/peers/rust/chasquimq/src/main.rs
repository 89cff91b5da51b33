//! The same work with ChasquiMQ 1.3, which pushes with an option of `XADD` that Redis has from 8.6 on.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use chasquimq::{Consumer, ConsumerConfig, Producer, ProducerConfig};
use measure::{Payload, Peer, Server, Work};
use redis::AsyncCommands;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CHUNK: usize = 1_000;

struct ChasquiMq {
    server: Server,
    producer: Producer<Payload>,
    concurrency: usize,
}

impl ChasquiMq {
    async fn connect(server: Server) -> Result<Self> {
        let concurrency = std::env::var("BENCH_CONCURRENCY").map_or(Ok(100), |text| text.parse())?;
        let config = ProducerConfig { queue_name: server.prefix().to_owned(), ..ProducerConfig::default() };
        let producer = Producer::connect(server.url(), config).await?;
        Ok(Self { server, producer, concurrency })
    }
}

impl Peer for ChasquiMq {
    const SYSTEM: &'static str = "ChasquiMQ 1.3.0";

    fn settings(&self) -> String {
        format!("concurrency {}, batch 256, ack_batch 256, events off", self.concurrency)
    }

    async fn push_all(&self, payloads: Vec<Payload>) -> Result<()> {
        for chunk in payloads.chunks(CHUNK) {
            self.producer.add_bulk(chunk.to_vec()).await?;
        }
        Ok(())
    }

    async fn push(&self, payload: Payload) -> Result<()> {
        self.producer.add(payload).await?;
        Ok(())
    }

    async fn start(&self, work: Arc<Work>) -> Result<JoinHandle<()>> {
        let config = ConsumerConfig {
            queue_name: self.server.prefix().to_owned(),
            concurrency: self.concurrency,
            batch: 256,
            events_enabled: false,
            ..ConsumerConfig::default()
        };
        let consumer = Consumer::<Payload>::new(self.server.url(), config);
        Ok(tokio::spawn(async move {
            let run = move |job: chasquimq::Job<Payload>| {
                work.run(&job.payload);
                std::future::ready(Ok(Bytes::new()))
            };
            if let Err(error) = consumer.run(run, CancellationToken::new()).await {
                eprintln!("ChasquiMQ: its worker stopped: {error}");
            }
        }))
    }

    async fn all_acknowledged(&self, _: u32) -> Result<bool> {
        let left: u64 = self.server.connection().xlen(self.producer.stream_key()).await?;
        Ok(left == 0)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::from_environment().await?;
    let peer = ChasquiMq::connect(server.clone()).await?;
    measure::measure(&server, &peer).await
}
