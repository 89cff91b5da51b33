//! A program that asks the API with a key.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::amzigo::{Amzigo, Serving};

/// Everything that a key can be allowed.
pub(crate) const ALL_SCOPES: [&str; 5] = ["enqueue", "read", "cancel", "batches", "schedules"];
/// A seller that need not exist to enqueue a job for it.
pub(crate) const SELLER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";

/// What `amzigo keys create` and `rotate` answer.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) text: String,
}

impl Key {
    fn of(said: &Value) -> Self {
        let text = |name: &str| said[name].as_str().expect("it is text").to_owned();
        Self { id: text("id"), text: text("key") }
    }
}

impl Amzigo {
    /// Makes a key with these scopes and further arguments.
    pub(crate) fn key(&self, scopes: &[&str], further: &[&str]) -> Key {
        let mut arguments =
            vec!["keys", "create", "tests.program", "--json", "--reason", "a test", "--as", "tests"];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        arguments.extend_from_slice(further);
        let made = self.run(&arguments);
        assert_eq!(made.code, 0, "{}", made.err);
        Key::of(&made.json())
    }

    /// Rotates a key with this overlap.
    pub(crate) fn rotate(&self, key: &Key, overlap: &str) -> Key {
        let arguments = [
            "keys",
            "rotate",
            &key.id,
            "--overlap",
            overlap,
            "--json",
            "--reason",
            "a test",
            "--as",
            "tests",
        ];
        let rotated = self.run(&arguments);
        assert_eq!(rotated.code, 0, "{}", rotated.err);
        Key::of(&rotated.json())
    }
}

/// The program. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Program {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// What the API answered.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Said {
    /// The sort of a problem, without what all have in common.
    pub(crate) fn sort(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.json["status"], self.status, "{self:?}");
        self.json["type"].as_str().and_then(|sort| sort.strip_prefix("urn:amzigo:problem:")).expect("a sort")
    }

    /// Which fields are not right.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array().expect("a list");
        errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect()
    }

    pub(crate) fn id(&self) -> String {
        self.json["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }
}

impl Program {
    pub(crate) fn new(serving: &Serving, key: &str) -> Self {
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(90)).build().expect("a plain client");
        Self { http, base: serving.api.clone(), key: Some(key.to_owned()) }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    pub(crate) fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// A request that has the key and nothing else.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        said(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Said {
        said(self.request(Method::POST, path).json(body)).await
    }

    /// Enqueues an order sync for the seller, whose kind is unique.
    pub(crate) async fn sync_orders(&self, seller: &str) -> Said {
        self.post("/v1/jobs", &json!({ "kind": "sync_orders", "payload": { "seller": seller } })).await
    }
}

/// Sends a request and reads its answer.
pub(crate) async fn said(request: reqwest::RequestBuilder) -> Said {
    let answer = request.send().await.expect("it answers");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.expect("text");
    let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Said { status, headers, json }
}
