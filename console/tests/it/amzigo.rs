//! Runs the binary and reads its answers.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
};

use chrono::{DateTime, Utc};
use console::auth::{
    Role, Roles, Token,
    session::{self, COOKIE},
    staff,
};
use queue::JobId;
use runtime::{
    clock::{Clock, SystemClock},
    testing::{TestDatabase, TestRedis},
};
use serde_json::{Value, json};

/// A key ring of one, which protects nothing.
const KEYS: &str = "test:Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtY2g=";

/// The binary with a database of its own.
pub(crate) struct Amzigo {
    pub(crate) database: TestDatabase,
}

/// What a command answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not one JSON document: {error}: {} {}", self.out, self.err))
    }

    /// The error that this exit code came with.
    pub(crate) fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{} {}", self.out, self.err);
        assert_eq!(self.out, "", "errors go to standard error");
        &self.err
    }
}

impl Amzigo {
    pub(crate) async fn new() -> Self {
        Self { database: TestDatabase::new().await }
    }

    /// A command that finds the database, and nothing else: commands say what else they need.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("DATABASE_URL", &self.database.url);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        answer(self.command(arguments).output().expect("the binary starts"))
    }

    pub(crate) fn run_with_keys(&self, arguments: &[&str], input: &[u8]) -> Answer {
        let mut command = self.command(arguments);
        feed(command.env("AMZIGO_KEYS", KEYS), input)
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Answer {
        feed(&mut self.command(arguments), input)
    }

    /// Connects a seller; returns our id of it.
    pub(crate) fn seller(&self) -> String {
        let arguments = [
            "sellers",
            "connect",
            "--json",
            "--selling-partner-id",
            "A2TEST",
            "--region",
            "eu",
            "--marketplace",
            "A1F83G8C2ARO7P",
            "--refresh-token-stdin",
            "--as",
            "tests",
        ];
        let answer = self.run_with_keys(&arguments, b"Atzr|planted-token\n");
        assert_eq!(answer.code, 0, "{}", answer.err);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The command that serves on free ports, without a log.
    fn serve(&self, redis_url: &str, prefix: &str) -> Command {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"]);
        command.env("REDIS_URL", redis_url).env("AMZIGO_PREFIX", prefix).env("AMZIGO_KEYS", KEYS);
        command.stderr(Stdio::null());
        command
    }

    /// A session of somebody new with these roles, as a sign-in opens it.
    pub(crate) async fn session(&self, roles: &[Role], complete: bool) -> Token {
        let mut connection = self.database.pool.acquire().await.expect("Postgres answers");
        let now = SystemClock.now();
        let name = format!("test-{}", JobId::new().to_string().replace('-', "").split_off(20));
        let staff = staff::add(&mut connection, &name, &Roles::new(roles).expect("they go together"), now)
            .await
            .expect("the name is new");
        session::open(&mut connection, staff, "tests", complete, now).await.expect("it opens")
    }

    /// Forgets the first syncs that connecting sellers has enqueued.
    pub(crate) async fn forget_first_syncs(&self) {
        sqlx::raw_sql("delete from outbox; delete from jobs")
            .execute(&self.database.pool)
            .await
            .expect("they can be deleted");
    }

    /// Writes a dead letter with one failed run straight into the ledger.
    pub(crate) async fn dead_letter(&self, kind: &str, error: &str, unique_key: Option<&str>) -> JobId {
        let id = JobId::new();
        let died: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().expect("a moment");
        sqlx::query(
            "with job as (
                insert into jobs (id, kind, queue, group_name, payload, state, attempts, cause, created_at, touched_at,
                    due_at, finished_at, last_error, unique_key)
                values ($1, $2, 'sync', 'somebody', $3, 'dead', 12, 'cli', $4, $4, $4, $4, $5, $6) returning id
            )
            insert into failures (job_id, at, fence, decision, error, worker) select id, $4, 1, 'reject', $5, $1 from job",
        )
        .bind(id.0)
        .bind(kind)
        .bind(json!({ "seller": "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10" }))
        .bind(died)
        .bind(error)
        .bind(unique_key)
        .execute(&self.database.pool)
        .await
        .expect("the row fits");
        id
    }

    /// The states of these jobs, in their order.
    pub(crate) async fn states(&self, ids: &[JobId]) -> Vec<String> {
        let mut states = Vec::new();
        for id in ids {
            let state = sqlx::query_scalar("select state from jobs where id = $1")
                .bind(id.0)
                .fetch_one(&self.database.pool)
                .await
                .expect("the job is there");
            states.push(state);
        }
        states
    }

    /// What the audit log has: actor, action, target, reason.
    pub(crate) async fn audit(&self) -> Vec<(String, String, String, String)> {
        sqlx::query_as("select actor, action, target, reason from audit_log order by id")
            .fetch_all(&self.database.pool)
            .await
            .expect("the audit log can be read")
    }
}

/// A command in an empty environment.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amzigo"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

