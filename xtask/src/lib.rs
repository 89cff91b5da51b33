//! What the commands of this workspace stand on, shared with the end-to-end tests: Redis and Postgres servers, and child processes.
//!
//! [`services`] finds, starts and stops the two servers everything else needs; [`tools`] what else tests need; [`process`] runs programs so that an interrupted
//! command leaves none of them behind. The commands themselves are modules of the binary. Unix only.

pub mod error;
pub mod guarded;
mod packages;
pub mod process;
pub mod services;
pub mod tools;
mod turn;

pub use error::{Error, Result};
