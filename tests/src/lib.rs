//! Real processes against real servers: what the end-to-end tests and the demo have in common.

pub mod amazon;
pub mod demo;
pub mod ledger;
pub mod process;
pub mod system;
