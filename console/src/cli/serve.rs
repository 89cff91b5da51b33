//! `amzigo serve`: the pages, health and metrics, until SIGTERM or Ctrl-C.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use queue::{Engine, limit::Budgets};
use runtime::{
    clock::{Clock, RedisClock},
    env::ProcessEnvironment,
    health::{Health, Loops},
    postgres,
    redis::Redis,
    shutdown::Shutdown,
    telemetry,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{answer::Answers, database, stop::Stop};
use crate::{
    config::{self, Listen, ListenError},
    console::Console,
    origin::Origin,
    pages,
};

/// Serve the pages, /livez, /readyz and /metrics. The first line on standard output is {"address":"…","open":"…"}: where it
/// listens, and what to open in a browser.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo serve\n  amzigo serve --listen 127.0.0.1:0   # any free port\n\nAn address that others could reach needs AMZIGO_CONSOLE_ORIGIN, the https:// address of a proxy before it; else use an SSH tunnel."
)]
pub(super) struct Serve {
    /// Where to listen; port 0 picks a free one. Without it, AMZIGO_CONSOLE_LISTEN holds.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// How long requests that run may go on after the first signal.
const GRACE: Duration = Duration::from_secs(5);

impl Serve {
    pub(super) async fn run(self) -> Result<(), Stop> {
        let environment = ProcessEnvironment;
        let Listen { address, origin } =
            config::listen(self.listen, &environment).map_err(|error| match error {
                ListenError::Setting(error) => Stop::usage(error),
                refused @ ListenError::NotLoopback(_) => Stop::refused(refused),
            })?;
        let telemetry = telemetry::start(&environment)?;
        let shutdown = Shutdown::on_signals(GRACE).context("could not listen to signals")?;
        let pool = postgres::connect(&environment, "console").await.map_err(database::from_postgres)?;
        let redis = Redis::connect(&environment).await?;
        let clock = RedisClock::follow(&redis, shutdown.soft.clone())
            .await
            .context("could not read the time of Redis; check that the server is up")?;
        let health = Health {
            loops: Loops::default(),
            telemetry,
            pool: pool.clone(),
            redis: redis.clone(),
            stopping: shutdown.soft.clone(),
        };
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("could not listen on {address}; is another console running? `--listen 127.0.0.1:0` takes a free port")
        })?;
        let address = listener.local_addr().context("the listener has no address")?;
        let origin = Arc::new(origin.unwrap_or_else(|| Origin::of_this_host(address)));
        (Answers { json: false })
            .give(&json!({ "address": address, "open": origin.ascii() }), ToString::to_string)?;
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let budgets = Budgets::new(redis.clone(), Arc::clone(&clock));
        let console = Console { pool, engine: Engine::new(redis, clock), budgets, origin };
        tracing::info!(listen.address = %address, "the console serves its pages");
        let service = pages::router(console, health).into_make_service_with_connect_info::<SocketAddr>();
        let served =
            axum::serve(listener, service).with_graceful_shutdown(shutdown.soft.clone().cancelled_owned());
        tokio::select! {
            ended = served => Ok(ended.context("the server ended")?),
            () = shutdown.hard.cancelled() => Ok(()),
        }
    }
}
