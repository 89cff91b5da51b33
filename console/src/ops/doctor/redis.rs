//! Redis: whether it answers, which it is, how full, whether it survives a restart, and what our user may do.

use std::time::Duration;

use queue::{Queue, keys::QueueKeys, limit::Budget};
use runtime::{
    clock::RedisClock,
    env::Environment,
    redis::{Redis, RedisStartError, field},
};
use tokio_util::sync::CancellationToken;

use super::Check;

/// Longest wait for a server that still reads its data.
const LOADING: Duration = Duration::from_secs(2);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// How full Redis may be, in percent of its memory, before somebody should look, and before it is too late.
const FULL: (u64, u64) = (80, 95);
/// A budget that nothing else uses.
const OWN_BUDGET: &str = "doctor";

/// Adds what is found; the connection, if there is one.
pub(super) async fn examine(environment: &dyn Environment, checks: &mut Vec<Check>) -> Option<Redis> {
    let connecting = Redis::connect_within(environment, LOADING);
    let redis = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(redis)) => redis,
        Ok(Err(error)) => {
            let advice = match error {
                RedisStartError::Setting(_) | RedisStartError::Form { .. } => {
                    "set it as docs/REDIS.md says, for this command and for every process"
                }
                _ => "nothing starts until Redis is back, and nothing is lost: see docs/REDIS.md",
            };
            checks.push(Check::failed("redis", &error, advice));
            return None;
        }
        Err(_) => {
            let says = format!("no answer within {} s", PATIENCE.as_secs());
            checks.push(Check::fail(
                "redis",
                says,
                "check REDIS_URL, the network, and that the server is up",
            ));
            return None;
        }
    };
    match redis.infos().await {
        Ok(infos) => {
            checks.push(Check::ok("redis", versions(&infos)));
            checks.push(memory(&infos));
            checks.push(persistence(&infos));
        }
        Err(error) => checks.push(Check::failed("redis", &error, "see docs/REDIS.md")),
    }
    checks.push(rights(&redis).await);
    Some(redis)
}

fn versions(infos: &[String]) -> String {
    let mut names: Vec<_> = infos
        .iter()
        .map(|info| match (field(info, "valkey_version"), field(info, "redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, version) => format!("Redis {}", version.unwrap_or("of an unknown version")),
        })
        .collect();
    names.dedup();
    let of = if infos.len() > 1 { format!(" on {} servers", infos.len()) } else { String::new() };
    format!("answers: {}{of}, evicts nothing", names.join(", "))
}

/// By the fullest server.
fn memory(infos: &[String]) -> Check {
    let number = |info: &str, name: &str| field(info, name).and_then(|text| text.parse::<u64>().ok());
    let used: u64 = infos.iter().filter_map(|info| number(info, "used_memory")).sum();
    let mebibytes = used.div_ceil(1 << 20);
    let fullest = infos
        .iter()
        .filter_map(|info| {
            let most = number(info, "maxmemory").filter(|most| *most > 0)?;
            Some(number(info, "used_memory")?.saturating_mul(100) / most)
        })
        .max();
    let Some(percent) = fullest else {
        return Check::warn(
            "redis memory",
            format!("{mebibytes} MiB used, without a limit"),
            "set maxmemory to about twice what the longest backlog needs, so that Redis refuses new jobs before its host runs out",
        );
    };
    let says = format!("{mebibytes} MiB used, {percent} % of maxmemory");
    let advice =
        "raise maxmemory, or find out what waits and why: when it is full, new jobs wait in the outbox";
    match percent {
        percent if percent >= FULL.1 => Check::fail("redis memory", says, advice),
        percent if percent >= FULL.0 => Check::warn("redis memory", says, advice),
        _ => Check::ok("redis memory", says),
    }
}

fn persistence(infos: &[String]) -> Check {
    let name = "redis persistence";
    let any = |key: &str, value: &str| infos.iter().any(|info| field(info, key) == Some(value));
    if any("aof_last_write_status", "err") || any("rdb_last_bgsave_status", "err") {
        return Check::fail(
            name,
            "its last write to disk failed",
            "make room on Redis' disk, and look into its log",
        );
    }
    let append_only = infos.iter().all(|info| field(info, "aof_enabled") == Some("1"));
    if append_only {
        return Check::ok(name, "appends to a file");
    }
    Check::warn(
        name,
        "no append-only file: after a crash of its host everything unfinished is pushed again",
        "set `appendonly yes` and `appendfsync everysec`; no job is lost either way",
    )
}

/// Tries a script that reads and writes, plain reads, and a channel.
async fn rights(redis: &Redis) -> Check {
    let tried = async {
        let clock = RedisClock::follow(redis, CancellationToken::new()).await?;
        let clock: std::sync::Arc<dyn runtime::clock::Clock> = std::sync::Arc::new(clock);
        let own = [Budget { name: OWN_BUDGET.to_owned(), rate: 1.0, burst: 10 }];
        let budgets = queue::limit::Budgets::new(redis.clone(), std::sync::Arc::clone(&clock));
        budgets.ask(&own, OWN_BUDGET).await?;
        budgets.give_back(&own, OWN_BUDGET).await?;
        let engine = queue::Engine::new(redis.clone(), clock);
        engine.depth(Queue::Sync).await?;
        redis.subscribe(&[QueueKeys::new(redis.prefix(), Queue::Sync).wake()]).await?;
        Ok::<_, anyhow::Error>(())
    };
    let advice = "give our user the rights of docs/REDIS.md";
    match tokio::time::timeout(PATIENCE, tried).await {
        Ok(Ok(())) => Check::ok("redis rights", "scripts, reads and channels are allowed"),
        Ok(Err(error)) => Check::failed("redis rights", error.as_ref(), advice),
        Err(_) => Check::fail("redis rights", "a call got no answer", "look into Redis' log, and ask again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Verdict;

    fn info(text: &str) -> Vec<String> {
        vec![text.replace(' ', "\r\n")]
    }

    #[test]
    fn memory_is_judged_by_the_fullest_server() {
        let half = "used_memory:50 maxmemory:100".replace(' ', "\r\n");
        let full = "used_memory:96 maxmemory:100".replace(' ', "\r\n");
        assert_eq!(memory(std::slice::from_ref(&half)).verdict, Verdict::Ok);
        assert_eq!(memory(&[half, full]).verdict, Verdict::Fail);
        assert_eq!(memory(&info("used_memory:80 maxmemory:100")).verdict, Verdict::Warn);
        assert_eq!(memory(&info("used_memory:80 maxmemory:0")).verdict, Verdict::Warn);
    }

    #[test]
    fn a_failed_write_is_worse_than_no_file() {
        assert_eq!(persistence(&info("aof_enabled:1 aof_last_write_status:ok")).verdict, Verdict::Ok);
        assert_eq!(persistence(&info("aof_enabled:0 rdb_last_bgsave_status:ok")).verdict, Verdict::Warn);
        assert_eq!(persistence(&info("aof_enabled:1 aof_last_write_status:err")).verdict, Verdict::Fail);
    }
}
