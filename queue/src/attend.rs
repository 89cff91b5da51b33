//! Attends to a worker's running jobs: writes how far they have come, and hears which of them somebody wants cancelled.
//!
//! About once a second while something runs, one or two statements for all of it. What fails is tried again a second later:
//! progress is told anew by the run, and a request stays in the ledger.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{WorkerId, backend::Settings, failure::chain, running::Running};

const TURN: Duration = Duration::from_secs(1);

pub(crate) async fn attend(settings: Settings, worker: WorkerId, running: Running, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TURN)).await.is_some() {
        if running.is_empty() {
            continue;
        }
        let told = running.progress_told();
        if let Err(error) = settings.ledger.note_progress(&told).await {
            tracing::debug!(error = chain(&error), "could not write progress");
        }
        match settings.ledger.cancel_requested(worker).await {
            Ok(ids) => running.ask_to_stop(&ids),
            Err(error) => tracing::debug!(error = chain(&error), "could not ask who is to stop"),
        }
    }
}
