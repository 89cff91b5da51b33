//! Bad input: each is answered with the right status and what would be right, and nothing of it is in the log.
//!
//! Whatever is sent here holds a canary. The console logs all that it can, into a file that is searched at the end.

use std::time::{Duration, Instant};

use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    amzigo::{Amzigo, Serving},
    program::{ALL_SCOPES, Program, SELLER, Said, said},
};

const CANARY: &str = "canary-ann-lee";
const JSON: &str = "application/json";

/// A console whose log is kept.
struct Watched {
    amzigo: Amzigo,
    console: Serving,
    program: Program,
    key: String,
    log: std::path::PathBuf,
}

impl Watched {
    async fn start(name: &str) -> Self {
        let amzigo = Amzigo::new().await;
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let log = folder.join(format!("api-bad-input-{name}-{}.log", std::process::id()));
        let console =
            Serving::start_with_log(&amzigo, std::fs::File::create(&log).expect("a new file")).await;
        let key = amzigo.key(&ALL_SCOPES, &[]).text;
        let program = Program::new(&console, &key);
        Self { amzigo, console, program, key, log }
    }

    async fn send(&self, method: Method, path: &str, media_type: &str, body: impl Into<Body>) -> Said {
        said(self.program.request(method, path).header("content-type", media_type).body(body)).await
    }

    /// Nothing that was sent is in the log, and the log is the right one.
    fn nothing_is_told(&self) {
        let log = std::fs::read_to_string(&self.log).expect("it is there");
        assert!(log.contains("the console serves its API"), "it looks at the right log");
        for word in [CANARY, "Ann Lee", "Bearer", &self.key] {
            assert_eq!(log.lines().find(|line| line.contains(word)), None, "{word}");
        }
        std::fs::remove_file(&self.log).expect("it can be removed");
    }

    /// As many jobs as there are in the ledger.
    async fn jobs(&self) -> i64 {
        sqlx::query_scalar("select count(*) from jobs")
            .fetch_one(&self.amzigo.database.pool)
            .await
            .expect("it counts")
    }
}

#[tokio::test]
async fn a_wrong_field_is_named_with_what_would_be_right() {
    let watched = Watched::start("fields").await;
    let job = |changes: Value| {
        let mut job = json!({ "kind": "sync_orders", "payload": { "seller": SELLER } });
        let fields = job.as_object_mut().expect("an object");
        for (name, value) in changes.as_object().expect("an object") {
            fields.insert(name.clone(), value.clone());
        }
        job
    };
    for (body, pointer) in [
        (json!({ "payload": {} }), "/kind"),
        (json!({ "kind": "sync_orders" }), "/payload"),
        (job(json!({ "kind": CANARY })), "/kind"),
        (job(json!({ "kind": 7 })), "/kind"),
        (job(json!({ "payload": { "seller": CANARY } })), "/payload/seller"),
        (job(json!({ "payload": { "seller": SELLER, "name": "Ann Lee" } })), "/payload"),
        (job(json!({ "payload": { "seller": SELLER, CANARY: 1 } })), "/payload"),
        (job(json!({ "payload": CANARY })), "/payload"),
        (job(json!({ "payload": {} })), "/payload/seller"),
        (job(json!({ "due_at": CANARY })), "/due_at"),
        (job(json!({ "due_at": "9999-01-01T00:00:00Z" })), "/due_at"),
        (job(json!({ "due_at": "2026-11-25T00:00:00Z", "delay_seconds": 1 })), "/delay_seconds"),
        (job(json!({ "delay_seconds": -1 })), "/delay_seconds"),
        (job(json!({ "delay_seconds": 31_536_001 })), "/delay_seconds"),
        (job(json!({ "delay_seconds": CANARY })), "/delay_seconds"),
        (job(json!({ "deadline_at": "2020-01-01T00:00:00Z" })), "/deadline_at"),
        (job(json!({ "expires_at": "2020-01-01T00:00:00Z" })), "/expires_at"),
        (job(json!({ "unique": CANARY })), "/unique"),
        (job(json!({ "unique": "until_done" })), "/unique"),
        (job(json!({ "unique_for_seconds": 0 })), "/unique_for_seconds"),
        (job(json!({ "batch": CANARY })), "/batch"),
        (job(json!({ "idempotency_key": "with blank" })), "/idempotency_key"),
        (job(json!({ "idempotency_key": "" })), "/idempotency_key"),
        (job(json!({ CANARY: 1 })), ""),
        (job(json!({ "delay": "Ann Lee" })), ""),
        (json!([CANARY]), ""),
        (json!(CANARY), ""),
        (json!(null), ""),
    ] {
        let answer = watched.program.post("/v1/jobs", &body).await;
        assert_eq!((answer.status, answer.sort()), (422, "invalid"), "{body}: {answer:?}");
        assert_eq!(answer.pointers(), [pointer], "{body}: {answer:?}");
        let told = answer.json.to_string();
        assert!(!told.contains(CANARY) && !told.contains("Ann Lee"), "{body}: {told}");
        let in_bulk = watched.program.post("/v1/jobs/bulk", &json!({ "jobs": [body] })).await;
        assert_eq!(in_bulk.status, 200, "{in_bulk:?}");
        let problem = &in_bulk.json["items"][0]["problem"];
        assert_eq!(problem["errors"][0]["pointer"], format!("/jobs/0{pointer}"), "{in_bulk:?}");
        assert!(!in_bulk.json.to_string().contains(CANARY));
    }
    assert_eq!(watched.jobs().await, 0);
    watched.nothing_is_told();
}

