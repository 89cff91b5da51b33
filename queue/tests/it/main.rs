//! Tests of the engine against a real Redis and a real Postgres, one module a subject.
//!
//! Every test has a database and a Redis prefix of its own, so all run at once and none cleans up after another. Where
//! time matters the test owns the clock; where a task in the background must come so far, `eventually` looks again and
//! again until a deadline.
#![allow(clippy::unwrap_used, reason = "a test that meets an error it does not expect has failed")]

mod batches;
mod budgets;
mod budgets_model;
mod budgets_moved;
mod budgets_processes;
mod budgets_together;
mod cancel;
mod claims;
mod controls;
mod dead;
mod deadlines;
mod delayed;
mod deployment;
mod expiry;
mod explain;
mod hurry;
mod leases;
mod ledger;
mod limits;
mod model;
mod outbox;
mod prune;
mod reconcile;
mod recovery;
mod rings;
mod roll_up;
mod test_engine;
mod traces;
mod unique;
mod watching;
mod whale;
mod worker;
mod worker_faults;
mod working;
