//! The binary with a Redis prefix of its own beside the database, and what scheduler and worker do there.

use std::sync::Arc;

use jobs::catalog::CATALOG;
use queue::{Engine, JobId, Queue, WorkerId, envelope::Envelope, lease::Ended, ledger::Ledger};
use runtime::{
    clock::{Clock, SystemClock},
    testing::TestRedis,
};

use crate::amzigo::{Amzigo, Answer, answer};

pub(crate) const SELLER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
pub(crate) const OTHER_SELLER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a11";

/// Where the tests' jobs wait.
pub(crate) const QUEUE: Queue = Queue::Sync;

pub(crate) struct Deployment {
    pub(crate) amzigo: Amzigo,
    pub(crate) redis: TestRedis,
    pub(crate) engine: Engine,
}

impl Deployment {
    /// With its queue open.
    pub(crate) async fn new() -> Self {
        let (amzigo, redis) = tokio::join!(Amzigo::new(), TestRedis::new());
        let engine = Engine::new(redis.redis.clone(), Arc::new(SystemClock));
        engine.control(QUEUE, &CATALOG.controls(QUEUE)).await.expect("Redis is there");
        Self { amzigo, redis, engine }
    }

    /// Runs a command that finds both servers; a change is made in the name of `tests`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = self.amzigo.command(arguments);
        command
            .env("REDIS_URL", &self.redis.url)
            .env("AMZIGO_PREFIX", self.redis.redis.prefix())
            .env("USER", "tests");
        answer(command.output().expect("the binary starts"))
    }

    /// Runs a command that must do well.
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {} {}", answer.out, answer.err);
        answer.out
    }

    /// Runs a command that finds no Redis.
    pub(crate) fn run_without_redis(&self, arguments: &[&str]) -> Answer {
        let mut command = self.amzigo.command(arguments);
        // Nothing listens on this port.
        command.env("REDIS_URL", "redis://127.0.0.1:1").env("USER", "tests");
        answer(command.output().expect("the binary starts"))
    }

    /// Enqueues a sync of a seller's orders.
    pub(crate) fn enqueue(&self, seller: &str, more: &[&str]) -> JobId {
        let arguments = ["enqueue", "sync_orders", "--seller", seller, "--json"];
        let job = self.run(&[&arguments[..], more].concat()).json();
        job["id"].as_str().expect("an id").parse().expect("an id")
    }

    /// Enqueues it and moves it to Redis.
    pub(crate) async fn ready(&self, seller: &str) -> JobId {
        let id = self.enqueue(seller, &[]);
        self.relay().await;
        id
    }

    pub(crate) async fn relay(&self) {
        queue::outbox::relay(&self.amzigo.database.pool, &self.engine, 500).await.expect("it is relayed");
    }

    /// What a worker takes now; it gives it back at once.
    pub(crate) async fn takes(&self) -> Vec<JobId> {
        let worker = WorkerId::new();
        let claimed = self.engine.claim(QUEUE, worker, 10, &CATALOG.known()).await.expect("a claim");
        let taken = ids(&claimed.entries);
        let ended = Ended { handed_back: taken.clone(), ..Ended::default() };
        self.engine.end_leases(QUEUE, worker, &ended).await.expect("it is given back");
        self.engine.resign(QUEUE, worker).await.expect("it leaves");
        taken
    }

    /// A worker that runs what is ready. Returns it and the fencing token.
    pub(crate) async fn begin(&self) -> (WorkerId, i64) {
        let worker = WorkerId::new();
        let claimed = self.engine.claim(QUEUE, worker, 10, &CATALOG.known()).await.expect("a claim");
        self.ledger()
            .begin(worker, claimed.fence, &ids(&claimed.entries), SystemClock.now())
            .await
            .expect("they begin");
        (worker, claimed.fence)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::new(self.amzigo.database.pool.clone())
    }
}

fn ids(entries: &[Vec<u8>]) -> Vec<JobId> {
    entries.iter().map(|entry| Envelope::id_of(entry).expect("an id")).collect()
}
