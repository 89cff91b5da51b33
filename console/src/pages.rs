//! What `amzigo serve` answers: health and metrics for machines.

use axum::Router;
use runtime::health::Health;

/// All routes.
pub fn router(health: Health) -> Router {
    health.router()
}
