//! The kinds of jobs, one file each, all in the same six parts: what it promises, payload, policy and run, report, steps,
//! tests.

pub mod backfill_orders;
pub mod plan_review_requests;
pub mod send_review_request;
pub mod sync_inventory;
pub mod sync_listings;
pub mod sync_orders;
pub mod sync_participations;
