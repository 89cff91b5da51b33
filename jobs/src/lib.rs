//! What we do: the kinds of jobs, Amazon's Selling Partner API, and the tables behind them.
//!
//! A kind is one file in [`kinds`], named in the [`catalog`]; everything a run may use comes through [`context::Context`].

pub mod authorisations;
pub mod catalog;
pub mod client;
pub mod config;
mod connected;
pub mod context;
pub mod door;
pub mod keyring;
pub mod kinds;
pub mod newcomers;
pub mod notice_queue;
pub mod notices;
mod order_pages;
pub mod order_windows;
pub mod performance;
mod report_steps;
pub mod sp_api;
pub mod store;
#[cfg(test)]
mod testing;