pub(crate) fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code().expect("it exits by itself"),
        out: String::from_utf8(output.stdout).expect("answers are UTF-8"),
        err: String::from_utf8(output.stderr).expect("errors are UTF-8"),
    }
}

fn feed(command: &mut Command, input: &[u8]) -> Answer {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that refuses before it reads closes the pipe; its answer is what counts.
    drop(stdin.write_all(input));
    drop(stdin);
    answer(child.wait_with_output().expect("it ends"))
}

/// A console that serves pages, until it is dropped.
pub(crate) struct Serving {
    child: Child,
    /// The first line that it printed.
    pub(crate) hello: Value,
    pub(crate) address: String,
    /// Where the API is, as http://….
    pub(crate) api: String,
    http: reqwest::Client,
    redis: Option<TestRedis>,
    session: Option<Token>,
}

/// An HTTP answer.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Serving {
    /// Serves, and asks as a viewer.
    pub(crate) async fn start(amzigo: &Amzigo) -> Self {
        let redis = TestRedis::new().await;
        let mut serving = Self::start_on(amzigo, &redis.url, redis.redis.prefix()).await;
        serving.redis = Some(redis);
        serving
    }

    /// Serves on a Redis that the test looks after, and asks as a viewer.
    pub(crate) async fn start_on(amzigo: &Amzigo, redis_url: &str, prefix: &str) -> Self {
        let mut serving = Self::spawn(&mut amzigo.serve(redis_url, prefix));
        serving.session = Some(amzigo.session(&[Role::Viewer], true).await);
        serving
    }

    /// Serves as the demo does, beside a stand-in for Amazon, and asks as nobody.
    pub(crate) async fn start_demo(amzigo: &Amzigo) -> Self {
        let redis = TestRedis::new().await;
        let mut command = amzigo.serve(&redis.url, redis.redis.prefix());
        command.arg("--demo");
        command.env("SP_API_ENDPOINT", "http://127.0.0.1:9").env("LWA_ENDPOINT", "http://127.0.0.1:9/token");
        let mut serving = Self::spawn(&mut command);
        serving.redis = Some(redis);
        serving
    }

    /// Serves with its log, all of it, in this file, and asks as a viewer.
    pub(crate) async fn start_with_log(amzigo: &Amzigo, log: std::fs::File) -> Self {
        let redis = TestRedis::new().await;
        let mut command = amzigo.serve(&redis.url, redis.redis.prefix());
        command.env("AMZIGO_LOG", "trace").stderr(log);
        let mut serving = Self::spawn(&mut command);
        serving.session = Some(amzigo.session(&[Role::Viewer], true).await);
        serving.redis = Some(redis);
        serving
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where");
        let hello: Value = serde_json::from_str(&line).expect("the first line is JSON");
        let address = hello["address"].as_str().expect("an address").to_owned();
        let api = hello["api"].as_str().expect("an address of the API").to_owned();
        // Where an answer leads to is what the tests look at.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a plain client");
        Self { child, hello, address, api, http, redis: None, session: None }
    }

    /// From here on asks as somebody with these roles, signed in with both factors just now.
    pub(crate) async fn sign_in(&mut self, amzigo: &Amzigo, roles: &[Role]) {
        self.session = Some(amzigo.session(roles, true).await);
    }

    /// From here on asks in this session.
    pub(crate) fn ask_in(&mut self, session: &Token) {
        self.session = Some(session.clone());
    }

    /// From here on asks in the session that this answer has opened.
    pub(crate) fn follow_session(&mut self, page: &Page) {
        let cookie = page.headers["set-cookie"].to_str().expect("text");
        let value = cookie.strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('=')).expect("a session");
        self.session = Token::read(value.split(';').next().unwrap_or_default());
    }

    /// Sends a form as a browser does from a page of the console, with the session's token.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.session.as_ref().map(|token| token.derive("csrf").text()).unwrap_or_default();
        let mut form = vec![("csrf", csrf.as_str())];
        form.extend_from_slice(fields);
        let request = self.http.post(format!("http://{}{path}", self.address)).form(&form);
        let request = request.header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "navigate");
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.get_as(path, &self.address).await
    }

    /// Asks under a name of the console.
    pub(crate) async fn get_as(&self, path: &str, host: &str) -> Page {
        let url = format!("http://{}{path}", self.address);
        self.send(self.http.get(url).header("host", host)).await
    }

    /// Opens a stream of events, as a browser does.
    pub(crate) async fn stream(&self, path: &str) -> reqwest::Response {
        let token = self.session.as_ref().map(Token::text).unwrap_or_default();
        let request = self.http.get(format!("http://{}{path}", self.address));
        let request =
            request.header("accept", "text/event-stream").header("cookie", format!("{COOKIE}={token}"));
        request.send().await.expect("it answers")
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Page {
        if let Some(token) = &self.session {
            request = request.header("cookie", format!("{COOKIE}={}", token.text()));
        }
        let answer = request.send().await.expect("it answers");
        Page {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.expect("text"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
