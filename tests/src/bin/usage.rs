//! How much of Amazon's usage plans one seller's work uses: `cargo xtask usage` gets the servers and runs this.

use std::process::ExitCode;

use clap::Parser;
use tests::usage::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match usage::run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("usage: {error:#}");
            ExitCode::FAILURE
        }
    }
}
