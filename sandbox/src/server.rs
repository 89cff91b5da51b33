//! Listens on loopback and serves both sides, Amazon's and the control API, on one address.
//!
//! Connections are served by hyper itself instead of axum's ready-made loop, because a scripted fault must be able to close one
//! without an answer: a service that returns an error does just that. Dropping the [`Sandbox`] closes everything.

use crate::control::{Control, in_range};
use crate::control_api;
use crate::gateway::{self, Severed};
use crate::pace::{Clock, Pace, SPEEDS};
use crate::signin::SignIn;
use crate::state::{Shared, State};
use axum::Router;
use axum::response::Response;
use chrono::Utc;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service;

/// How a sandbox starts.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; loopback only. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seconds of Amazon time in a wall second: quotas refill that much faster, tokens expire that much sooner.
    pub speed: f64,
    /// The application's id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: String,
    /// The wall clock.
    pub clock: Clock,
    /// Decides which calls a fault with a probability strikes.
    pub chance_seed: u64,
}

impl Default for Options {
    #[expect(clippy::disallowed_methods, reason = "this is where the wall clock is handed in")]
    fn default() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            speed: 1.0,
            client_id: "amzn1.application-oa2-client.sandbox".to_owned(),
            client_secret: "amzn1.oa2-cs.v1.sandbox".to_owned(),
            clock: Arc::new(Utc::now),
            chance_seed: 1,
        }
    }
}

/// A sandbox that serves until it is dropped.
pub struct Sandbox {
    address: SocketAddr,
    control: Control,
    serving: JoinHandle<()>,
}

impl Sandbox {
    /// Listens, and serves on the current tokio runtime. It answers as soon as this returns.
    ///
    /// # Errors
    /// When the address is taken or not loopback ([`io::ErrorKind::InvalidInput`]), or the speed is out of range.
    pub async fn start(options: Options) -> io::Result<Sandbox> {
        if !options.listen.ip().is_loopback() {
            let refusal = format!(
                "the sandbox has no protection, so it listens on loopback only, not on {}",
                options.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, refusal));
        }
        in_range("speed", options.speed, *SPEEDS.start(), *SPEEDS.end())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let now = (options.clock)();
        let sign_in = SignIn::new(options.client_id, options.client_secret);
        let state = State::new(
            Pace::new(now, options.speed),
            sign_in,
            format!("http://{address}"),
            options.chance_seed,
        );
        let shared = Arc::new(Shared::new(options.clock, state));
        let control = Control::new(Arc::clone(&shared));
        let amazon = Router::new().fallback(gateway::serve).with_state(shared);
        let router = control_api::routes(control.clone()).merge(amazon);
        let serving = tokio::spawn(accept(listener, router));
        Ok(Sandbox { address, control, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address, without a slash at the end: for sign-in, Selling Partner API and control alike.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Direct access, without HTTP.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The task owns the connections, so that they end with it.
        self.serving.abort();
    }
}

/// Pause after a failed accept (out of file descriptors, say), which otherwise would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    // Without it, small answers wait for the client's acknowledgement. Failing costs time only.
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request: hyper::Request<Incoming>| answer(router.clone(), request));
    // An error here is a client that hung up, or a connection that was cut on purpose: both are business as usual.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(mut router: Router, request: hyper::Request<Incoming>) -> Result<Response, Severed> {
    let answered: Result<Response, Infallible> = router.call(request).await;
    let Ok(response) = answered;
    match response.extensions().get::<Severed>() {
        Some(severed) => Err(*severed),
        None => Ok(response),
    }
}
