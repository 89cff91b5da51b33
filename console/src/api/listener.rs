//! Listens for the API: connections that send slowly, or headers without end, are cut off before they cost anything.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::shutdown::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;
use tower_service::Service;

/// Most connections at once.
const MOST_CONNECTIONS: usize = 4_096;
/// All headers of a request come within this time; an idle connection is closed after it.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Most headers that are read, for a refusal in words; above it, hyper refuses with a bare 431.
const MOST_HEADERS: usize = 1_000;
const MOST_HEADER_BYTES: usize = 128 * 1024;
/// Pause after a failed accept (out of file descriptors, say), which otherwise would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers until the process stops; then finishes the requests that run.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = shutdown.soft.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            answer(stream, router, shutdown).await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "the API could not take a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn answer(stream: TcpStream, router: Router, shutdown: Shutdown) {
    // Without it, small answers wait for the client's acknowledgement. Failing costs time only.
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request: hyper::Request<Incoming>| ask(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_buf_size(MOST_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // An error here is a client that hung up or sent no HTTP: business as usual.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.soft.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = shutdown.hard.cancelled() => {}
    }
}

async fn ask(mut router: Router, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    router.call(request).await
}
