//! For people and programs: the `amzigo` command and read-only pages about queues and jobs.
//!
//! What both of them know and change is in [`ops`]; [`cli`] and [`pages`] only read arguments and show answers. Imports
//! neither worker nor scheduler: it meets them in Redis and in the tables that `queue` owns.

pub mod cli;
pub mod config;
pub mod ops;
pub mod pages;
