//! Everything goes wrong, and no work is lost: `cargo xtask chaos` builds and runs this.

use std::process::ExitCode;

use clap::Parser;
use tests::chaos::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match chaos::run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
