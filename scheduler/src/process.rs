//! A scheduler process from start to stop.

use std::{sync::Arc, time::Duration};

use queue::{Engine, limit::Budgets};
use runtime::{env::ProcessEnvironment, process::Process};

use crate::{config, leader::Leadership, services::Services};

/// A scheduler has nothing to finish beyond the pass that runs.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a scheduler until it has stopped.
///
/// # Errors
/// When a setting is wrong, or Postgres or Redis cannot be used at the start.
pub async fn run() -> anyhow::Result<()> {
    let retention = config::retention(&ProcessEnvironment)?;
    let process = Process::start(&ProcessEnvironment, "scheduler", GRACE).await?;
    let engine = Engine::new(process.redis.clone(), Arc::clone(&process.clock));
    let budgets = Budgets::new(process.redis.clone(), Arc::clone(&process.clock));
    let services = Services { pool: process.pool.clone(), engine, budgets, retention };
    let beat = process.loops.add("leadership", Duration::from_secs(60));
    Leadership::new(process.pool.clone()).lead(&services, &beat, &process.shutdown.soft).await;
    process.end().await;
    Ok(())
}
