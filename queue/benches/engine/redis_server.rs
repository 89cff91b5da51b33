//! The Redis that is measured, and what it tells of itself.

use std::time::{Duration, Instant};

use redis::{IntoConnectionInfo, aio::MultiplexedConnection};
use runtime::{
    env::{Environment, ProcessEnvironment},
    redis::Redis,
};
use xtask::services::{RedisServer, Service, install_programs};

pub(crate) struct Server {
    pub(crate) url: String,
    connection: MultiplexedConnection,
    // Ends with the benchmark.
    _own: Option<RedisServer>,
}

/// Commands a second from one connection, in pipelines of 1,000.
pub(crate) struct Rates {
    pub(crate) lpush: f64,
    pub(crate) rpop: f64,
    pub(crate) zadd: f64,
    pub(crate) zrem: f64,
    /// Entries that went through all four.
    pub(crate) all: f64,
}

impl Server {
    /// The server of `REDIS_URL`, or one of its own.
    pub(crate) async fn start() -> Self {
        let given = ProcessEnvironment.get("REDIS_URL");
        let own = given.is_none().then(|| {
            install_programs(&[Service::Redis], |line| eprintln!("{line}")).expect("Redis can be installed");
            let folder = std::env::temp_dir().join(format!("engine-bench-{}", std::process::id()));
            RedisServer::start_in(&folder).expect("a Redis starts")
        });
        let url = given.or_else(|| own.as_ref().map(RedisServer::url)).expect("one of both");
        let client = redis::Client::open(url.clone()).expect("REDIS_URL is a URL");
        let connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        Self { url, connection, _own: own }
    }

    /// A connection as the product makes it.
    pub(crate) async fn open(&self, prefix: &str) -> Redis {
        let info = self.url.as_str().into_connection_info().expect("it was parsed before");
        Redis::open(info, prefix).await.expect("Redis answers")
    }

    async fn info(&mut self, section: &str) -> String {
        redis::cmd("INFO").arg(section).query_async(&mut self.connection).await.expect("Redis answers")
    }

    /// Bytes of memory in use, without what waits to be written to the append-only file.
    pub(crate) async fn used_memory(&mut self) -> i64 {
        let memory = self.info("memory").await;
        let field = |name: &str| -> i64 {
            let value = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
        };
        field("used_memory") - field("mem_aof_buffer") - field("mem_clients_normal")
    }

    /// Commands executed so far, those within scripts as well.
    pub(crate) async fn calls(&mut self) -> u64 {
        self.info("commandstats")
            .await
            .lines()
            .filter(|line| !line.starts_with("cmdstat_info"))
            .filter_map(|line| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Time spent in scripts so far.
    pub(crate) async fn script_time(&mut self) -> Duration {
        let stats = self.info("commandstats").await;
        let usec = stats.lines().find_map(|line| {
            line.strip_prefix("cmdstat_evalsha:")?.split("usec=").nth(1)?.split(',').next()?.parse().ok()
        });
        Duration::from_micros(usec.unwrap_or_default())
    }

    /// From now on the slowest calls are remembered.
    pub(crate) async fn watch_slow_calls(&mut self) {
        for (setting, value) in [("slowlog-log-slower-than", "500"), ("slowlog-max-len", "4096")] {
            redis::cmd("CONFIG")
                .arg("SET")
                .arg(setting)
                .arg(value)
                .exec_async(&mut self.connection)
                .await
                .expect("CONFIG SET is allowed");
        }
        redis::cmd("SLOWLOG")
            .arg("RESET")
            .exec_async(&mut self.connection)
            .await
            .expect("SLOWLOG is allowed");
    }

    /// How long the slowest script took; 0.5 ms at least, because faster ones are not remembered.
    pub(crate) async fn slowest_call(&mut self) -> Duration {
        let log: Vec<redis::Value> = redis::cmd("SLOWLOG")
            .arg("GET")
            .arg("-1")
            .query_async(&mut self.connection)
            .await
            .expect("SLOWLOG is allowed");
        let slowest = log.iter().filter_map(|entry| {
            let (_, _, usec, words): (i64, i64, u64, Vec<Vec<u8>>) = match entry {
                redis::Value::Array(fields) => (
                    redis::from_redis_value_ref(fields.first()?).ok()?,
                    redis::from_redis_value_ref(fields.get(1)?).ok()?,
                    redis::from_redis_value_ref(fields.get(2)?).ok()?,
                    redis::from_redis_value_ref(fields.get(3)?).ok()?,
                ),
                _ => return None,
            };
            words.first()?.eq_ignore_ascii_case(b"evalsha").then_some(usec)
        });
        Duration::from_micros(slowest.max().unwrap_or(500))
    }

    pub(crate) async fn delete(&mut self, prefix: &str) {
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{{{prefix}*"))
                .arg("COUNT")
                .arg(1_000)
                .query_async(&mut self.connection)
                .await
                .expect("Redis answers");
            if !keys.is_empty() {
                redis::cmd("DEL").arg(keys).exec_async(&mut self.connection).await.expect("Redis answers");
            }
            if next == 0 {
                return;
            }
            cursor = next;
        }
    }

    /// What one connection can do at most with the same bytes: nothing leased, nothing remembered.
    pub(crate) async fn pipelined(&mut self, count: usize, payload: usize) -> Rates {
        const PIPELINE: usize = 1_000;
        let (list, set) = ("{bench:limit}:list", "{bench:limit}:set");
        let entries: Vec<Vec<u8>> = (0..count).map(|n| format!("{n:0>payload$}").into_bytes()).collect();
        let mut took = Vec::new();
        for command in ["LPUSH", "RPOP", "ZADD", "ZREM"] {
            let started = Instant::now();
            for some in entries.chunks(PIPELINE) {
                let mut pipe = redis::pipe();
                for entry in some {
                    match command {
                        "LPUSH" => pipe.lpush(list, entry).ignore(),
                        "RPOP" => pipe.rpop(list, None).ignore(),
                        "ZADD" => pipe.zadd(set, entry, 1.0).ignore(),
                        _ => pipe.zrem(set, entry).ignore(),
                    };
                }
                pipe.exec_async(&mut self.connection).await.expect("Redis answers");
            }
            took.push(started.elapsed());
        }
        let rate = |n: usize| crate::measure::rate(count, took[n]);
        Rates {
            lpush: rate(0),
            rpop: rate(1),
            zadd: rate(2),
            zrem: rate(3),
            all: crate::measure::rate(count, took.iter().sum()),
        }
    }
}
