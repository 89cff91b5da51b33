//! The `amzigo` command. Everything it does is in [`console::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    console::cli::main().await
}
