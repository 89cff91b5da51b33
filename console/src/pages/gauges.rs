//! Gauges about all queues, computed when they are asked for.
//!
//! Every series is set each time, to zero where there is nothing, because one that is no longer set would keep its last
//! value for ever. Where they cannot be computed the whole answer is refused: an old number looks like a new one.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use jobs::{catalog::CATALOG, store::authorisations};
use metrics::{Unit, describe_gauge, describe_histogram, gauge};
use queue::watch;
use sqlx::PgConnection;

use crate::{
    console::Console,
    ops::counts::{self, COUNTED},
};

/// How near the end of an authorisation is that is counted.
const ENDS_SOON: TimeDelta = TimeDelta::days(30);

/// Says what the gauges mean.
pub(super) fn describe() {
    describe_gauge!("jobs", "Jobs that are not at a good end, by queue and state.");
    describe_gauge!(
        "oldest_ready_seconds",
        Unit::Seconds,
        "How long the longest waiting ready job has waited."
    );
    describe_gauge!("outbox_depth", "Jobs that Redis has not been told of.");
    describe_gauge!(
        "deadline_seconds_left",
        Unit::Seconds,
        "Time until the nearest deadline of a queue's jobs; negative when it has passed, infinite without one."
    );
    describe_gauge!(
        "authorisations_ending_soon",
        "Sellers whose authorisation ends within 30 days, or should have ended."
    );
    describe_gauge!("live_pages", "Pages that lie open and are kept fresh by a stream.");
    describe_histogram!(
        "live_refresh_seconds",
        Unit::Seconds,
        "How long it took to read the overview for all pages that lie open."
    );
    describe_gauge!("dead_letters", "Jobs that ended in failure and wait for a person's decision, by kind.");
}

/// Refreshes the gauges before `/metrics` is answered; lets everything else through.
pub(super) async fn refresh(State(console): State<Console>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/metrics"
        && let Err(error) = record(&console).await
    {
        tracing::error!(%error, "the gauges could not be computed");
        return (StatusCode::SERVICE_UNAVAILABLE, "Postgres did not answer; see /readyz\n").into_response();
    }
    next.run(request).await
}

async fn record(console: &Console) -> Result<(), sqlx::Error> {
    let mut connection = console.pool.acquire().await?;
    set(&mut connection, console.engine.clock().now()).await
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
async fn set(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    for counts in counts::by_queue(connection).await? {
        let queue = counts.queue.name();
        for state in COUNTED {
            gauge!("jobs", "queue" => queue, "state" => state.name()).set(counts.of(state) as f64);
        }
        let waited = counts.oldest_ready_since.map_or(0, |since| (now - since).num_milliseconds().max(0));
        gauge!("oldest_ready_seconds", "queue" => queue).set(waited as f64 / 1_000.0);
    }
    gauge!("outbox_depth").set(counts::outbox(connection).await?.depth as f64);
    for (queue, left) in watch::seconds_left(connection, now).await? {
        gauge!("deadline_seconds_left", "queue" => queue.name()).set(left.unwrap_or(f64::INFINITY));
    }
    let ending = authorisations::ending_before(connection, now + ENDS_SOON).await?;
    gauge!("authorisations_ending_soon").set(ending as f64);
    let dead = counts::dead_by_kind(connection).await?;
    for kind in CATALOG.iter() {
        gauge!("dead_letters", "kind" => kind.name).set(dead.get(kind.name).copied().unwrap_or(0) as f64);
    }
    // A kind that is no longer in the catalog keeps its dead letters.
    for (kind, count) in dead.into_iter().filter(|(kind, _)| CATALOG.get(kind).is_none()) {
        gauge!("dead_letters", "kind" => kind).set(count as f64);
    }
    Ok(())
}
