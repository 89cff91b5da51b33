//! The `amzigo` command as people and programs use it: the real binary, on a database and a Redis prefix of a test's own.

mod amzigo;
mod api;
mod api_bad_input;
mod api_keys;
mod api_matrix;
mod api_waiting;
mod audit;
mod budgets;
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
mod matrix;
mod overview;
mod pages;
mod people;
mod program;
mod sign_in;
