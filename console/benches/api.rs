//! The HTTP API: how many jobs a second it enqueues, each committed before it is answered.
//!
//! ```sh
//! eval "$(cargo xtask services env)"; cargo bench -p console --bench api    # BENCH_JOBS=30000 one by one, ten times that in bulk
//! ```
//!
//! Prints one JSON object. The real router listens on loopback, with a key, a limit that is never reached, and a database of
//! its own; 32 connections ask one by one, then 8 send 1,000 jobs each. Both ends share this process and its processors with
//! Postgres, so the API alone does more. Each answer is looked at; at the end the ledger is counted.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use console::{
    api::{self, Api},
    auth::api_key::Scope,
    console::Console,
    ops::{
        Act,
        keys::{self, NewKey},
    },
    origin::Origin,
};
use queue::JobId;
use runtime::{
    clock::{Clock, SystemClock},
    env::{Environment, ProcessEnvironment},
    shutdown::Shutdown,
    testing::{TestDatabase, TestRedis},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CONNECTIONS: usize = 32;
const BULK_CONNECTIONS: usize = 8;
const IN_BULK: usize = 1_000;

#[tokio::main]
async fn main() {
    let count: usize = ProcessEnvironment
        .get("BENCH_JOBS")
        .map_or(30_000, |count| count.parse().expect("BENCH_JOBS is a number"));
    let (database, redis) = (TestDatabase::new().await, TestRedis::new().await);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let origin = Origin::of_this_host(address);
    let console = Console::new(database.pool.clone(), redis.redis.clone(), clock, origin, None)
        .expect("the host has random numbers");
    let key = key(&database).await;
    let shutdown = Shutdown::default();
    let api = Api::start(console, shutdown.soft.clone());
    let server = tokio::spawn(api::serve(listener, api, shutdown.clone()));

    // What is done once for all, as planning and opening connections, is no part of it.
    one_by_one(address, &key, 1_000, false).await;
    let singles = one_by_one(address, &key, count, false).await;
    let keyed = one_by_one(address, &key, count, true).await;
    let bulk = in_bulk(address, &key, count * 10 / IN_BULK).await;

    let (total, durable): (i64, String) = sqlx::query_as(
        "select (select count(*) from jobs),
            'fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')",
    )
    .fetch_one(&database.pool)
    .await
    .expect("Postgres answers");
    let asked = 1_000 + 2 * count + count * 10 / IN_BULK * IN_BULK;
    assert_eq!(usize::try_from(total).ok(), Some(asked), "what was answered is committed");
    let figures = json!({
        "name": "api",
        "one_by_one": singles.told(1),
        "one_by_one_with_idempotency_key": keyed.told(1),
        "bulk": bulk.told(IN_BULK),
        "connections": CONNECTIONS,
        "bulk_connections": BULK_CONNECTIONS,
        "jobs_committed": total,
        "postgres": durable,
    });
    println!("{figures}");
    shutdown.soft.cancel();
    server.await.expect("the server does not panic");
}

async fn key(database: &TestDatabase) -> String {
    let new = NewKey {
        owner: "bench".to_owned(),
        scopes: vec![Scope::Enqueue],
        kinds: Vec::new(),
        lifetime: TimeDelta::days(1),
        rate_per_second: keys::MOST,
        burst: keys::MOST,
    };
    let act = Act::new("bench", "measures the API").expect("it has both");
    let mut connection = database.pool.acquire().await.expect("Postgres answers");
    keys::create(&mut connection, &new, &act, SystemClock.now()).await.expect("it can be made").text()
}

/// How long requests took, together and each.
struct Measured {
    took: Duration,
    each: Vec<Duration>,
}

impl Measured {
    fn told(&self, jobs_each: usize) -> serde_json::Value {
        let mut each = self.each.clone();
        each.sort_unstable();
        let at = |part: usize| each[(each.len() * part / 100).min(each.len() - 1)].as_secs_f64() * 1_000.0;
        let rounded = |milliseconds: f64| (milliseconds * 100.0).round() / 100.0;
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let per_second = (each.len() * jobs_each) as f64 / self.took.as_secs_f64();
        json!({
            "jobs_per_s": per_second.round(), "p50_ms": rounded(at(50)), "p99_ms": rounded(at(99)),
            "requests": each.len(),
        })
    }
}

async fn one_by_one(address: SocketAddr, key: &str, count: usize, with_key: bool) -> Measured {
    ask(address, key, "/v1/jobs", CONNECTIONS, count, with_key, "HTTP/1.1 201", job).await
}

async fn in_bulk(address: SocketAddr, key: &str, requests: usize) -> Measured {
    let body = || {
        let jobs: Vec<_> = (0..IN_BULK).map(|_| job()).collect();
        format!("{{\"jobs\":[{}]}}", jobs.join(","))
    };
    ask(address, key, "/v1/jobs/bulk", BULK_CONNECTIONS, requests, false, "HTTP/1.1 200", body).await
}

/// A job of a seller that has none yet: its kind is unique, so that its keys are looked at too.
fn job() -> String {
    json!({ "kind": "sync_orders", "payload": { "seller": JobId::new() } }).to_string()
}

#[expect(clippy::too_many_arguments, reason = "each is one thing that differs between the measurements")]
async fn ask(
    address: SocketAddr,
    key: &str,
    path: &str,
    connections: usize,
    count: usize,
    with_key: bool,
    expected: &'static str,
    body: impl Fn() -> String + Send + Copy + 'static,
) -> Measured {
    let left = Arc::new(AtomicUsize::new(count));
    let started = Instant::now();
    let asking = (0..connections).map(|_| {
        let (left, head) = (Arc::clone(&left), format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"));
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.set_nodelay(true).expect("it is a TCP socket");
            let (mut each, mut answer) = (Vec::new(), Vec::new());
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                let body = body();
                let idempotency = if with_key { format!("idempotency-key: {}\r\n", JobId::new()) } else { String::new() };
                let request = format!("{head}{idempotency}content-length: {}\r\n\r\n{body}", body.len());
                let begun = Instant::now();
                stream.write_all(request.as_bytes()).await.expect("it reads");
                read(&mut stream, &mut answer).await;
                each.push(begun.elapsed());
                assert!(answer.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&answer));
                let refused = answer.windows(9).any(|piece| piece == b"\"refused\"") && !answer.windows(12).any(|piece| piece == b"\"refused\":0,");
                assert!(!refused, "{}", String::from_utf8_lossy(&answer));
            }
            each
        })
    });
    let each = futures::future::join_all(asking).await;
    let each = each.into_iter().flat_map(|each| each.expect("no client panics")).collect();
    Measured { took: started.elapsed(), each }
}

/// Reads one answer: its head, and as much body as it says.
async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        let read = stream.read_buf(answer).await.expect("it answers");
        assert_ne!(read, 0, "the connection was closed");
        if whole.is_none()
            && let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            whole = Some(head + 4 + length.expect("answers say how long they are"));
        }
    }
}
