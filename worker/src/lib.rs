//! Runs jobs: one pool a queue, each with slots of its own.
//!
//! Stopping: the first SIGTERM stops taking jobs and lets the running ones finish; after the grace time (or at a second
//! signal) what still runs is handed back, uncounted. Killed outright, its jobs run elsewhere when its lease has ended.

pub mod config;
mod execute;
mod pool;
pub mod process;
