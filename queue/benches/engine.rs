//! The engine alone, against a real Redis: how fast, how much memory, how many calls, and what the machine could do at all.
//!
//! ```sh
//! cargo bench -p queue --bench engine                     # starts a Redis of its own, AOF everysec
//! REDIS_URL=redis://… BENCH_JOBS=100000 cargo bench -p queue --bench engine
//! cargo bench -p queue --bench engine -- drain idle_latency   # only these
//! ```
//!
//! Prints one JSON object a line; docs/PERFORMANCE.md says what each measures. Every drain goes through the whole worker:
//! claims, leases, apalis with its layers, settlements; only the ledger in Postgres is left out. Rates are the
//! best of `rounds`, because these machines are noisy; ratios compare rounds that alternate.

#[path = "engine/measure.rs"]
mod measure;
#[path = "engine/redis_server.rs"]
mod redis_server;
#[path = "engine/worker.rs"]
mod worker;

use std::time::{Duration, Instant};

// As the worker does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use measure::{best, number, percentile, print, wanted};
use queue::{KnownKinds, WorkerId, envelope::Envelope, lease::Ended};
use redis_server::Server;
use serde_json::json;
use worker::{QUEUE, Setup, jobs};

/// Waiting jobs and groups of the usual case.
const GROUPS: usize = 50;
const PAYLOAD: usize = 140;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let count = number("BENCH_JOBS", 100_000);
    let backlog = number("BENCH_BACKLOG", 1_000_000);
    let mut server = Server::start().await;
    if wanted("push_bulk") {
        push_bulk(&mut server, count).await;
    }
    if DRAINS.iter().any(|name| wanted(name)) {
        drains(&mut server, count, backlog).await;
    }
    if wanted("claim_cost") {
        claim_costs(&mut server, backlog).await;
    }
    if wanted("idle_latency") {
        idle_latency(&mut server).await;
    }
    if wanted("redis_bytes_per_waiting_job") {
        memory(&mut server, count).await;
    }
    if wanted("longest_script") {
        longest_script(&mut server, count).await;
    }
    if wanted("physical_limit") {
        physical_limit(&mut server, count).await;
    }
}

/// What is measured by draining.
const DRAINS: [&str; 5] =
    ["drain", "drain_backlog_1m", "drain_groups_10k", "redis_calls_per_job", "redis_bytes_after_drain"];

async fn push_bulk(server: &mut Server, count: usize) {
    let mut rates = Vec::new();
    let mut calls = 0.0;
    for _ in 0..ROUNDS {
        let setup = Setup::new(server).await;
        let entries = jobs(count, GROUPS, PAYLOAD);
        let before = server.calls().await;
        let started = Instant::now();
        setup.push(&entries).await;
        rates.push(measure::rate(count, started.elapsed()));
        calls = measure::per(server.calls().await - before, count);
        setup.clear(server).await;
    }
    print(json!({ "name": "push_bulk", "per_s": best(&rates), "jobs": count, "redis_calls_per_job": calls }));
}

/// What one drain measured.
struct Drained {
    /// Until the last of the counted jobs has run.
    ran_per_s: f64,
    /// Until nothing is leased any more.
    per_s: f64,
    calls: f64,
    bytes_left: i64,
}

/// Drains `count` of `waiting` jobs through a worker.
async fn drain(server: &mut Server, waiting: usize, count: usize, groups: usize) -> Drained {
    let setup = Setup::new(server).await;
    // The scripts and the worker's connection are part of the server, not of what is drained.
    setup.warm_up().await;
    let bytes = server.used_memory().await;
    setup.push(&jobs(waiting, groups, PAYLOAD)).await;
    let before = server.calls().await;
    let started = Instant::now();
    let ran = setup.run(count).await;
    setup.stop().await;
    let settled = started.elapsed();
    let calls = measure::per(server.calls().await - before, count);
    let bytes_left = server.used_memory().await - bytes;
    setup.clear(server).await;
    Drained { ran_per_s: measure::rate(count, ran), per_s: measure::rate(count, settled), calls, bytes_left }
}

async fn drains(server: &mut Server, count: usize, backlog: usize) {
    let (mut base, mut base_ran, mut large, mut wide) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut calls, mut bytes_left) = (0.0, 0);
    for round in 0..ROUNDS {
        let usual = drain(server, count, count, GROUPS).await;
        (calls, bytes_left) = (usual.calls, usual.bytes_left);
        base.push(usual.per_s);
        base_ran.push(usual.ran_per_s);
        if wanted("drain_groups_10k") {
            wide.push(drain(server, count, count, 10_000).await.ran_per_s);
        }
        // A million jobs take long to make: once is enough.
        if round == 0 && wanted("drain_backlog_1m") {
            large.push(drain(server, backlog, count, GROUPS).await.ran_per_s);
        }
    }
    print(json!({ "name": "drain", "per_s": best(&base), "jobs": count, "groups": GROUPS, "rounds": base }));
    let ratio = |other: f64| (other / best(&base_ran) * 1_000.0).round() / 1_000.0;
    if wanted("drain_backlog_1m") {
        let large = best(&large);
        print(
            json!({ "name": "drain_backlog_1m", "per_s": large, "waiting": backlog, "ratio": ratio(large) }),
        );
    }
    if wanted("drain_groups_10k") {
        let wide = best(&wide);
        print(json!({ "name": "drain_groups_10k", "per_s": wide, "groups": 10_000, "ratio": ratio(wide) }));
    }
    if wanted("redis_calls_per_job") {
        print(json!({ "name": "redis_calls_per_job", "calls": calls }));
    }
    if wanted("redis_bytes_after_drain") {
        print(json!({ "name": "redis_bytes_after_drain", "bytes": bytes_left }));
    }
}

