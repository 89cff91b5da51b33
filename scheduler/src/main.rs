//! The scheduler process; see the library for how it works.

use clap::Parser;

/// Decides when Amzigo's background jobs run. Settings come from the environment; see deploy/env.example.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  scheduler\n\nRun two or more: one leads, another takes over within seconds of its end.\nPrints one line of JSON with its health address, then runs until SIGTERM."
)]
struct Arguments {}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Arguments::parse();
    scheduler::process::run().await
}
