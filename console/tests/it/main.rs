//! The `amzigo` command as people and programs use it: the real binary, on a database and a Redis prefix of a test's own.

mod amzigo;
mod api;
mod api_bad_input;
mod api_keys;
mod api_waiting;
mod audit;
mod budgets;
mod bulk;
mod cancel;
mod commands;
mod controls;
mod dead_letters;
mod deadlines;
mod demo;
mod deployment;
mod explain;
mod freshness;
mod lost_redis;
mod overview;
mod pages;
mod program;
mod schedules;
mod search;
mod seller_pages;
mod sign_in;
