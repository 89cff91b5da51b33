//! What every long-running process of ours does first: settings, logs, signals, Postgres, Redis, its clock, health.

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use sqlx::PgPool;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, RedisClock},
    env::{self, EnvError, Environment},
    health::{self, Health, Loops},
    postgres::{self, PostgresError},
    redis::{Redis, RedisStartError},
    shutdown::Shutdown,
    telemetry::{self, TelemetryError},
};

/// What a process stands on.
#[derive(Debug)]
pub struct Process {
    /// The database, migrated.
    pub pool: PgPool,
    /// Redis.
    pub redis: Redis,
    /// Time, by Redis.
    pub clock: Arc<dyn Clock>,
    /// The loops that show that it lives.
    pub loops: Loops,
    /// When to stop.
    pub shutdown: Shutdown,
    /// Cancelled by [`Process::end`], when the work has ended: until then health is answered and the clock kept right.
    pub ended: CancellationToken,
}

/// The name of the host, or of the container; empty where the system does not tell.
#[must_use]
pub fn host_name() -> String {
    let mut name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.truncate(name.trim_end().len());
    name
}

/// Why a process could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// Logs or metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Signals.
    #[error("could not listen to signals")]
    Signals(#[source] std::io::Error),
    /// Postgres.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisStartError),
    /// Redis' clock.
    #[error("could not ask Redis for the time")]
    Clock(#[source] redis::RedisError),
    /// The health address.
    #[error("could not answer health checks on {address}; set {} to a free one", env::HEALTH_LISTEN.name)]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl Process {
    /// Starts the process called `name`. Its first line on standard output is JSON with its health address. After the
    /// first signal it has `grace` to finish.
    ///
    /// # Errors
    /// When a setting is wrong, or Postgres or Redis cannot be used.
    pub async fn start(
        environment: &dyn Environment,
        name: &str,
        grace: Duration,
    ) -> Result<Self, StartError> {
        let telemetry = telemetry::start(environment)?;
        let listen: SocketAddr = env::HEALTH_LISTEN.parse(environment)?;
        let shutdown = Shutdown::on_signals(grace).map_err(StartError::Signals)?;
        let ended = CancellationToken::new();
        let pool = postgres::connect(environment, name).await?;
        postgres::check_migrated(&pool).await?;
        let redis = Redis::connect(environment).await?;
        let clock = RedisClock::follow(&redis, ended.clone()).await.map_err(StartError::Clock)?;
        let loops = Loops::default();
        let health = Health {
            loops: loops.clone(),
            telemetry,
            pool: pool.clone(),
            redis: redis.clone(),
            stopping: shutdown.soft.clone(),
        };
        let failed = |cause| StartError::Health { address: listen, cause };
        let address = health::serve(listen, health, ended.clone()).await.map_err(failed)?;
        writeln!(std::io::stdout(), "{}", serde_json::json!({ "health": address })).map_err(failed)?;
        Ok(Self { pool, redis, clock: Arc::new(clock), loops, shutdown, ended })
    }

    /// Ends what runs beside the work.
    pub async fn end(self) {
        self.ended.cancel();
        self.pool.close().await;
        tracing::info!("stopped");
    }
}
