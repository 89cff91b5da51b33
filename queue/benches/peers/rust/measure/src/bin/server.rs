//! Asks the Redis at `REDIS_URL`: `server version` prints its version, `server flush` deletes everything in it.
//!
//! `flush` is for a server that was started for this run; it is never called for one that was handed in.

use anyhow::{Result, bail};
use measure::Server;

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::from_environment().await?;
    match std::env::args().nth(1).as_deref() {
        Some("version") => println!("{}", server.version().await?),
        Some("flush") => server.flush().await?,
        _ => bail!("usage: server version|flush"),
    }
    Ok(())
}