#[tokio::test]
async fn what_is_no_json_is_refused_by_its_sort() {
    let watched = Watched::start("bodies").await;
    let long = "x".repeat(70_000);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let null = json!({ "kind": "sync_orders", "payload": { "seller": format!("\0{CANARY}") } }).to_string();
    for (what, body, media_type, status, sort) in [
        ("cut off", format!("{{\"kind\": \"{CANARY}"), JSON, 400, "not-json"),
        ("nothing", String::new(), JSON, 400, "not-json"),
        ("words", CANARY.to_owned(), JSON, 400, "not-json"),
        ("more behind", format!("{{}} {CANARY}"), JSON, 422, "invalid"),
        ("half a pair", format!("{{\"kind\": \"{CANARY}\\ud800\"}}"), JSON, 400, "not-json"),
        ("too deep", format!("{{\"kind\": \"x\", \"payload\": {deep}}}"), JSON, 400, "not-json"),
        ("twice", format!("{{\"kind\": \"{CANARY}\", \"kind\": \"{CANARY}\"}}"), JSON, 422, "invalid"),
        (
            "too long a kind",
            json!({ "kind": format!("{CANARY}{long}"), "payload": {} }).to_string(),
            JSON,
            422,
            "invalid",
        ),
        ("a character", null, JSON, 422, "invalid"),
        ("a form", format!("kind={CANARY}"), "application/x-www-form-urlencoded", 415, "media-type"),
        ("no type", "{}".to_owned(), "", 415, "media-type"),
        ("Latin-1", "{}".to_owned(), "application/json; charset=iso-8859-1", 415, "media-type"),
    ] {
        let answer = watched.send(Method::POST, "/v1/jobs", media_type, body).await;
        assert_eq!((answer.status, answer.sort()), (status, sort), "{what}: {answer:?}");
        assert!(!answer.json.to_string().contains(CANARY), "{what}: {answer:?}");
    }
    let latin = [b"{\"kind\": \"".as_slice(), &[0xe9, 0xff], CANARY.as_bytes(), b"\"}"].concat();
    let answer = watched.send(Method::POST, "/v1/jobs", JSON, latin).await;
    assert_eq!((answer.status, answer.sort()), (400, "not-utf8"));
    assert!(
        answer.json["detail"].as_str().is_some_and(|detail| detail.contains("position 10")),
        "{answer:?}"
    );
    assert_eq!(watched.jobs().await, 0);
    watched.nothing_is_told();
}

