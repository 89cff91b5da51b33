//! The kinds of jobs, one file each, all in the same six parts: what it promises, payload, policy and run, report, steps,
//! tests.

pub mod backfill_orders;
pub mod delete_seller_data;
pub mod disconnect_seller;
pub mod plan_review_requests;
pub mod receive_notifications;
pub mod send_review_request;
pub mod subscribe_notifications;
pub mod sync_inventory;
pub mod sync_listings;
pub mod sync_orders;
pub mod sync_participations;
pub mod sync_performance;
pub mod watch_authorisations;
