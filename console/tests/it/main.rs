//! The `amzigo` command as people and programs use it: the real binary, on a database and a Redis prefix of a test's own.

mod amzigo;
mod browser;
mod budgets;
mod cancel;
mod commands;
mod controls;
mod dead_letters;
mod deadlines;
mod deployment;
mod explain;
mod factors;
mod freshness;
mod invitations;
mod lost_redis;
mod overview;
mod pages;
mod sign_in;
