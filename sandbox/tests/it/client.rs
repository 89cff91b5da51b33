//! A client as plain as can be: it signs in, sends one request, and keeps the whole answer.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use sandbox::{Control, Options, Region, Sandbox, Seed, Seeded};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What our client calls itself, in the form Amazon demands.
pub(crate) const USER_AGENT: &str = "Amzigo/1.0 (Language=Rust/1.95; Platform=Linux)";

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// The bytes as text, with signs in place of what is none.
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("our headers are ASCII"))
    }

    /// The first error's message and details.
    pub(crate) fn complaint(&self) -> (String, String) {
        let body = self.json();
        let text = |name: &str| body["errors"][0][name].as_str().unwrap_or_default().to_owned();
        (text("message"), text("details"))
    }
}

/// A wall clock that a test moves.
#[derive(Clone)]
pub(crate) struct HandClock {
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl HandClock {
    pub(crate) fn new() -> HandClock {
        let start = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp");
        HandClock { now: Arc::new(Mutex::new(start)) }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap()
    }

    pub(crate) fn advance(&self, step: TimeDelta) {
        *self.now.lock().unwrap() += step;
    }
}

/// A seeded sandbox, its clock, and a client.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) clock: HandClock,
    pub(crate) seeded: Seeded,
    pub(crate) base_url: String,
    pub(crate) client: reqwest::Client,
    sandbox: Arc<Sandbox>,
}

impl Stage {
    /// Three sellers with 180 orders, at Amazon's real speed.
    pub(crate) async fn set() -> Stage {
        Stage::with_orders(180).await
    }

    pub(crate) async fn with_orders(orders: usize) -> Stage {
        let clock = HandClock::new();
        let handed_in = clock.clone();
        let options = Options { clock: Arc::new(move || handed_in.now()), ..Options::default() };
        let sandbox = Sandbox::start(options).await.expect("a free loopback port");
        let seed = Seed { sellers: 3, orders, seed: 1, region: Region::Eu };
        let seeded = sandbox.control().seed(&seed).expect("a fitting seed");
        Stage { clock, seeded, base_url: sandbox.base_url(), client: http(), sandbox: Arc::new(sandbox) }
    }

    pub(crate) fn control(&self) -> &Control {
        self.sandbox.control()
    }

    pub(crate) fn seller(&self, number: usize) -> &str {
        &self.seeded.sellers[number].selling_partner_id
    }

    /// Asks the sign-in for a token, with the given form.
    pub(crate) async fn sign_in_with(&self, form: &[(&str, &str)]) -> Answer {
        let request = self.client.post(format!("{}/auth/o2/token", self.base_url)).form(form);
        read(request).await.expect("the sign-in answers")
    }

    pub(crate) async fn sign_in(&self, number: usize) -> Answer {
        self.sign_in_with(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &self.seeded.sellers[number].refresh_token),
            ("client_id", &self.seeded.client_id),
            ("client_secret", &self.seeded.client_secret),
        ])
        .await
    }

    pub(crate) async fn access_token(&self, number: usize) -> String {
        let answer = self.sign_in(number).await.json();
        answer["access_token"].as_str().expect("the seller is authorised").to_owned()
    }

    /// Sends a request with a token; fails as the connection does.
    pub(crate) async fn try_send(&self, method: Method, path: &str, token: &str) -> reqwest::Result<Answer> {
        let request = self.client.request(method, format!("{}{path}", self.base_url));
        read(request.header("x-amz-access-token", token).header("user-agent", USER_AGENT)).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.try_send(Method::GET, path, token).await.expect("the sandbox answers")
    }

    pub(crate) async fn post(&self, path: &str, token: &str) -> Answer {
        self.try_send(Method::POST, path, token).await.expect("the sandbox answers")
    }

    /// Sends a body of JSON with a token.
    pub(crate) async fn post_json(&self, path: &str, token: &str, body: &serde_json::Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base_url)).json(body);
        let request = request.header("x-amz-access-token", token).header("user-agent", USER_AGENT);
        read(request).await.expect("the sandbox answers")
    }

    /// Path of a search for all orders of the last 70 days.
    pub(crate) fn search(&self, more: &str) -> String {
        let after = (self.clock.now() - TimeDelta::days(70)).format("%Y-%m-%dT%H:%M:%SZ");
        format!("/orders/2026-01-01/orders?lastUpdatedAfter={after}{more}")
    }

    /// Paths to ask about, and to solicit, a seller's order: the first that fits.
    pub(crate) fn solicitation(&self, number: usize, eligible: bool) -> Solicitation {
        let orders = self.control().orders();
        let order = orders[self.seller(number)]
            .iter()
            .find(|order| order.eligible == eligible)
            .expect("the seed has orders of either sort");
        Solicitation::new(&order.id, &order.marketplace_id)
    }
}

/// The two paths of an order's solicitation.
pub(crate) struct Solicitation {
    pub(crate) order_id: String,
    pub(crate) actions: String,
    pub(crate) create: String,
}

impl Solicitation {
    pub(crate) fn new(order_id: &str, marketplace: &str) -> Solicitation {
        let order = format!("/solicitations/v1/orders/{order_id}");
        let create =
            format!("{order}/solicitations/productReviewAndSellerFeedback?marketplaceIds={marketplace}");
        let actions = format!("{order}?marketplaceIds={marketplace}");
        Solicitation { order_id: order_id.to_owned(), actions, create }
    }
}

/// A client for loopback. It trusts no certificate, because it never sees one.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client without TLS needs nothing")
}

pub(crate) async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await?.to_vec();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status, headers, bytes, text })
}

/// Waits until something is so, and fails after ten seconds.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "waited ten seconds for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
