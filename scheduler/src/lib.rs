//! Decides when: relays the outbox, fires schedules, promotes what is due, rescues what lost workers held, puts back
//! what Redis no longer knows, watches deadlines, cancels what has expired, finishes batches, carries bulk
//! operations on, and deletes what ended long ago.
//!
//! Several may run; one leads, and another takes over within seconds of its end. Everything a leader does is safe beside
//! a second one: rows are taken with `skip locked`, ticks are keyed by schedule and moment, moves are single scripts.

pub mod config;
pub mod leader;
pub mod process;
pub mod services;
