//! The Redis that all share: what it holds in memory, and clearing up the keys below one prefix.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::{AsyncCommands, aio::MultiplexedConnection};

/// A connection, and the prefix below which everything of this run is.
#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    prefix: String,
    connection: MultiplexedConnection,
}

impl Server {
    /// The Redis at `REDIS_URL`, and the prefix `BENCH_PREFIX` (`bench-peers` by default).
    ///
    /// # Errors
    /// There is no such variable, or no such server.
    pub async fn from_environment() -> Result<Self> {
        let url =
            std::env::var("REDIS_URL").context("REDIS_URL is not set; queue/benches/peers/run sets it")?;
        let prefix = std::env::var("BENCH_PREFIX").unwrap_or_else(|_| "bench-peers".to_owned());
        let client = redis::Client::open(url.as_str())?;
        let connection =
            client.get_multiplexed_async_connection().await.context("no Redis answers at REDIS_URL")?;
        Ok(Self { url, prefix, connection })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What all keys of this run start with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A connection to it, shared by all that ask.
    #[must_use]
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Its version, `7.0.15`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn version(&self) -> Result<String> {
        self.info("server", "redis_version").await
    }

    /// Bytes it uses, without what it holds for connections and for its file: that comes and goes with the pushing.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn memory_used(&self) -> Result<u64> {
        // What was just freed or written is accounted for a moment later.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let number = async |field| anyhow::Ok(self.info("memory", field).await?.parse::<u64>()?);
        let passing = number("mem_clients_normal").await? + number("mem_aof_buffer").await?;
        Ok(number("used_memory").await?.saturating_sub(passing))
    }

    /// Deletes every key whose name contains the prefix, and no other.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn clear(&self) -> Result<()> {
        let mut connection = self.connection();
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("*{}*", self.prefix))
                .arg("COUNT")
                .arg(5_000)
                .query_async(&mut connection)
                .await?;
            if !keys.is_empty() {
                let _: u64 = connection.unlink(keys).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Deletes everything. For a server that was started for this run alone.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn flush(&self) -> Result<()> {
        Ok(redis::cmd("FLUSHALL").query_async(&mut self.connection()).await?)
    }

    async fn info(&self, section: &str, field: &str) -> Result<String> {
        let text: String = redis::cmd("INFO").arg(section).query_async(&mut self.connection()).await?;
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .with_context(|| format!("this Redis does not tell its {field}"))
    }
}
