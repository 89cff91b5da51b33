//! What every process needs before it works: time, environment, ids, secrets, Postgres, Redis, telemetry, shutdown, retries.
//!
//! Knows nothing of queues or jobs. Everything that comes from outside (time, chance, environment) can be handed in,
//! so that tests own it.

pub mod clock;
pub mod env;
pub mod health;
pub mod ids;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
