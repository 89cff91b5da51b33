//! Whether the API answers as its document says: `cargo xtask fuzz` gets the servers and runs this.

use std::process::ExitCode;

use clap::Parser;
use tests::fuzz::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match fuzz::run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
