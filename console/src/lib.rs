//! For people and programs: the `amzigo` command, and pages about queues and jobs behind a sign-in.
//!
//! What all of them know and change is in [`ops`]; [`cli`] and [`pages`] only read arguments and show answers. Imports
//! neither worker nor scheduler: it meets them in Redis and in the tables that `queue` owns.

pub mod access;
pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod console;
pub mod ops;
pub mod origin;
pub mod pages;
pub mod routes;
