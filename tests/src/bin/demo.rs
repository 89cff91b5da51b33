//! The main job, end to end: `cargo xtask demo` gets the servers and runs this.

use std::process::ExitCode;

use clap::Parser;
use tests::demo::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match demo::run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
