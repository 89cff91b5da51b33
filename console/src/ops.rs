//! What people may know and change, one subject a file. Pages and the command line call the same functions.
//!
//! A function that changes something takes an [`Act`] and writes it to the audit log in the transaction of the change, so
//! that there is no change without a name and a reason. Times are handed in.

pub mod audit;
pub mod audit_chain;
pub mod backlog;
pub mod batches;
pub mod budgets;
pub mod bulk;
pub mod cancel;
pub mod controls;
pub mod counts;
pub mod dead;
pub mod deadlines;
pub mod delay;
pub mod doctor;
pub mod enqueue;
pub mod explain;
pub mod freshness;
pub mod history;
pub mod invite;
pub mod jobs;
pub mod keys;
pub mod kinds;
pub mod overview;
pub mod people;
pub mod reliability;
pub mod run_now;
pub mod schedules;
pub mod search;
pub mod sellers;
pub mod story;
pub mod workers;

pub use queue::act::{self, Act, Via};
