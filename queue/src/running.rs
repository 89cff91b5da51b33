//! What this worker knows of at the moment: the fetcher adds, the settler removes, the heartbeat stops runs that lost their
//! lease and hands back what the lease holds and nobody here knows of.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::{JobId, Signals, progress::Progress};

/// What is known of a run.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) fence: i64,
    pub(crate) signals: Signals,
}

#[derive(Debug, Default)]
struct Known {
    runs: HashMap<JobId, Held>,
    claimed: HashSet<JobId>,
}

/// The runs of one worker, from their beginning until the ledger has been told of their end; and what its last claim took,
/// until the ledger has been asked about it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    known: Arc<Mutex<Known>>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves it whole: every change is one insert or remove.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a claim took; the ledger may take long to answer about it. Replaces what the claim before it took.
    pub(crate) fn claimed(&self, ids: HashSet<JobId>) {
        self.lock().claimed = ids;
    }

    /// Whether a job runs here, or has just been claimed.
    pub(crate) fn knows(&self, id: JobId) -> bool {
        let known = self.lock();
        known.runs.contains_key(&id) || known.claimed.contains(&id)
    }

    /// A run begins. After the hard stop it is dropped at once.
    pub(crate) fn add(&self, id: JobId, held: Held, hard: &CancellationToken) {
        let signals = held.signals.clone();
        self.lock().runs.insert(id, held);
        // Looked at after the insertion: whoever stops all comes before or after both.
        if hard.is_cancelled() {
            signals.drop_run();
        }
    }

    /// Drops every run, at the hard stop.
    pub(crate) fn stop_all(&self) {
        for run in self.lock().runs.values() {
            run.signals.drop_run();
        }
    }

    /// Asks runs to stop by themselves.
    pub(crate) fn ask_to_stop(&self, ids: &[JobId]) {
        let known = self.lock();
        ids.iter().filter_map(|id| known.runs.get(id)).for_each(|run| run.signals.ask_to_stop());
    }

    /// What runs have told since the last time.
    pub(crate) fn progress_told(&self) -> Vec<(JobId, i64, Progress)> {
        let known = self.lock();
        known
            .runs
            .iter()
            .filter_map(|(id, run)| Some((*id, run.fence, run.signals.take_progress()?)))
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().runs.is_empty()
    }

    pub(crate) fn contains(&self, id: JobId) -> bool {
        self.lock().runs.contains_key(&id)
    }

    /// Whether a job runs here and has not been stopped.
    pub(crate) fn goes_on(&self, id: JobId) -> bool {
        self.lock().runs.get(&id).is_some_and(|run| !run.signals.is_dropped())
    }

    /// Forgets runs that have ended. Returns those that were still held under the same token.
    pub(crate) fn remove(&self, ended: impl IntoIterator<Item = (JobId, i64)>) -> Vec<JobId> {
        let mut known = self.lock();
        let mut removed = Vec::new();
        for (id, fence) in ended {
            if known.runs.get(&id).is_some_and(|run| run.fence == fence) {
                known.runs.remove(&id);
                removed.push(id);
            }
        }
        removed
    }

    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.lock().runs.keys().copied().collect()
    }

    /// Stops runs whose lease is lost. Returns how many were not stopped before.
    pub(crate) fn stop(&self, lost: &[JobId]) -> usize {
        let known = self.lock();
        let newly = lost.iter().filter_map(|id| known.runs.get(id));
        newly.filter(|run| run.signals.drop_run()).count()
    }
}
