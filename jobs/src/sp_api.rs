//! Amazon's Selling Partner API: only what is allowed, within its usage plans, with every answer classified.
//!
//! `operations` is the closed list of what can be called. `client` is the only place that opens a socket to Amazon.

pub mod account_health;
pub mod answer;
pub mod auth;
pub mod budgets;
mod caller;
pub mod catalog;
pub mod circuit;
pub mod client;
mod credentials;
pub mod error;
pub mod inventory;
mod lenient;
pub mod listings;
pub mod marketplaces;
mod moments;
pub mod notifications;
pub mod operations;
pub mod order_metrics;
pub mod orders;
pub mod participations;
pub mod permits;
mod rates;
pub mod regions;
pub mod report_document;
pub mod report_rows;
pub mod reports;
pub mod request;
pub mod seller_feedback;
pub mod solicitations;

pub use client::SpApi;
pub use error::CallError;
pub use operations::Operation;
pub use permits::Permit;
pub use regions::Region;
