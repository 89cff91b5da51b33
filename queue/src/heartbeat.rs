//! Renews a worker's lease while it lives, and stops runs that it no longer holds.
//!
//! A run is no longer held when Redis does not know it (a sweep gave it to another worker, or Redis lost its data), or when
//! no renewal succeeded for as long as a lease lasts: then another worker may hold it, and running on would do work twice.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Engine, WorkerId,
    backend::Settings,
    lease::{HEARTBEAT, LEASE},
    policy::Queue,
    running::Running,
};

pub(crate) async fn keep(settings: Settings, worker: WorkerId, running: Running, stop: CancellationToken) {
    let (engine, queue) = (&settings.engine, settings.queue);
    let mut renewed_at = Instant::now();
    loop {
        let ids = running.ids();
        match renew(engine, queue, worker, &ids).await {
            Ok(lost) => {
                renewed_at = Instant::now();
                report(queue, running.stop(&lost), "Redis does not know them as ours");
            }
            Err(error) => {
                tracing::warn!(queue.name = queue.name(), %error, "could not renew the lease");
                if renewed_at.elapsed() >= LEASE {
                    report(queue, running.stop(&ids), "Redis was away for longer than a lease");
                }
            }
        }
        settings.beat.turned();
        if stop.run_until_cancelled(tokio::time::sleep(HEARTBEAT)).await.is_none() {
            return;
        }
    }
}

async fn renew(
    engine: &Engine,
    queue: Queue,
    worker: WorkerId,
    ids: &[crate::JobId],
) -> redis::RedisResult<Vec<crate::JobId>> {
    engine.heartbeat(queue, worker).await?;
    let held: Vec<_> = ids.iter().map(|id| (*id, worker)).collect();
    let still = engine.still_leased(queue, &held).await?;
    Ok(ids.iter().copied().filter(|id| !still.contains(id)).collect())
}

fn report(queue: Queue, stopped: usize, why: &str) {
    if stopped > 0 {
        metrics::counter!("leases_lost_total", "queue" => queue.name()).increment(stopped as u64);
        tracing::warn!(queue.name = queue.name(), jobs.stopped = stopped, "stopped runs: {why}");
    }
}
