//! The tables, one family a file. Functions take a connection and never open a transaction for a caller.

pub mod account_health;
pub mod amazon_reports;
pub mod authorisations;
pub mod cursors;
pub mod inventory;
pub mod listings;
pub mod notices;
pub mod order_metrics;
pub mod orders;
pub mod participations;
pub mod review_requests;
pub mod sales_ranks;
pub mod seller_data;
pub mod seller_feedback;
pub mod sellers;
pub mod walks;