/// Microseconds of a claim of 256 and its settlement, from Redis' own account: the cheapest of some, because whatever else
/// the machine does only adds.
async fn claim_cost(server: &mut Server, waiting: usize, groups: usize) -> f64 {
    const CLAIMS: u32 = 4;
    let setup = Setup::new(server).await;
    setup.push(&jobs(waiting, groups, PAYLOAD)).await;
    let worker = WorkerId::new();
    let mut cheapest = Duration::MAX;
    for _ in 0..9 {
        let before = server.script_time().await;
        for _ in 0..CLAIMS {
            let claimed =
                setup.engine.claim(QUEUE, worker, 256, &KnownKinds::all()).await.expect("Redis answers");
            let finished = claimed.entries.iter().filter_map(|entry| Envelope::id_of(entry)).collect();
            let ended = Ended { finished, ..Ended::default() };
            setup.engine.end_leases(QUEUE, worker, &ended).await.expect("Redis answers");
        }
        cheapest = cheapest.min((server.script_time().await - before) / CLAIMS);
    }
    setup.clear(server).await;
    (cheapest.as_secs_f64() * 1e6).round()
}

async fn claim_costs(server: &mut Server, backlog: usize) {
    let cases = [
        ("10k_waiting", 10_000, 50),
        ("1m_waiting", backlog, 50),
        ("10_groups", 100_000, 10),
        ("10k_groups", 100_000, 10_000),
    ];
    let mut costs = Vec::new();
    for (_, waiting, groups) in cases {
        costs.push(claim_cost(server, waiting, groups).await);
    }
    let ratio = |one: f64, other: f64| (other / one * 100.0).round() / 100.0;
    print(json!({
        "name": "claim_cost", "entries": 256, "us_10k_waiting": costs[0], "us_1m_waiting": costs[1],
        "us_10_groups": costs[2], "us_10k_groups": costs[3],
        "ratio_1m_to_10k_waiting": ratio(costs[0], costs[1]), "ratio_10k_to_10_groups": ratio(costs[2], costs[3]),
    }));
}

async fn idle_latency(server: &mut Server) {
    const SAMPLES: usize = 1_000;
    let setup = Setup::new(server).await;
    let mut waits = Vec::with_capacity(SAMPLES);
    setup.start_worker().await;
    for entry in jobs(SAMPLES, GROUPS, PAYLOAD) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        waits.push(setup.pick_up(entry).await);
    }
    setup.stop().await;
    setup.clear(server).await;
    let at = |share| percentile(&mut waits.clone(), share).as_micros();
    print(json!({ "name": "idle_latency", "samples": SAMPLES, "p50_us": at(50.0), "p99_us": at(99.0) }));
}

async fn memory(server: &mut Server, count: usize) {
    let setup = Setup::new(server).await;
    setup.warm_up().await;
    let before = server.used_memory().await;
    setup.push(&jobs(count, GROUPS, 213)).await;
    let bytes = server.used_memory().await - before;
    setup.clear(server).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let each = (bytes as f64 / count as f64).round();
    print(
        json!({ "name": "redis_bytes_per_waiting_job", "bytes": each, "payload_bytes": 213, "jobs": count }),
    );
}

async fn longest_script(server: &mut Server, due: usize) {
    let setup = Setup::new(server).await;
    setup.push_delayed(&jobs(due, GROUPS, PAYLOAD)).await;
    server.watch_slow_calls().await;
    let started = Instant::now();
    let mut moved = 0;
    while moved < due {
        moved += setup.engine.promote(QUEUE).await.expect("Redis answers").moved;
    }
    let promoted = started.elapsed();
    setup.run(due).await;
    setup.stop().await;
    let ms = server.slowest_call().await.as_secs_f64() * 1_000.0;
    setup.clear(server).await;
    print(json!({
        "name": "longest_script", "ms": (ms * 1_000.0).round() / 1_000.0, "due": due,
        "promoted_per_s": measure::rate(due, promoted),
    }));
}

async fn physical_limit(server: &mut Server, count: usize) {
    let rates = server.pipelined(count, PAYLOAD).await;
    print(
        json!({ "name": "physical_limit", "per_s": rates.all, "lpush_per_s": rates.lpush, "rpop_per_s": rates.rpop, "zadd_per_s": rates.zadd, "zrem_per_s": rates.zrem }),
    );
}
