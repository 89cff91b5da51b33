//! The `amzigo` command as people and programs use it: the real binary, on a database and a Redis prefix of a test's own.

mod amzigo;
mod commands;
mod dead_letters;
mod deadlines;
mod pages;
