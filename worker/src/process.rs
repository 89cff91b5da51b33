//! A worker process from start to stop.

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::Context as _;
use jobs::{catalog::CATALOG, context::Context};
use queue::{Engine, ledger::Ledger, limit::Budgets, wake::Wakes};
use runtime::{
    clock::{Clock, RedisClock},
    env::ProcessEnvironment,
    health::{self, Health, Loops},
    postgres,
    redis::Redis,
    shutdown::Shutdown,
    telemetry,
};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, pool::Pools};

/// Runs a worker until it has stopped.
///
/// # Errors
/// When a setting is wrong, or Postgres or Redis cannot be used at the start.
pub async fn run() -> anyhow::Result<()> {
    let environment = ProcessEnvironment;
    let telemetry = telemetry::start(&environment)?;
    let config = Config::from_env(&environment)?;
    let shutdown = Shutdown::on_signals(config.grace).context("listening to signals")?;
    // Ends when all pools have ended: until then their leases are renewed and their results stored.
    let ended = CancellationToken::new();

    let pool = postgres::connect(&environment, "worker").await?;
    postgres::check_migrated(&pool).await?;
    let redis = Redis::connect(&environment).await?;
    let clock: Arc<dyn Clock> = Arc::new(RedisClock::follow(&redis, ended.clone()).await?);
    let engine = Engine::new(redis.clone(), Arc::clone(&clock));
    let wakes = Wakes::listen(&engine, ended.clone()).await?;
    let budgets = Budgets::new(redis.clone(), Arc::clone(&clock));
    let context = Context::new(clock, pool.clone(), budgets, config.amazon, config.keyring)?;

    let loops = Loops::default();
    let health = Health {
        loops: loops.clone(),
        telemetry,
        pool: pool.clone(),
        redis,
        stopping: shutdown.soft.clone(),
    };
    let address = health::serve(config.health_listen, health, ended.clone())
        .await
        .with_context(|| format!("answering health checks on {}", config.health_listen))?;
    writeln!(std::io::stdout(), "{}", serde_json::json!({ "health": address }))?;

    let pools = Pools {
        engine,
        ledger: Ledger::new(pool),
        wakes,
        context: Arc::new(context),
        catalog: &CATALOG,
        shutdown,
        loops,
    };
    let outcome = pools.run(&config.slots).await;
    ended.cancel();
    // Health checks that are being answered get their answer.
    tokio::time::sleep(Duration::from_millis(50)).await;
    tracing::info!("stopped");
    outcome
}