#[tokio::test]
async fn what_is_too_large_is_refused_whole() {
    let watched = Watched::start("sizes").await;
    let padded = |bytes: usize| format!("{{\"kind\": \"{CANARY}{}\"}}", " ".repeat(bytes));
    for (path, bytes) in [("/v1/jobs", 1024 * 1024), ("/v1/jobs", 10_000_000), ("/v1/jobs/bulk", 10_000_000)]
    {
        let answer = watched.send(Method::POST, path, JSON, padded(bytes)).await;
        assert_eq!((answer.status, answer.sort()), (413, "too-large"), "{path} with {bytes}");
    }
    let payload = json!({ "kind": "sync_orders", "payload": { "seller": SELLER, "x": "y".repeat(70_000) } });
    assert_eq!(watched.program.post("/v1/jobs", &payload).await.pointers(), ["/payload"]);
    let flood = |count: usize, bytes: usize| {
        let mut request = watched.program.request(Method::GET, "/v1/kinds");
        for n in 0..count {
            request = request.header(format!("x-{n}"), format!("{CANARY}{}", "y".repeat(bytes)));
        }
        request
    };
    for (count, bytes) in [(80, 1), (20, 1_000)] {
        let answer = said(flood(count, bytes)).await;
        assert_eq!((answer.status, answer.sort()), (431, "headers-too-large"), "{count} of {bytes}");
    }
    // So many are not even read, so nobody can be told more than the status.
    for (count, bytes) in [(2_000, 1), (50, 10_000)] {
        assert_eq!(said(flood(count, bytes)).await.status, 431, "{count} of {bytes}");
    }
    let long = watched.program.get(&format!("/v1/jobs?group={}", CANARY.repeat(400))).await;
    assert_eq!((long.status, long.sort()), (414, "address-too-long"));
    watched.nothing_is_told();
}

#[tokio::test]
async fn a_wrong_address_method_or_answer_is_told() {
    let watched = Watched::start("addresses").await;
    for (method, path, status, sort) in [
        (Method::GET, format!("/v1/{CANARY}"), 404, "no-operation"),
        (Method::GET, "/".to_owned(), 404, "no-operation"),
        (Method::DELETE, "/v1/jobs".to_owned(), 405, "method"),
        (Method::PUT, format!("/v1/jobs/{SELLER}"), 405, "method"),
        (Method::GET, format!("/v1/jobs/{CANARY}"), 400, "parameter"),
        (Method::GET, "/v1/jobs/%ff%fe".to_owned(), 400, "parameter"),
        (Method::GET, format!("/v1/jobs/{SELLER}"), 404, "not-found"),
        (Method::GET, format!("/v1/jobs?state={CANARY}"), 400, "parameter"),
        (Method::GET, format!("/v1/jobs?{CANARY}=1"), 400, "parameter"),
        (Method::GET, "/v1/jobs?limit=0".to_owned(), 400, "parameter"),
        (Method::GET, "/v1/jobs?limit=501".to_owned(), 400, "parameter"),
        (Method::GET, format!("/v1/jobs?limit={CANARY}"), 400, "parameter"),
        (Method::GET, "/v1/jobs?limit=1&limit=2".to_owned(), 400, "parameter"),
        (Method::GET, format!("/v1/jobs?cursor={CANARY}"), 400, "parameter"),
        (Method::GET, "/v1/jobs?group=%00".to_owned(), 400, "parameter"),
        (Method::GET, "/v1/jobs?kind=%00".to_owned(), 400, "parameter"),
    ] {
        let answer = said(watched.program.request(method.clone(), &path)).await;
        assert_eq!((answer.status, answer.sort()), (status, sort), "{method} {path}: {answer:?}");
        assert!(!answer.json.to_string().contains(CANARY), "{path}: {answer:?}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{path}");
    }
    let xml = watched.program.request(Method::GET, "/v1/kinds").header("accept", "application/xml");
    let answer = said(xml).await;
    assert_eq!((answer.status, answer.sort()), (406, "not-acceptable"));
    let key =
        watched.program.request(Method::POST, "/v1/jobs").header("idempotency-key", format!("{CANARY} é"));
    let answer = said(key.json(&json!({ "kind": "sync_orders", "payload": { "seller": SELLER } }))).await;
    assert_eq!((answer.status, answer.pointers()), (400, vec!["Idempotency-Key"]));
    watched.nothing_is_told();
}

#[tokio::test]
async fn a_slow_body_is_given_up_after_its_time() {
    let watched = Watched::start("slow").await;
    let address = watched.console.api.strip_prefix("http://").expect("it is plain");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: {JSON}\r\ncontent-length: 1000\r\n\r\n{{\"kind\": \"{CANARY}",
        watched.key
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let begun = Instant::now();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
        .await
        .expect("it does not wait for ever")
        .expect("it answers");
    let text = String::from_utf8(answer).expect("text");
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("urn:amzigo:problem:too-slow"), "{text}");
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    watched.nothing_is_told();
}
