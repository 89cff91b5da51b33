//! A scheduler process from start to stop.

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use queue::Engine;
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

use crate::{leader::Leadership, services::Services};

/// Runs a scheduler until it has stopped.
///
/// # Errors
/// When a setting is wrong, or Postgres or Redis cannot be used at the start.
pub async fn run() -> anyhow::Result<()> {
    let environment = ProcessEnvironment;
    let telemetry = telemetry::start(&environment)?;
    let listen: SocketAddr = health::LISTEN.parse(&environment)?;
    let shutdown = Shutdown::on_signals(Duration::from_secs(5)).context("listening to signals")?;
    let ended = CancellationToken::new();

    let pool = postgres::connect(&environment, "scheduler").await?;
    postgres::check_migrated(&pool).await?;
    let redis = Redis::connect(&environment).await?;
    let clock: Arc<dyn Clock> = Arc::new(RedisClock::follow(&redis, ended.clone()).await?);

    let loops = Loops::default();
    let health = Health {
        loops: loops.clone(),
        telemetry,
        pool: pool.clone(),
        redis: redis.clone(),
        stopping: shutdown.soft.clone(),
    };
    let address = health::serve(listen, health, ended.clone())
        .await
        .with_context(|| format!("answering health checks on {listen}"))?;
    writeln!(std::io::stdout(), "{}", serde_json::json!({ "health": address }))?;

    let services = Services { pool: pool.clone(), engine: Engine::new(redis, clock) };
    let beat = loops.add("leadership", Duration::from_secs(60));
    Leadership::new(pool).lead(&services, &beat, &shutdown.soft).await;
    ended.cancel();
    tracing::info!("stopped");
    Ok(())
}
