//! Renews a worker's lease while it lives, and settles what the worker and Redis disagree about.
//!
//! A run is no longer held when Redis does not know it (a sweep gave it to another worker, or Redis lost its data), or when
//! no renewal succeeded for as long as a lease lasts: then another worker may hold it, and running on would do work twice.
//!
//! The other way round, the lease may hold what the worker does not know: Redis took its command, and the answer was lost.
//! One heartbeat renews all that a worker holds, so such an entry would never run out while the worker lives. After as
//! long as a lease lasts it is handed back, and the next claim asks the ledger what is to be done with it.

use std::collections::{HashMap, HashSet};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    JobId, WorkerId,
    backend::Settings,
    lease::{Ended, HEARTBEAT, LEASE},
    policy::Queue,
    running::Running,
};

pub(crate) async fn keep(settings: Settings, worker: WorkerId, running: Running, stop: CancellationToken) {
    let queue = settings.queue;
    let mut renewed_at = Instant::now();
    let mut strays = Strays::default();
    loop {
        let asked_at = Instant::now();
        let ids = running.ids();
        // An answer that comes after the lease has ended is as good as none.
        let answer = timeout(HEARTBEAT, renew(&settings, worker))
            .await
            .unwrap_or_else(|_| Err((redis::ErrorKind::Io, "no answer in time").into()));
        let pause = match answer {
            Ok(held) => {
                renewed_at = asked_at;
                let lost: Vec<_> = ids.into_iter().filter(|id| !held.contains(id)).collect();
                report(queue, running.stop(&lost), "Redis does not know them as ours");
                let unknown = held.into_iter().filter(|id| !running.knows(*id)).collect();
                hand_back(&settings, worker, strays.overdue(unknown, asked_at)).await;
                HEARTBEAT
            }
            Err(error) => {
                tracing::warn!(queue.name = queue.name(), %error, "could not renew the lease");
                if renewed_at.elapsed() >= LEASE {
                    report(queue, running.stop(&ids), "Redis was away for longer than a lease");
                }
                // Sooner than usual: the lease runs.
                HEARTBEAT / 3
            }
        };
        settings.beat.turned();
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Renews the lease, and answers what it holds.
async fn renew(settings: &Settings, worker: WorkerId) -> redis::RedisResult<HashSet<JobId>> {
    settings.engine.heartbeat(settings.queue, worker).await?;
    settings.engine.held_by(settings.queue, worker).await
}

async fn hand_back(settings: &Settings, worker: WorkerId, strays: Vec<JobId>) {
    if strays.is_empty() {
        return;
    }
    tracing::warn!(
        queue.name = settings.queue.name(),
        jobs.handed_back = strays.len(),
        "the lease held jobs that this worker does not know of; handed them back"
    );
    let ended = Ended { handed_back: strays, ..Ended::default() };
    if let Err(error) = settings.engine.end_leases(settings.queue, worker, &ended).await {
        tracing::warn!(%error, "could not hand back; trying again with the next heartbeat");
    }
}

fn report(queue: Queue, stopped: usize, why: &str) {
    if stopped > 0 {
        metrics::counter!("leases_lost_total", "queue" => queue.name()).increment(stopped as u64);
        tracing::warn!(queue.name = queue.name(), jobs.stopped = stopped, "stopped runs: {why}");
    }
}

/// Jobs that the lease holds and the worker does not know of, with when each was first seen so. For a moment that is
/// usual: the answer to a claim is on its way, or a run was settled and its lease is about to end.
#[derive(Debug, Default)]
struct Strays {
    seen_at: HashMap<JobId, Instant>,
}

impl Strays {
    /// Which of `unknown` have been so for as long as a lease lasts.
    fn overdue(&mut self, unknown: HashSet<JobId>, now: Instant) -> Vec<JobId> {
        self.seen_at.retain(|id, _| unknown.contains(id));
        for id in unknown {
            self.seen_at.entry(id).or_insert(now);
        }
        self.seen_at.iter().filter(|(_, at)| now.duration_since(**at) >= LEASE).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_is_overdue_when_it_was_unknown_all_along() {
        let mut strays = Strays::default();
        let (start, [all_along, settled]) = (Instant::now(), [JobId::new(), JobId::new()]);
        assert_eq!(strays.overdue([all_along, settled].into(), start), []);
        assert_eq!(strays.overdue([all_along].into(), start + HEARTBEAT), []);
        assert_eq!(strays.overdue([all_along, settled].into(), start + LEASE), [all_along]);
        assert_eq!(strays.overdue([].into(), start + LEASE + HEARTBEAT), []);
    }
}
