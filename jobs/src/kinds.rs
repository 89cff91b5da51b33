//! The kinds of jobs, one file each, all in the same six parts: what it promises, payload, policy and run, report, steps,
//! tests.

pub mod send_review_requests;
pub mod sync_orders;
pub mod sync_performance;
