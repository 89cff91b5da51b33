//! What an orchestrator and a monitor ask a process: `/livez`, `/readyz`, `/metrics`.
//!
//! Alive means that every loop of the process has turned lately; it does not depend on Redis or Postgres, because
//! restarting a process does not heal them. Ready means that the process can do its work now.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

/// The loops of a process, and when each turned last.
#[derive(Debug, Clone, Default)]
pub struct Loops {
    loops: Arc<Mutex<Vec<Turn>>>,
}

#[derive(Debug, Clone)]
struct Turn {
    name: &'static str,
    longest: Duration,
    at: Instant,
}

/// What one loop reports to.
#[derive(Debug, Clone)]
pub struct Beat {
    loops: Loops,
    index: usize,
}

impl Loops {
    /// Adds a loop that must turn at least once in `longest`.
    #[must_use]
    pub fn add(&self, name: &'static str, longest: Duration) -> Beat {
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.push(Turn { name, longest, at: Instant::now() });
        Beat { loops: self.clone(), index: loops.len() - 1 }
    }

    /// The loops that hang, with how long ago they turned, in seconds.
    #[must_use]
    pub fn hanging(&self) -> Vec<(&'static str, u64)> {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops
            .iter()
            .filter(|turn| turn.at.elapsed() > turn.longest)
            .map(|turn| (turn.name, turn.at.elapsed().as_secs()))
            .collect()
    }
}

impl Beat {
    /// The loop has turned.
    pub fn turned(&self) {
        let mut loops = self.loops.loops.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = loops.get_mut(self.index) {
            turn.at = Instant::now();
        }
    }
}

/// What stands behind the answers.
#[derive(Debug, Clone)]
pub struct Health {
    /// The loops of this process.
    pub loops: Loops,
    /// What it records.
    pub telemetry: Telemetry,
    /// Postgres, if it needs it.
    pub pool: sqlx::PgPool,
    /// Redis, if it needs it.
    pub redis: crate::redis::Redis,
    /// Cancelled when the process stops: then it is not ready for more.
    pub stopping: CancellationToken,
}

/// Longest wait for Redis or Postgres when asked whether this process is ready.
const PATIENCE: Duration = Duration::from_secs(2);

impl Health {
    /// The three routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(|State(health): State<Self>| async move { health.telemetry.render() }))
            .with_state(self)
    }

    /// Why the process is not ready; empty when it is.
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        match tokio::time::timeout(PATIENCE, crate::postgres::check_migrated(&self.pool)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => reasons.push(format!("postgres: {error}")),
            Err(_) => reasons.push("postgres: no answer in time".to_owned()),
        }
        let mut connection = self.redis.connection();
        let ping = redis::cmd("PING");
        match tokio::time::timeout(PATIENCE, ping.query_async::<String>(&mut connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => reasons.push(format!("redis: {error}")),
            Err(_) => reasons.push("redis: no answer in time".to_owned()),
        }
        reasons
    }
}

async fn livez(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    let hanging = health.loops.hanging();
    if hanging.is_empty() {
        return (StatusCode::OK, Json(json!({ "alive": true })));
    }
    let hanging: Vec<_> =
        hanging.into_iter().map(|(name, seconds)| json!({ "loop": name, "seconds": seconds })).collect();
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "alive": false, "hanging": hanging })))
}

async fn readyz(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    let reasons = health.not_ready().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}

/// Answers on `listen` until `stop` is cancelled. Returns the real address.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    health: Health,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let served = axum::serve(listener, health.router()).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the health server ended");
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_named_until_it_turns() {
        let loops = Loops::default();
        let relay = loops.add("relay", Duration::from_secs(10));
        let _cron = loops.add("cron", Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(loops.hanging(), [("relay", 11)]);
        relay.turned();
        assert_eq!(loops.hanging(), []);
    }
}
