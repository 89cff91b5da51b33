//! Redis: connections that come back by themselves, the key prefix of a deployment, and the checks made at start.
//!
//! One server, a Redis Cluster, or a primary that Sentinels watch: `redis/address.rs` says what may stand in
//! `REDIS_URL`, and everybody else just has a [`Connection`]. docs/REDIS.md tells which servers, rights and settings.

mod address;
mod advice;
mod connection;
mod subscription;

use std::{path::Path, sync::Arc, time::Duration};

use redis::{RedisError, RedisResult};
use thiserror::Error;
use tokio::time::Instant;

pub use self::{address::Address, connection::Connection, subscription::Subscription};
use crate::env::{self, EnvError, Environment, Variable};

/// Longest wait at start for a server that still reads its data from disk.
const LOADING_PATIENCE: Duration = Duration::from_secs(60);
const LOADING_LOOK: Duration = Duration::from_millis(500);
/// What our scripts need: flags that Redis 7.0 brought.
const OLDEST: (u64, u64) = (7, 0);

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
    /// The server takes no writes.
    #[error(
        "REDIS_URL names a read-only replica: name its primary, or the Sentinels that know it, as in \
         redis+sentinel://host:26379/mymaster"
    )]
    Replica,
    /// The URL says that there is one server, and it is part of something else.
    #[error("REDIS_URL names {found}: write it as {form}")]
    Form {
        /// What answers there.
        found: &'static str,
        /// How the URL has to look.
        form: &'static str,
    },
    /// Its data took too long to load.
    #[error(
        "Redis still reads its data from disk after {seconds} s; start again when its log says that it is ready"
    )]
    Loading {
        /// How long we waited.
        seconds: u64,
    },
    /// The server lacks what the scripts use.
    #[error("Redis is version {version}; the scripts need 7.0 or newer, or any Valkey")]
    TooOld {
        /// What it says it is.
        version: String,
    },
}

/// Redis, together with the prefix of this deployment's keys. Cloning is cheap; all clones share one connection.
#[derive(Debug, Clone)]
pub struct Redis {
    address: Arc<Address>,
    connection: Connection,
    prefix: String,
}

impl Redis {
    /// Connects with the settings of `environment`, waits while the server still loads its data (up to a minute), and
    /// refuses one that may evict keys, takes no writes, or is too old.
    ///
    /// # Errors
    /// When a setting is wrong, the server does not answer, or it is refused.
    pub async fn connect(environment: &dyn Environment) -> Result<Self, RedisStartError> {
        Self::connect_within(environment, LOADING_PATIENCE).await
    }

    /// As [`Redis::connect`], with another limit for how long the server may still load its data.
    ///
    /// # Errors
    /// As [`Redis::connect`].
    pub async fn connect_within(
        environment: &dyn Environment,
        loading: Duration,
    ) -> Result<Self, RedisStartError> {
        let address = address(environment)?;
        let prefix = env::PREFIX.read(environment)?;
        if prefix.contains(['{', '}', '*']) {
            return Err(env::PREFIX.invalid(&prefix, "braces and stars have a meaning in keys").into());
        }
        let redis = loaded(address, prefix, loading).await?;
        redis.check().await?;
        Ok(redis)
    }

    /// Connects to a given server, and checks nothing.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open(address: impl Into<Address>, prefix: impl Into<String>) -> RedisResult<Self> {
        let address = Arc::new(address.into());
        let connection = Connection::open(&address).await?;
        Ok(Self { address, connection, prefix: prefix.into() })
    }

    /// A handle to the shared connection.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.connection.clone()
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
    pub async fn subscribe(&self, channels: &[String]) -> RedisResult<Subscription> {
        Subscription::open(&self.address, channels).await
    }

    /// Which start of which servers this is: of the one server, or of all primaries of a Cluster. It changes when one
    /// of them was started again, or when a replica took over.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn server_run(&self) -> RedisResult<String> {
        let infos = self.connection().info("server", false).await?;
        let mut runs: Vec<_> = infos.iter().filter_map(|info| field(info, "run_id")).collect();
        runs.sort_unstable();
        Ok(runs.join(","))
    }

    /// What each server says of itself (`INFO`): the one server, or all nodes of a Cluster. [`field`] reads it.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn infos(&self) -> RedisResult<Vec<String>> {
        // A replica in a Cluster may be the primary of tomorrow, so it is asked as well.
        self.connection().info("default", true).await
    }

    async fn check(&self) -> Result<(), RedisStartError> {
        let infos = self.infos().await.map_err(RedisStartError::Connect)?;
        infos.iter().try_for_each(|info| check_server(info, self.address.is_one_server()))
    }
}

