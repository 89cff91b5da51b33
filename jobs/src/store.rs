//! The tables, one family a file. Functions take a connection and never open a transaction for a caller.

pub mod authorisations;
pub mod cursors;
pub mod notices;
pub mod orders;
pub mod review_requests;
pub mod seller_data;
pub mod sellers;
