//! `amzigo serve`: the pages, the API, health and metrics, until SIGTERM or Ctrl-C.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use jobs::{config::KEYS, keyring::Keyring};
use runtime::{
    clock::RedisClock,
    env::{Environment, ProcessEnvironment},
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
    api::{self, Api},
    auth::{
        Token,
        demo::{DemoError, DemoLink},
    },
    config::{self, Listen, ListenError, NoDemo},
    console::Console,
    origin::Origin,
    pages,
};

/// Serve the pages, /livez, /readyz and /metrics, and the API for programs. The first line on standard output is
/// {"address":"…","open":"…","api":"…"}: where it listens, what to open in a browser, and where the API is; with --demo also
/// "sign_in", a link.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo serve\n  amzigo serve --listen 127.0.0.1:0 --api-listen 127.0.0.1:0   # any free ports\n  amzigo serve --demo                                          # beside the sandbox\n\nAn address that others could reach needs AMZIGO_CONSOLE_ORIGIN, the https:// address of a proxy before it; else use an SSH tunnel."
)]
pub(super) struct Serve {
    /// Where to listen; port 0 picks a free one. Without it, AMZIGO_CONSOLE_LISTEN holds.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Print a link that signs in, once and within an hour, somebody who may do everything. Refused unless the console is for
    /// this host alone, Amazon is a stand-in on this host, and the database has no other staff.
    #[arg(long)]
    demo: bool,
    /// Where the API listens; port 0 picks a free one. Without it, AMZIGO_API_LISTEN holds.
    #[arg(long, value_name = "ADDRESS")]
    api_listen: Option<SocketAddr>,
}

/// How long requests that run may go on after the first signal.
const GRACE: Duration = Duration::from_secs(5);

impl Serve {
    pub(super) async fn run(self) -> Result<(), Stop> {
        let environment = ProcessEnvironment;
        let Listen { address, origin } = config::listen(self.listen, &environment).map_err(stop)?;
        let api_address = config::api_listen(self.api_listen, origin.as_ref(), &environment).map_err(stop)?;
        if self.demo {
            config::demo_is_safe(address, origin.as_ref(), &environment).map_err(|error| match error {
                NoDemo::Setting(error) => Stop::usage(error),
                refused => Stop::refused(refused),
            })?;
        }
        let keyring = keyring(&environment)?;
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
        let listener = bind(address, "--listen").await?;
        let api_listener = bind(api_address, "--api-listen").await?;
        let api_address = api_listener.local_addr().context("the listener has no address")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let origin = origin.unwrap_or_else(|| Origin::of_this_host(address));
        let mut hello =
            json!({ "address": address, "open": origin.ascii(), "api": format!("http://{api_address}") });
        if keyring.is_none() {
            tracing::warn!("AMZIGO_KEYS is not set: people sign in with passkeys only");
        }
        let mut console =
            Console::new(pool, redis, Arc::new(clock), origin, keyring).map_err(anyhow::Error::from)?;
        if self.demo {
            let (link, token) = demo_link(&console).await?;
            hello["sign_in"] = console.origin.page(&format!("/sign-in/demo/{}", token.text())).into();
            console.demo = Some(Arc::new(link));
        }
        (Answers { json: false }).give(&hello, ToString::to_string)?;
        tracing::info!(listen.address = %address, "the console serves its pages");
        tracing::info!(listen.address = %api_address, "the console serves its API");
        let api = Api::start(console.clone(), shutdown.soft.clone());
        let programs = tokio::spawn(api::serve(api_listener, api, shutdown.clone()));
        let service = pages::router(console, health).into_make_service_with_connect_info::<SocketAddr>();
        let served =
            axum::serve(listener, service).with_graceful_shutdown(shutdown.soft.clone().cancelled_owned());
        tokio::select! {
            ended = served => ended.context("the server ended")?,
            () = shutdown.hard.cancelled() => return Ok(()),
        }
        // Ends with the hard step at the latest.
        programs.await.context("the API's server ended")?;
        Ok(())
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address}; is another console running? `{flag} 127.0.0.1:0` takes a free port")
    })
}

fn stop(error: ListenError) -> Stop {
    match error {
        ListenError::Setting(error) => Stop::usage(error),
        refused @ ListenError::NotLoopback(_) => Stop::refused(refused),
    }
}

async fn demo_link(console: &Console) -> Result<(DemoLink, Token), Stop> {
    postgres::check_migrated(&console.pool).await.map_err(database::from_postgres)?;
    let mut connection = console.pool.acquire().await?;
    DemoLink::make(&mut connection, console.now()).await.map_err(|error| match error {
        DemoError::Database(failed) => failed.into(),
        refused => Stop::refused(refused),
    })
}

/// The key ring, if there is one: without it people sign in by passkeys only.
fn keyring(environment: &dyn Environment) -> Result<Option<Keyring>, Stop> {
    match environment.get(KEYS.name) {
        Some(_) => jobs::config::keyring(environment).map(Some).map_err(Stop::usage),
        None => Ok(None),
    }
}