/// What the settings say of where Redis is.
fn address(environment: &dyn Environment) -> Result<Address, EnvError> {
    let url = env::REDIS_URL.read(environment)?;
    let address = Address::parse(&url).map_err(|why| env::REDIS_URL.invalid(&url, why))?;
    let file = |variable: &Variable, unless: &str| {
        let value = variable.read(environment)?;
        Ok::<_, EnvError>(Some(value).filter(|value| value != unless))
    };
    let authority = file(&env::REDIS_CA_FILE, "system")?;
    let own = match (file(&env::REDIS_CERT_FILE, "none")?, file(&env::REDIS_KEY_FILE, "none")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(alone), None) | (None, Some(alone)) => {
            let why = "REDIS_CERT_FILE and REDIS_KEY_FILE belong together: set both or none";
            return Err(env::REDIS_CERT_FILE.invalid(&alone, why));
        }
    };
    if authority.is_none() && own.is_none() {
        return Ok(address);
    }
    let own = own.as_ref().map(|(certificate, key)| (Path::new(certificate), Path::new(key)));
    let shown = authority.as_deref().unwrap_or("system");
    address::read_certificates(authority.as_deref().map(Path::new), own)
        .map_err(|error| error.to_string())
        .and_then(|certificates| address.with_certificates(certificates))
        .map_err(|why| env::REDIS_CA_FILE.invalid(shown, why))
}

/// Connects, and waits while the server still reads its data from disk.
async fn loaded(address: Address, prefix: String, patience: Duration) -> Result<Redis, RedisStartError> {
    let started = Instant::now();
    loop {
        let is_loading = match Redis::open(address.clone(), prefix.clone()).await {
            Ok(redis) => {
                let infos =
                    redis.connection().info("persistence", true).await.map_err(RedisStartError::Connect)?;
                if infos.iter().all(|info| field(info, "loading") != Some("1")) {
                    return Ok(redis);
                }
                infos.iter().find_map(|info| field(info, "loading_loaded_perc")).map(str::to_owned)
            }
            Err(error) if error.code() == Some("LOADING") || error.to_string().contains("LOADING") => None,
            Err(error) => return Err(RedisStartError::Connect(error)),
        };
        if started.elapsed() >= patience {
            return Err(RedisStartError::Loading { seconds: patience.as_secs() });
        }
        tracing::warn!(
            redis.loaded_percent = is_loading.as_deref().unwrap_or("?"),
            "Redis still reads its data from disk; waiting for it"
        );
        tokio::time::sleep(LOADING_LOOK).await;
    }
}

/// Whether we can work with the server that says this of itself.
fn check_server(info: &str, one_server: bool) -> Result<(), RedisStartError> {
    if one_server {
        let mode = field(info, "redis_mode").or_else(|| field(info, "server_mode"));
        if mode == Some("sentinel") {
            let form = "redis+sentinel://host:26379,host:26379/mymaster";
            return Err(RedisStartError::Form { found: "a Sentinel", form });
        }
        if mode == Some("cluster") || field(info, "cluster_enabled") == Some("1") {
            let form = "redis+cluster://host:6379,host:6379";
            return Err(RedisStartError::Form { found: "a node of a Redis Cluster", form });
        }
        if field(info, "role") == Some("slave") {
            return Err(RedisStartError::Replica);
        }
    }
    if let Some(version) = field(info, "redis_version") {
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or_default());
        if (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) < OLDEST {
            return Err(RedisStartError::TooOld { version: version.to_owned() });
        }
    }
    match field(info, "maxmemory_policy") {
        Some("noeviction") => Ok(()),
        Some(policy) => Err(RedisStartError::MayEvict { policy: policy.to_owned() }),
        None => {
            tracing::warn!("Redis does not say its maxmemory-policy; make sure that it is noeviction");
            Ok(())
        }
    }
}

/// A field of what `INFO` says.
#[must_use]
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
