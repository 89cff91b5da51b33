//! Every page and every list of the API, asked many times over HTTP as people and programs do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::http::Method;
use chrono::TimeDelta;
use console::{
    access::Rule,
    api::{self, Api},
    auth::{
        Permission, Role, Roles, Token,
        api_key::Scope,
        session::{self, COOKIE},
        staff,
    },
    console::Console,
    ops::{
        Act,
        keys::{self, NewKey},
    },
    origin::Origin,
    pages,
};
use queue::JobId;
use runtime::{
    clock::{Clock, SystemClock},
    env::ProcessEnvironment,
    health::{Health, Loops},
    shutdown::Shutdown,
    telemetry,
    testing::{TestDatabase, TestRedis},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use super::filled;

/// Filters of the pages that have some, as people use them.
const ADDRESSES: &[&str] = &[
    "/?span=24h",
    "/?span=7d",
    "/jobs?state=dead",
    "/jobs?state=done",
    "/jobs?state=ready",
    "/jobs?kind=sync_listings&state=dead",
    "/jobs?seller={seller}",
    "/dead?kind=sync_orders",
];
/// The same of the API.
const LISTS: &[&str] = &["/v1/jobs?state=dead", "/v1/jobs?kind=sync_orders", "/v1/jobs?state=done"];

/// The seller with the most jobs: the first one that is filled in.
const SELLER: &str = "fecdcdf6-14fb-f1d0-e9c3-18b32944637d";

/// A console with both of its listeners.
pub(crate) struct Asked {
    console: Console,
    pages_at: SocketAddr,
    api_at: SocketAddr,
    shutdown: Shutdown,
    http: reqwest::Client,
    jobs: Vec<JobId>,
    key: String,
}

/// What one address answered.
pub(crate) struct Measured {
    pub(crate) address: String,
    pub(crate) status: u16,
    pub(crate) took: Vec<Duration>,
}

impl Measured {
    /// How long this percentage of the requests took at most, in milliseconds.
    pub(crate) fn at_most(&self, percent: usize) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
        (took[place].as_secs_f64() * 10_000.0).round() / 10.0
    }

    pub(crate) fn told(&self) -> Value {
        json!({
            "page": self.address, "status": self.status, "requests": self.took.len(),
            "p50_ms": self.at_most(50), "p95_ms": self.at_most(95), "p99_ms": self.at_most(99),
        })
    }
}

impl Asked {
    pub(crate) async fn start(database: &TestDatabase, redis: &TestRedis) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (one, other) = (listener().await, listener().await);
        let (pages_at, api_at) =
            (one.local_addr().expect("it is bound"), other.local_addr().expect("it is bound"));
        let (pool, shutdown) = (database.pool.clone(), Shutdown::default());
        let origin = Origin::of_this_host(pages_at);
        let console = Console::new(pool.clone(), redis.redis.clone(), clock, origin, None)
            .expect("the host has random numbers");
        let health = Health {
            loops: Loops::default(),
            telemetry: telemetry::start(&ProcessEnvironment).expect("nothing else records here"),
            pool,
            redis: redis.redis.clone(),
            stopping: shutdown.soft.clone(),
        };
        let service =
            pages::router(console.clone(), health).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(one, service).await });
        let api = Api::start(console.clone(), shutdown.soft.clone());
        tokio::spawn(api::serve(other, api, shutdown.clone()));
        let mut connection = database.pool.acquire().await.expect("Postgres answers");
        let jobs = filled::some_jobs(&mut connection, 200).await.expect("they can be read");
        let new = NewKey {
            owner: "bench".to_owned(),
            scopes: vec![Scope::Read, Scope::Batches, Scope::Schedules],
            kinds: Vec::new(),
            lifetime: TimeDelta::days(1),
            rate_per_second: keys::MOST,
            burst: keys::MOST,
        };
        let act = Act::new("bench", "measures the pages").expect("it has both");
        let key = keys::create(&mut connection, &new, &act, SystemClock.now())
            .await
            .expect("it can be made")
            .text();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a plain client");
        Self { console, pages_at, api_at, shutdown, http, jobs, key }
    }

    /// Asks every address so many times, one after another, the first time uncounted.
    pub(crate) async fn all(&self, times: usize) -> Vec<Measured> {
        let mut measured = Vec::new();
        for (address, role) in self.pages() {
            let cookie = format!("{COOKIE}={}", self.session(role).await.text());
            measured.push(self.measure(self.pages_at, &address, ("cookie", &cookie), times).await);
        }
        let key = format!("Bearer {}", self.key);
        for address in lists() {
            measured.push(self.measure(self.api_at, &address, ("authorization", &key), times).await);
        }
        measured
    }

    pub(crate) fn stop(&self) {
        self.shutdown.soft.cancel();
        self.shutdown.hard.cancel();
    }

    /// Every page that is declared, and who may see it. Only what names a job is filled in with one; what needs another id
    /// answers that there is none.
    fn pages(&self) -> Vec<(String, Role)> {
        let declared = pages::declared(&self.console);
        let mut all: Vec<_> = declared
            .iter()
            .filter(|route| route.method == Method::GET)
            .map(|route| {
                let role = match route.rule {
                    Rule::Staff(Permission::ReadAudit) => Role::Auditor,
                    Rule::Staff(Permission::Administer) | Rule::SteppedUp(Permission::Administer) => {
                        Role::Admin
                    }
                    Rule::Staff(Permission::Approve) => Role::Approver,
                    _ => Role::Oncall,
                };
                (route.path.to_owned(), role)
            })
            .collect();
        all.extend(ADDRESSES.iter().map(|address| ((*address).to_owned(), Role::Oncall)));
        all
    }

    async fn session(&self, role: Role) -> Token {
        let mut connection = self.console.pool.acquire().await.expect("Postgres answers");
        let name = format!("bench-{}", JobId::new().to_string().replace('-', "").split_off(20));
        let roles = Roles::new(&[role]).expect("it is one");
        let now = self.console.now();
        let staff = staff::add(&mut connection, &name, &roles, now).await.expect("the name is new");
        session::open(&mut connection, staff, "bench", true, now).await.expect("it opens")
    }

    async fn measure(
        &self,
        server: SocketAddr,
        address: &str,
        (header, value): (&str, &str),
        times: usize,
    ) -> Measured {
        let seller = SELLER;
        let (mut took, mut status) = (Vec::with_capacity(times), 0);
        for n in 0..=times {
            let job = self.jobs[n % self.jobs.len()].to_string();
            let id = if address.starts_with("/sellers") { seller } else { &job };
            let path = address
                .replace("{id}", id)
                .replace("{seller}", seller)
                .replace("{kind}", "sync_orders")
                .replace("{queue}", "sync");
            let request = self.http.get(format!("http://{server}{path}")).header(header, value);
            let began = Instant::now();
            let answer = request.send().await.expect("it answers");
            status = answer.status().as_u16();
            answer.bytes().await.expect("to the end");
            if n > 0 {
                took.push(began.elapsed());
            }
        }
        Measured { address: address.to_owned(), status, took }
    }
}

/// Every list that is declared; what waits for an end or names a batch is none.
fn lists() -> Vec<String> {
    let waits =
        |path: &str| path.ends_with("/wait") || path.ends_with("/events") || path.contains("batches/");
    let declared = api::declared();
    let listed = declared.iter().filter(|route| route.method == Method::GET && !waits(&route.path));
    listed.map(|route| route.path.clone()).chain(LISTS.iter().map(|list| (*list).to_owned())).collect()
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}
