//! The sandbox as a client meets it, over HTTP. Time is handed in wherever a test depends on it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod amazons_models;
mod amazons_rules;
mod client;
mod control;
mod judge;
mod models_of_sellers_and_products;
mod process;
mod rules_of_notifications;
mod rules_of_products;
mod rules_of_reports;
mod scripted_faults;
