//! The tables, one family a file. Functions take a connection and never open a transaction for a caller.

pub mod account_health;
pub mod amazon_reports;
pub mod cursors;
pub mod order_metrics;
pub mod orders;
pub mod review_requests;
pub mod seller_feedback;
pub mod sellers;
