//! Stopping in two steps: soft (take nothing new, finish what runs), then hard (hand back what still runs).

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two moments of a shutdown, to be watched by every loop of a process.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled first: take nothing new.
    pub soft: CancellationToken,
    /// Cancelled when the time to finish is over: stop where you are.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Watches SIGTERM and SIGINT: the first starts the soft step, a second one or `grace` later the hard step.
    ///
    /// # Errors
    /// When the process may not listen to signals.
    pub fn on_signals(grace: Duration) -> std::io::Result<Self> {
        let shutdown = Self::default();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let watched = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = watched.soft.cancelled() => {}
            }
            tracing::info!(shutdown.grace_seconds = grace.as_secs(), "stopping: taking nothing new");
            watched.soft.cancel();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(grace) => {}
            }
            watched.hard.cancel();
        });
        Ok(shutdown)
    }
}
