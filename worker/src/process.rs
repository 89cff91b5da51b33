//! A worker process from start to stop.

use std::sync::Arc;

use jobs::{catalog::CATALOG, context::Context, notice_queue::NoticeSource};
use queue::{Engine, ledger::Ledger, limit::Budgets, wake::Wakes};
use runtime::{env::ProcessEnvironment, process::Process};

use crate::{config::Config, pool::Pools};

/// Runs a worker until it has stopped.
///
/// # Errors
/// When a setting is wrong, or Postgres or Redis cannot be used at the start.
pub async fn run() -> anyhow::Result<()> {
    let config = Config::from_env(&ProcessEnvironment)?;
    let process = Process::start(&ProcessEnvironment, "worker", config.grace).await?;
    let engine = Engine::new(process.redis.clone(), Arc::clone(&process.clock));
    let wakes = Wakes::listen(&engine, process.ended.clone()).await?;
    let budgets = Budgets::new(process.redis.clone(), Arc::clone(&process.clock));
    let context = Context::new(
        Arc::clone(&process.clock),
        process.pool.clone(),
        budgets,
        config.amazon,
        config.keyring,
    )?
    .with_notices(NoticeSource::open(config.notices).await);
    let pools = Pools {
        engine,
        ledger: Ledger::new(process.pool.clone()),
        wakes,
        context: Arc::new(context),
        catalog: &CATALOG,
        shutdown: process.shutdown.clone(),
        loops: process.loops.clone(),
    };
    let outcome = pools.run(&config.slots).await;
    process.end().await;
    outcome
}
