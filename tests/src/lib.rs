//! Real processes against real servers: what the end-to-end tests, the demo and chaos have in common.

pub mod amazon;
pub mod chaos;
pub mod console;
pub mod data_sets;
pub mod database;
pub mod demo;
pub mod fuzz;
pub mod ledger;
pub mod process;
pub mod proxy;
pub mod quiet;
pub mod system;
pub mod usage;
