//! Redis: connections that come back by themselves, the key prefix of a deployment, and the checks made at start.

use std::time::Duration;

use redis::{
    Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::env::{self, EnvError, Environment};

/// Longest wait for an answer. The library's default of 500 ms is shorter than a script on a busy server may take,
/// and would turn one slow answer into a broken connection.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why Redis could not be used.
#[derive(Debug, Error)]
pub enum RedisStartError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// No connection, or no answer.
    #[error("could not talk to Redis; check REDIS_URL and that the server is up")]
    Connect(#[source] RedisError),
    /// The server may throw jobs away.
    #[error(
        "Redis runs with maxmemory-policy `{policy}` and may evict jobs when memory is short; \
         set `maxmemory-policy noeviction` in its configuration"
    )]
    MayEvict {
        /// The policy it runs with.
        policy: String,
    },
}

/// A connection to Redis that reconnects by itself, together with the prefix of this deployment's keys.
/// Cloning is cheap; all clones share one connection, on which commands are pipelined.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    manager: ConnectionManager,
    prefix: String,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own output would show the password.
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects with the settings of `environment` and refuses a server that may evict keys.
    ///
    /// # Errors
    /// When a setting is wrong, the server does not answer, or it may evict.
    pub async fn connect(environment: &dyn Environment) -> Result<Self, RedisStartError> {
        let url = env::REDIS_URL.read(environment)?;
        let prefix = env::PREFIX.read(environment)?;
        if prefix.contains(['{', '}', '*']) {
            return Err(env::PREFIX.invalid(&prefix, "braces and stars have a meaning in keys").into());
        }
        let info = url
            .as_str()
            .into_connection_info()
            .map_err(|error| RedisStartError::from(env::REDIS_URL.invalid(&url, error)))?;
        let redis = Self::open(info, prefix).await.map_err(RedisStartError::Connect)?;
        redis.refuse_eviction().await?;
        Ok(redis)
    }

    /// Connects to a given server.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open(info: ConnectionInfo, prefix: impl Into<String>) -> Result<Self, RedisError> {
        let client = Client::open(info)?;
        let manager = ConnectionManager::new_with_config(client.clone(), Self::config()).await?;
        Ok(Self { client, manager, prefix: prefix.into() })
    }

    fn config() -> ConnectionManagerConfig {
        ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_max_delay(Duration::from_secs(1))
            .set_number_of_retries(3)
    }

    /// A handle to the shared connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionManager {
        self.manager.clone()
    }

    /// The first part of every key of this deployment.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Subscribes to `channels` on a connection of its own, which subscribes again after each reconnect.
    /// Whoever listens must poll as well: a message sent while the connection was away is gone.
    ///
    /// # Errors
    /// When the server does not answer the first time.
    pub async fn subscribe(&self, channels: &[String]) -> Result<Subscription, RedisError> {
        let (sender, messages) = mpsc::unbounded_channel();
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let config = Self::config().set_push_sender(sender).set_automatic_resubscription();
        let mut connection = ConnectionManager::new_with_config(client, config).await?;
        for channel in channels {
            connection.subscribe(channel).await?;
        }
        Ok(Subscription { messages, _connection: connection })
    }

    async fn refuse_eviction(&self) -> Result<(), RedisStartError> {
        let memory: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(&mut self.connection())
            .await
            .map_err(RedisStartError::Connect)?;
        match memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim) {
            Some("noeviction") => Ok(()),
            Some(policy) => Err(RedisStartError::MayEvict { policy: policy.to_owned() }),
            None => {
                tracing::warn!("Redis does not say its maxmemory-policy; make sure that it is noeviction");
                Ok(())
            }
        }
    }
}

/// Messages from subscribed channels.
#[derive(Debug)]
pub struct Subscription {
    messages: mpsc::UnboundedReceiver<PushInfo>,
    _connection: ConnectionManager,
}

impl Subscription {
    /// The channel of the next message; `None` when the connection is gone for good.
    pub async fn next_channel(&mut self) -> Option<String> {
        loop {
            let push = self.messages.recv().await?;
            if push.kind == redis::PushKind::Message
                && let Some(channel) = push.data.first()
                && let Ok(channel) = redis::from_redis_value_ref::<String>(channel)
            {
                return Some(channel);
            }
        }
    }
}
