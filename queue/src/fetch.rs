//! Takes jobs for free slots: claim in Redis, begin in the ledger, hand to the worker.
//!
//! Never takes more than there are free slots, so that a job waits in Redis, where every worker can take it, and not here.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use apalis_core::task::{Task, builder::TaskBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    JobId, Run, Signals, WorkerId,
    backend::{Claim, Settings},
    envelope::Envelope,
    lease::{Claimed, Ended, MAX_CLAIM},
    ledger::{Begun, CLOCK_SLACK},
    running::{Held, Running},
};

/// An idle fetcher looks this often even if nobody wakes it.
const POLL: Duration = Duration::from_secs(2);
/// Longest wait after an error of Redis or Postgres.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(crate) struct Fetcher {
    pub(crate) settings: Settings,
    pub(crate) worker: WorkerId,
    pub(crate) running: Running,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) tasks: mpsc::Sender<Task<Claim>>,
}

impl Fetcher {
    /// Fetches until the soft stop, or until nobody takes what is fetched: a worker that was dropped must not go on
    /// taking jobs.
    pub(crate) async fn run(self) {
        let soft = self.settings.shutdown.soft.clone();
        let queue = self.settings.queue.name();
        let tasks = self.tasks.clone();
        tokio::select! {
            () = Arc::new(self).fetch_for_ever() => {}
            () = soft.cancelled() => tracing::debug!(queue.name = queue, "stopped fetching"),
            () = tasks.closed() => tracing::error!(queue.name = queue, "the worker is gone; stopped fetching"),
        }
    }

    async fn fetch_for_ever(self: Arc<Self>) {
        let queue = self.settings.queue;
        let wake = self.settings.wakes.of(queue);
        let mut pause = Duration::ZERO;
        loop {
            let Some(permits) = self.free_slots().await else { return };
            // A task of its own: what is claimed is seen through, even when the soft stop drops this loop meanwhile.
            let turn = tokio::spawn(Arc::clone(&self).claim_and_deliver(permits));
            match turn.await {
                Ok(Ok(0)) => {
                    // A push between the claim and here has left its mark in the notify.
                    let _woken_or_not = tokio::time::timeout(POLL, wake.notified()).await;
                    pause = Duration::ZERO;
                }
                Ok(Ok(_)) => pause = Duration::ZERO,
                Ok(Err(error)) => {
                    pause = (pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE);
                    tracing::warn!(queue.name = queue.name(), %error, pause.ms = pause.as_millis(), "could not claim");
                    tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                }
                Err(error) => tracing::error!(%error, "a claim was not delivered; its lease will run out"),
            }
        }
    }

    async fn claim_and_deliver(self: Arc<Self>, permits: OwnedSemaphorePermit) -> redis::RedisResult<usize> {
        let Settings { queue, known, engine, .. } = &self.settings;
        let claimed = engine.claim(*queue, self.worker, permits.num_permits(), known).await?;
        let count = claimed.entries.len();
        if count > 0 {
            self.deliver(claimed, permits).await;
        }
        Ok(count)
    }

