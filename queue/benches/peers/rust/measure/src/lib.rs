//! What every peer in Rust measures, and how: the same jobs, the same clock, the same proof that each job ran once.
//!
//! A peer says how it pushes, works and clears up ([`Peer`]); [`measure`] does the rest and prints one JSON object a line,
//! with the names that `cargo bench -p queue --bench engine` uses. It deletes the peer's own keys and no others, so it may be
//! run again at any time. It promises nothing about a Redis that others write to meanwhile: their bytes count as the peer's.

mod server;
mod work;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

pub use server::Server;
pub use work::{Payload, Work};

/// Bytes of a payload, as JSON, wherever speed is measured.
const PAYLOAD_BYTES: usize = 140;
/// Bytes of a payload, as JSON, where memory is measured.
const MEMORY_PAYLOAD_BYTES: usize = 213;
const MEMORY_JOBS: u32 = 50_000;
const LATENCY_SAMPLES: u32 = 300;
/// Without any progress for so long, the jobs that have not run are called lost.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// Longer than any system's own look for jobs that it was not woken for.
const LONGEST_PICK_UP: Duration = Duration::from_secs(60);
/// A job that ran twice may do so a moment after the last one.
const LOOK_FOR_DUPLICATES: Duration = Duration::from_millis(500);

/// One queue system, with its best settings.
pub trait Peer {
    /// Name and version, for people.
    const SYSTEM: &'static str;

    /// What was chosen, for people.
    fn settings(&self) -> String;

    /// Pushes all, as fast as its public interface can.
    fn push_all(&self, payloads: Vec<Payload>) -> impl Future<Output = Result<()>>;

    /// Pushes one.
    fn push(&self, payload: Payload) -> impl Future<Output = Result<()>>;

    /// Gets a backlog into a form that the worker can take. The clock does not run.
    fn prepare(&self) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// Starts the one worker, which calls [`Work::run`] for each job, until the task is aborted.
    fn start(&self, work: Arc<Work>) -> impl Future<Output = Result<tokio::task::JoinHandle<()>>>;

    /// Whether Redis knows that so many jobs are done. A peer that forgets a job when it takes it has nothing to wait for.
    fn all_acknowledged(&self, jobs: u32) -> impl Future<Output = Result<bool>>;
}

/// Measures one peer, once. `BENCH_JOBS` says how many jobs; 100,000 by default.
///
/// # Errors
/// Redis cannot be reached, or the peer fails.
pub async fn measure<P: Peer>(server: &Server, peer: &P) -> Result<()> {
    let jobs = match std::env::var("BENCH_JOBS") {
        Ok(text) => text.parse().with_context(|| format!("BENCH_JOBS={text} is not a number of jobs"))?,
        Err(_) => 100_000,
    };
    server.clear().await?;
    memory(server, peer).await?;
    server.clear().await?;
    speed(peer, jobs).await?;
    server.clear().await?;
    latency(peer).await?;
    server.clear().await
}

async fn memory<P: Peer>(server: &Server, peer: &P) -> Result<()> {
    // What a first push leaves behind (scripts, names of queues) is not a job's.
    peer.push(Payload::new(0, MEMORY_PAYLOAD_BYTES)).await?;
    let before = server.memory_used().await?;
    peer.push_all(payloads(MEMORY_JOBS, MEMORY_PAYLOAD_BYTES)).await?;
    let after = server.memory_used().await?;
    let bytes = after.saturating_sub(before) / u64::from(MEMORY_JOBS);
    print::<P>(json!({ "name": "redis_bytes_per_waiting_job", "bytes": bytes }));
    Ok(())
}

async fn speed<P: Peer>(peer: &P, jobs: u32) -> Result<()> {
    let all = payloads(jobs, PAYLOAD_BYTES);
    let started = Instant::now();
    peer.push_all(all).await?;
    print::<P>(json!({ "name": "push_bulk", "per_s": per_second(jobs, started.elapsed()) }));

    peer.prepare().await?;
    let work = Arc::new(Work::new(jobs));
    let started = Instant::now();
    let worker = peer.start(Arc::clone(&work)).await?;
    let complete = wait_for_all(peer, &work, jobs).await?;
    let took = started.elapsed();
    sleep(LOOK_FOR_DUPLICATES).await;
    stop(worker).await;
    print::<P>(json!({
        "name": "drain",
        "per_s": complete.then(|| per_second(jobs, took)),
        "lost": work.lost(),
        "duplicates": work.duplicates(),
        "settings": peer.settings(),
    }));
    Ok(())
}

/// Whether all ran and were acknowledged, before nothing happened any more.
async fn wait_for_all<P: Peer>(peer: &P, work: &Work, jobs: u32) -> Result<bool> {
    let mut progress = (0, Instant::now());
    loop {
        let done = work.done();
        if done >= jobs && peer.all_acknowledged(jobs).await? {
            return Ok(true);
        }
        if done != progress.0 {
            progress = (done, Instant::now());
        } else if progress.1.elapsed() > STALLED_AFTER {
            return Ok(false);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn latency<P: Peer>(peer: &P) -> Result<()> {
    let work = Arc::new(Work::new(LATENCY_SAMPLES));
    let worker = peer.start(Arc::clone(&work)).await?;
    sleep(Duration::from_millis(500)).await;
    let mut samples = Vec::new();
    for n in 0..LATENCY_SAMPLES {
        // Uneven pauses: a system that looks at fixed times is met at all of its phases.
        sleep(Duration::from_micros(u64::from(5_000 + n * 7_919 % 10_000))).await;
        let pushed = Instant::now();
        peer.push(Payload::new(n, PAYLOAD_BYTES)).await?;
        let started = work.started_at(n, LONGEST_PICK_UP).await?;
        samples.push(started.saturating_duration_since(pushed).as_micros());
    }
    stop(worker).await;
    samples.sort_unstable();
    let percentile = |percent: usize| samples[(samples.len() * percent / 100).min(samples.len() - 1)];
    print::<P>(json!({ "name": "idle_latency", "p50_us": percentile(50), "p99_us": percentile(99) }));
    Ok(())
}

async fn stop(worker: tokio::task::JoinHandle<()>) {
    worker.abort();
    // It ends as aborted, or has complained of its end itself.
    drop(worker.await);
}

fn payloads(jobs: u32, bytes: usize) -> Vec<Payload> {
    (0..jobs).map(|n| Payload::new(n, bytes)).collect()
}

fn per_second(jobs: u32, took: Duration) -> u64 {
    (f64::from(jobs) / took.as_secs_f64()) as u64
}

fn print<P: Peer>(mut line: Value) {
    line["system"] = P::SYSTEM.into();
    println!("{line}");
}
