//! Pools: for each queue an apalis worker over our backend, with its layers.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use apalis::layers::catch_panic::CatchPanicLayer;
use apalis_core::worker::builder::WorkerBuilder;
use futures::future::try_join_all;
use jobs::context::Context;
use queue::{
    Catalog, Engine, Queue,
    backend::{Backend, Settings},
    ledger::Ledger,
    wake::Wakes,
};
use runtime::{health::Loops, shutdown::Shutdown};

use crate::{config::Slots, execute::Execute};

/// What all pools share.
pub(crate) struct Pools {
    pub(crate) engine: Engine,
    pub(crate) ledger: Ledger,
    pub(crate) wakes: Wakes,
    pub(crate) context: Arc<Context>,
    pub(crate) catalog: &'static Catalog<Context>,
    pub(crate) shutdown: Shutdown,
    pub(crate) loops: Loops,
}

/// A worker that has not tried to renew its lease for this long hangs.
const LONGEST_TURN: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
#[error("the run panicked; the message is in the worker's log, because it may hold anything")]
struct Panicked;

impl Pools {
    /// Runs a pool for each queue until the shutdown.
    pub(crate) async fn run(&self, slots: &Slots) -> anyhow::Result<()> {
        tracing::info!(slots = ?slots.0, "taking jobs");
        try_join_all(slots.0.iter().map(|(queue, slots)| self.pool(*queue, *slots))).await?;
        Ok(())
    }

    async fn pool(&self, queue: Queue, slots: usize) -> anyhow::Result<()> {
        let catalog = self.catalog;
        let backend = Backend::start(Settings {
            queue,
            known: catalog.known(),
            slots,
            engine: self.engine.clone(),
            ledger: self.ledger.clone(),
            wakes: self.wakes.clone(),
            policy: Arc::new(move |kind| catalog.policy(kind)),
            shutdown: self.shutdown.clone(),
            beat: self.loops.add(queue.name(), LONGEST_TURN),
        });
        let execute = Execute { context: Arc::clone(&self.context), catalog };
        let worker = WorkerBuilder::new(queue.name())
            .backend(backend)
            .layer(CatchPanicLayer::with_panic_handler(|_| Panicked))
            .build(execute);
        worker.run().await.with_context(|| format!("the pool of queue {queue}"))
    }
}