    /// Waits for one free slot, then takes all that are free, up to what one claim may take.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        let mut permits = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let more = self.slots.available_permits().min(MAX_CLAIM - 1);
        if let Ok(more) =
            Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX))
        {
            permits.merge(more);
        }
        Some(permits)
    }

    async fn deliver(&self, claimed: Claimed, mut permits: OwnedSemaphorePermit) {
        self.running.claimed(claimed.entries.iter().filter_map(|entry| Envelope::id_of(entry)).collect());
        let mut ended = Ended::default();
        // In the order of their turns; of two copies of a job, one.
        let mut envelopes = Vec::with_capacity(claimed.entries.len());
        let mut seen = HashSet::with_capacity(claimed.entries.len());
        for entry in &claimed.entries {
            match Envelope::decode(entry) {
                Ok(envelope) => {
                    if seen.insert(envelope.id) {
                        envelopes.push(envelope);
                    }
                }
                Err(error) => {
                    // The ledger still has the job; reconcile writes a good entry for it.
                    let id = Envelope::id_of(entry);
                    tracing::error!(job.id = ?id, %error, "dropped an entry that is not a job");
                    ended.finished.extend(id);
                }
            }
        }
        let Some(begun) = self.begin(claimed.fence, &envelopes).await else {
            ended.handed_back = seen.into_iter().collect();
            self.end(&ended).await;
            return;
        };
        for envelope in envelopes {
            let id = envelope.id;
            match begun.get(&id) {
                Some(Begun::Run { attempts, deadline_at, trace, .. }) => {
                    let Some(permit) = permits.split(1) else {
                        ended.handed_back.push(id);
                        continue;
                    };
                    let signals = Signals::default();
                    let held = Held { fence: claimed.fence, signals: signals.clone() };
                    self.running.add(id, held, &self.settings.shutdown.hard);
                    let run = Run {
                        id,
                        attempt: attempts + 1,
                        fence: claimed.fence,
                        deadline_at: *deadline_at,
                        version: envelope.version,
                        trace: trace.map(|enqueued| enqueued.child(rand::random())),
                        signals,
                    };
                    let policy = (self.settings.policy)(&envelope.kind);
                    let claim = Claim { envelope, run, policy, permit };
                    if self.tasks.send(TaskBuilder::new(claim).build()).await.is_err() {
                        tracing::error!("the worker is gone while its fetcher runs; the lease will run out");
                    }
                }
                Some(Begun::Finished) => ended.finished.push(id),
                Some(Begun::NotDue(due_at)) => ended.delayed.push((id, *due_at)),
                Some(Begun::FenceTooLow(known)) => {
                    tracing::warn!(job.id = %id, "the ledger knows a higher token; raising the fence");
                    if let Err(error) = self.settings.engine.raise_fence(self.settings.queue, *known).await {
                        tracing::warn!(%error, "could not raise the fence");
                    }
                    ended.handed_back.push(id);
                }
                // This worker runs it already: the second copy shares its lease, which must stay.
                Some(Begun::Running(at)) if *at == self.worker && self.running.goes_on(id) => {}
                // It has been stopped for a lost lease, and its end does not touch what is leased since: asked again in a
                // moment, the ledger gives another run. Kept, this copy would wait for a lease's length.
                Some(Begun::Running(at)) if *at == self.worker => ended.handed_back.push(id),
                Some(Begun::Running(_)) => ended.finished.push(id),
                // Another worker changed it while this one asked: the next claim asks again.
                None => ended.handed_back.push(id),
                Some(Begun::Unknown) => {
                    tracing::error!(job.id = %id, job.kind = envelope.kind, "dropped a job that the ledger does not know");
                    ended.finished.push(id);
                }
            }
        }
        self.end(&ended).await;
    }

    /// Begins in the ledger, however long Postgres is away; `None` at the hard stop.
    async fn begin(&self, fence: i64, envelopes: &[Envelope]) -> Option<HashMap<JobId, Begun>> {
        let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.id).collect();
        if ids.is_empty() {
            return Some(HashMap::new());
        }
        let mut pause = Duration::from_millis(50);
        loop {
            match self.try_begin(fence, &ids, envelopes).await {
                Ok(begun) => return Some(begun),
                Err(error) => {
                    tracing::warn!(error = %crate::failure::chain(&*error), pause.ms = pause.as_millis(), "could not begin runs");
                    let hard = &self.settings.shutdown.hard;
                    hard.run_until_cancelled(tokio::time::sleep(pause)).await?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn try_begin(
        &self,
        fence: i64,
        ids: &[JobId],
        envelopes: &[Envelope],
    ) -> Result<HashMap<JobId, Begun>, Box<dyn std::error::Error + Send + Sync>> {
        let now = self.settings.engine.clock().now();
        let mut begun = self.settings.ledger.begin(self.worker, fence, ids, now).await?;
        let running: Vec<_> = begun
            .iter()
            .filter_map(|(id, answer)| match answer {
                Begun::Running(at) => Some((*id, *at)),
                _ => None,
            })
            .collect();
        if running.is_empty() {
            return Ok(begun);
        }
        // Running by the ledger: at a worker that lives, then this is a second copy; or at one that is lost.
        let elsewhere: Vec<_> = running.iter().copied().filter(|(_, at)| *at != self.worker).collect();
        let alive = self.settings.engine.still_leased(self.settings.queue, &elsewhere).await?;
        let lost: Vec<_> = running
            .into_iter()
            .filter(
                |(id, at)| if *at == self.worker { !self.running.contains(*id) } else { !alive.contains(id) },
            )
            .map(|(id, at)| {
                let of_job = envelopes.iter().find(|envelope| envelope.id == id);
                let kind = of_job.map_or("", |envelope| envelope.kind.as_str());
                (id, at, (self.settings.policy)(kind).max_crashes)
            })
            .collect();
        if !lost.is_empty() {
            // Dropping the copy because it "runs" would be wrong now: that worker is lost.
            begun.retain(|id, _| !lost.iter().any(|(lost, ..)| lost == id));
            // Clocks of processes may differ a little; a run that began just before counts.
            let open_since = self.settings.engine.open_since(self.settings.queue).await?;
            let data_since = open_since.map(|at| at - CLOCK_SLACK);
            begun.extend(self.settings.ledger.take_over(self.worker, fence, &lost, data_since, now).await?);
        }
        Ok(begun)
    }

    async fn end(&self, ended: &Ended) {
        let put_back = ended.delayed.len() + ended.handed_back.len();
        if put_back > 0 {
            metrics::counter!("fetches_put_back_total", "queue" => self.settings.queue.name())
                .increment(put_back as u64);
        }
        if let Err(error) = self.settings.engine.end_leases(self.settings.queue, self.worker, ended).await {
            tracing::warn!(%error, "could not end leases; the heartbeat will hand them back");
        }
        self.running.claimed(HashSet::new());
    }
}
