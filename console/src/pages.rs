//! Read-only pages about queues and jobs, for people in a browser, beside health and metrics for machines.
//!
//! They work without scripts; a few lines of our own keep them fresh and add the reader's own time. Nothing on them is
//! anything but ids and what our own programs wrote, and all of it is escaped. There is no sign-in yet, so only this host
//! may ask: see [`guard`].

mod amazon;
mod assets;
mod gauges;
mod guard;
mod job;
mod layout;
mod list;
mod overview;
mod parts;
mod problem;
mod sellers;

use axum::{Router, middleware, routing::get};
use queue::Engine;
use runtime::health::Health;
use sqlx::PgPool;

/// What the pages read from. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Console {
    /// The memory.
    pub pool: PgPool,
    /// The queues in Redis, and the time.
    pub engine: Engine,
}

/// All routes: `/`, `/jobs`, `/jobs/{id}`, `/sellers`, `/amazon`, the files they need, `/livez`, `/readyz` and `/metrics`.
pub fn router(console: Console, health: Health) -> Router {
    gauges::describe();
    let fresh_gauges = middleware::from_fn_with_state(console.clone(), gauges::refresh);
    Router::new()
        .route("/", get(overview::page))
        .route("/jobs", get(list::page))
        .route("/jobs/{id}", get(job::page))
        .route("/sellers", get(sellers::page))
        .route("/amazon", get(amazon::page))
        .fallback(problem::no_such_page)
        .with_state(console)
        .merge(assets::router())
        .merge(health.router().layer(fresh_gauges))
        .layer(middleware::from_fn(guard::headers))
        .layer(middleware::from_fn(guard::only_this_host))
}
