//! What this worker runs at the moment: the fetcher adds, the settler removes, the heartbeat stops runs that lost their lease.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::JobId;

#[derive(Debug, Clone)]
struct Held {
    fence: i64,
    stop: CancellationToken,
}

/// The runs of one worker, from the claim until the ledger and Redis have been told of their end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    held: Arc<Mutex<HashMap<JobId, Held>>>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        // A panic elsewhere leaves the map whole: every change is one insert or remove.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, id: JobId, fence: i64, stop: CancellationToken) {
        self.lock().insert(id, Held { fence, stop });
    }

    pub(crate) fn contains(&self, id: JobId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Forgets runs that have ended. Returns those that were still held under the same token.
    pub(crate) fn remove(&self, ended: impl IntoIterator<Item = (JobId, i64)>) -> Vec<JobId> {
        let mut held = self.lock();
        let mut removed = Vec::new();
        for (id, fence) in ended {
            if held.get(&id).is_some_and(|run| run.fence == fence) {
                held.remove(&id);
                removed.push(id);
            }
        }
        removed
    }

    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.lock().keys().copied().collect()
    }

    /// Stops runs whose lease is lost. Returns how many were not stopped before.
    pub(crate) fn stop(&self, lost: &[JobId]) -> usize {
        let held = self.lock();
        let newly = lost.iter().filter_map(|id| held.get(id)).filter(|run| !run.stop.is_cancelled());
        newly.inspect(|run| run.stop.cancel()).count()
    }
}
