//! What the commands of this workspace stand on, shared with the end-to-end tests: Redis and Postgres servers, and child processes.
//!
//! [`services`] finds, starts and stops the two servers everything else needs; [`process`] runs programs so that an interrupted
//! command leaves none of them behind. The commands themselves are modules of the binary. Unix only.

pub mod error;
pub mod guarded;
pub mod process;
pub mod services;

pub use error::{Error, Result};
