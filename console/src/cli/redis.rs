//! A connection to Redis for one command.

use std::{io, sync::Arc, time::Duration};

use queue::Engine;
use runtime::{
    clock::{Clock, RedisClock},
    env::ProcessEnvironment,
    redis::{Redis, RedisStartError},
};
use tokio_util::sync::CancellationToken;

use super::stop::Stop;

/// Longest wait for a server that still loads its data; a person would rather hear of it.
const LOADING: Duration = Duration::from_secs(2);
/// Longest wait for a server that is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Redis, and its time.
pub(super) async fn connect() -> Result<(Redis, Arc<dyn Clock>), RedisStartError> {
    let connecting = async {
        let redis = Redis::connect_within(&ProcessEnvironment, LOADING).await?;
        // A command ends long before the clock has to be read again.
        let clock =
            RedisClock::follow(&redis, CancellationToken::new()).await.map_err(RedisStartError::Connect)?;
        let clock: Arc<dyn Clock> = Arc::new(clock);
        Ok((redis, clock))
    };
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .unwrap_or_else(|_| Err(RedisStartError::Connect(io::Error::from(io::ErrorKind::TimedOut).into())))
}

/// The queues in Redis.
pub(super) async fn engine() -> Result<Engine, RedisStartError> {
    connect().await.map(|(redis, clock)| Engine::new(redis, clock))
}

/// The queues in Redis, or why it does not answer, which some commands say and go on. A setting that is wrong stops them.
pub(super) async fn engine_if_there() -> Result<Result<Engine, RedisStartError>, Stop> {
    match engine().await {
        Err(setting @ (RedisStartError::Setting(_) | RedisStartError::Form { .. })) => {
            Err(from_redis(setting))
        }
        other => Ok(other),
    }
}

pub(super) fn from_redis(error: RedisStartError) -> Stop {
    match error {
        RedisStartError::Setting(_) | RedisStartError::Form { .. } => Stop::usage(error),
        RedisStartError::Connect(_) | RedisStartError::Loading { .. } => error.into(),
        RedisStartError::MayEvict { .. } | RedisStartError::Replica | RedisStartError::TooOld { .. } => {
            Stop::refused(error)
        }
    }
}
