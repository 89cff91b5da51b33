//! The worker process; see the library for how it works.

use clap::Parser;

/// A job's memory is taken by one thread and given back by another: a tenth more jobs a second than with the usual one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs Amzigo's background jobs. Settings come from the environment; see deploy/env.example.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  AMZIGO_WORKER_SLOTS=sync=32,urgent=4 worker\n\nPrints one line of JSON with its health address, then runs until SIGTERM."
)]
struct Arguments {}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Arguments::parse();
    worker::process::run().await
}
