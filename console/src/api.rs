//! The HTTP API for programs, on a listener of its own: enqueue jobs, look them up, wait for their end.
//!
//! Programs come with a key and nothing else; cookies are never looked at. Who may ask what is said with each operation in
//! [`routes`](mod@routes); docs/API.md explains keys, limits, waiting and problems.

mod batches;
mod body;
mod committer;
mod document;
mod enqueue;
mod gate;
mod holders;
mod job;
mod job_request;
mod kinds;
mod listener;
mod look_up;
mod payload;
mod problem;
mod routes;
mod watcher;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{Router, middleware};
use chrono::{DateTime, Utc};
use runtime::shutdown::Shutdown;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa_axum::routes;

use self::{
    committer::Committer,
    holders::Holders,
    problem::{Problem, Sort},
    routes::Routes,
    watcher::Watcher,
};
pub use self::{gate::Rule, routes::Route};
use crate::{auth::api_key::Scope, console::Console};

/// What every operation may use. Cloning is cheap.
#[derive(Clone)]
pub struct Api {
    console: Console,
    holders: Arc<Holders>,
    committer: Committer,
    watcher: Watcher,
    stopping: CancellationToken,
}

/// How often it is written when keys were last used.
const NOTED_EVERY: Duration = Duration::from_secs(5);

impl Api {
    /// Starts what all requests share: the committer, the watcher, the notes of which keys are used.
    #[must_use]
    pub fn start(console: Console, stopping: CancellationToken) -> Self {
        let holders = Arc::new(Holders::new(console.pool.clone()));
        tokio::spawn(note_uses(Arc::clone(&holders), stopping.clone()));
        let committer = Committer::start(&console);
        let watcher = Watcher::start(console.pool.clone());
        Self { console, holders, committer, watcher, stopping }
    }

    fn now(&self) -> DateTime<Utc> {
        self.console.now()
    }
}

async fn note_uses(holders: Arc<Holders>, stopping: CancellationToken) {
    let mut last = false;
    while !last {
        tokio::select! {
            () = tokio::time::sleep(NOTED_EVERY) => {}
            () = stopping.cancelled() => last = true,
        }
        if let Err(error) = holders.write_used().await {
            tracing::warn!(%error, "could not note which API keys were used");
        }
    }
}

/// Every operation, with the rule of each.
fn operations(api: Option<Api>) -> Routes {
    let enqueue = Rule::Key(Scope::Enqueue);
    let read = Rule::Key(Scope::Read);
    let batches = Rule::Key(Scope::Batches);
    Routes::new(api, document::empty())
        .add(enqueue, routes!(enqueue::one))
        .add(enqueue, routes!(enqueue::bulk))
        .add(read, routes!(look_up::list))
        .add(read, routes!(look_up::one))
        .add(Rule::Key(Scope::Cancel), routes!(look_up::cancel))
        .add(read, routes!(look_up::wait))
        .add(read, routes!(look_up::events))
        .add(batches, routes!(batches::open))
        .add(batches, routes!(batches::list))
        .add(batches, routes!(batches::one))
        .add(batches, routes!(batches::add))
        .add(batches, routes!(batches::seal))
        .add(read, routes!(kinds::list))
        .add(Rule::Key(Scope::Schedules), routes!(kinds::schedules))
        .add(Rule::Open, routes!(document::json))
}

/// What [`router`] answers, as it was declared, without the documentation page.
#[must_use]
pub fn declared() -> Vec<Route> {
    operations(None).list()
}

/// What it says about itself, in OpenAPI 3.1.
#[must_use]
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document::whole(operations(None).split().1));
    &DOCUMENT
}

/// All operations, and the page that documents them.
pub fn router(api: Api) -> Router {
    let (router, _) = operations(Some(api.clone())).split();
    router
        .merge(document::page())
        .fallback(no_operation)
        .method_not_allowed_fallback(not_with_this_method)
        .layer(middleware::from_fn(gate::bounds))
        .with_state(api)
}

async fn no_operation() -> Problem {
    Problem::new(Sort::NoOperation, "There is no such operation; /docs lists them.")
}

async fn not_with_this_method() -> Problem {
    Problem::new(
        Sort::NotAllowed,
        "This address does not take this method; the header Allow says which it takes.",
    )
}

/// Answers on this listener until the process stops.
pub async fn serve(listener: TcpListener, api: Api, shutdown: Shutdown) {
    listener::serve(listener, router(api), shutdown).await;
}
