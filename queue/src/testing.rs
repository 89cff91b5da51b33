//! For tests of what uses the engine: queues and ledger in this process' memory, and time that the test owns.
//!
//! The behaviour is the engine's own (claims, limits, retries, snoozes, dead letters), because it is the engine: only Redis
//! and Postgres are missing. One suite of tests holds both sides to the same answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use runtime::clock::{Clock, FakeClock};
use serde_json::Value;

use crate::{
    Catalog, Controls, Engine, Failure, Job, JobId, KnownKinds, Queue, Run, Signals, State, WorkerId,
    envelope::Envelope,
    lease::{Ended, MAX_CLAIM},
    ledger::{Begun, Ledger, Settled},
    memory::ledger::MemoryLedger,
    outbox::{Cause, NewJob},
    retry::{RunFailed, Verdict, verdict},
};

pub use crate::memory::ledger::Remembered;

/// No ledger: whatever is claimed runs, and every result is accepted. For measuring the engine alone.
#[must_use]
pub const fn no_ledger() -> Ledger {
    Ledger::none()
}

/// A ledger in memory and the jobs it has been told of.
#[derive(Debug, Clone, Default)]
pub struct TestLedger {
    memory: Arc<MemoryLedger>,
}

impl TestLedger {
    /// The ledger over it, as a worker takes it.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::in_memory(Arc::clone(&self.memory))
    }

    /// Writes a job into it, as if it had come through the outbox.
    pub fn enqueue(&self, job: NewJob, now: DateTime<Utc>) {
        self.memory.insert(job, now);
    }

    /// What became of a job.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<Remembered> {
        self.memory.get(id)
    }

    /// Cancels a job that has not ended. Returns whether there was one.
    pub fn cancel(&self, id: JobId) -> bool {
        self.memory.cancel(id).is_some()
    }

    /// How many jobs are in each state.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for job in self.memory.all() {
            *counts.entry(job.state.name()).or_default() += 1;
        }
        counts
    }
}

/// A whole system in memory: enqueue, run what is ready, let time pass.
///
/// ```
/// # use queue::{testing::TestEngine, Catalog, Kind, Group, Job, Policy, Run, Outcome, Failure, State};
/// # use serde::{Serialize, Deserialize};
/// # #[derive(Serialize, Deserialize, schemars::JsonSchema)] struct CountStock { seller: u32 }
/// # impl Job for CountStock {
/// #     const KIND: &'static str = "count_stock";
/// #     const SUMMARY: &'static str = "Counts.";
/// #     const POLICY: Policy = Policy::sync();
/// #     const GROUP: Group = Group::Field("seller");
/// #     type Context = (); type Report = u32;
/// #     async fn run(&self, (): &(), run: &Run) -> Outcome<u32> {
/// #         if run.attempt == 1 { Err(Failure::retry("the shelf was away")) } else { Ok(self.seller) }
/// #     }
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let catalog = Catalog::new(vec![Kind::of::<CountStock>()]);
/// let system = TestEngine::new(catalog, ());
/// let id = system.enqueue(&CountStock { seller: 7 }).await;
/// system.drain().await;
/// assert_eq!(system.job(id).state, State::Delayed);      // it failed once, and will be tried again
/// system.drain_all().await;                              // time travel to whatever is due next
/// assert_eq!(system.job(id).state, State::Done);
/// # });
/// ```
pub struct TestEngine<C> {
    /// The queues.
    pub engine: Engine,
    /// Time; it passes only when the test says so.
    pub clock: FakeClock,
    ledger: TestLedger,
    catalog: Catalog<C>,
    context: Arc<C>,
}

/// When time begins for a [`TestEngine`].
const BEGINNING: i64 = 1_790_000_000;
/// More runs than this in one drain is a job that never comes to rest.
const MOST_RUNS: usize = 100_000;

impl<C: Send + Sync + 'static> TestEngine<C> {
    /// A system that runs the kinds of `catalog`.
    #[must_use]
    pub fn new(catalog: Catalog<C>, context: C) -> Self {
        let clock = FakeClock::at(DateTime::from_timestamp(BEGINNING, 0).unwrap_or_default());
        let engine = Engine::in_memory(Arc::new(clock.clone()));
        Self { engine, clock, ledger: TestLedger::default(), catalog, context: Arc::new(context) }
    }

    /// Enqueues a job.
    pub async fn enqueue<J: Job<Context = C>>(&self, job: &J) -> JobId {
        self.enqueue_new(NewJob::of(job, Cause::Cli)).await
    }

    /// Enqueues a job as it is described: with a delay, a deadline, a priority.
    pub async fn enqueue_new(&self, job: NewJob) -> JobId {
        let id = job.id;
        let due_at = job.due_at.filter(|due| *due > self.clock.now());
        let envelope = Envelope {
            id,
            priority: job.priority,
            version: job.version,
            group: job.group.clone(),
            kind: job.kind.clone(),
            payload: job.payload.to_string().into_bytes(),
        };
        let queue = job.queue;
        self.ledger.enqueue(job, self.clock.now());
        must(self.engine.push(queue, &[(due_at, envelope)]).await);
        id
    }

    /// What became of a job.
    ///
    /// # Panics
    /// When it was never enqueued here.
    #[must_use]
    pub fn job(&self, id: JobId) -> Remembered {
        self.ledger.get(id).unwrap_or_else(|| panic!("job {id} was never enqueued here"))
    }

    /// How many jobs are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.ledger.counts().get(state.name()).copied().unwrap_or_default()
    }

    /// Runs everything that is ready now, and what becomes ready through it, until nothing is. Returns how many runs that
    /// were.
    ///
    /// # Panics
    /// When that does not come to an end.
    pub async fn drain(&self) -> usize {
        let known = self.catalog.known();
        let mut runs = 0;
        for queue in Queue::ALL {
            if !must(self.engine.is_open(queue).await) {
                must(self.engine.control(queue, &self.catalog.controls(queue)).await);
            }
        }
        loop {
            let before = runs;
            for queue in Queue::ALL {
                while must(self.engine.promote(queue).await).moved > 0 {}
                runs += self.run_some(queue, &known).await;
            }
            assert!(runs < MOST_RUNS, "jobs run on and on; do they snooze to a moment that has passed?");
            if runs == before {
                return runs;
            }
        }
    }

    /// As [`TestEngine::drain`], and travels in time to whatever is due next until no job is unfinished (or nothing may run).
    /// Returns how many runs that were.
    ///
    /// # Panics
    /// When that does not come to an end.
    pub async fn drain_all(&self) -> usize {
        let mut runs = self.drain().await;
        while let Some(next) = self.next_due_at().await {
            self.clock.set(next.max(self.clock.now()));
            runs += self.drain().await;
            assert!(runs < MOST_RUNS, "jobs run on and on");
        }
        runs
    }

    /// Cancels a job that has not ended. Returns whether there was one.
    pub fn cancel(&self, id: JobId) -> bool {
        self.ledger.cancel(id)
    }

    /// Lets time pass, then runs what is ready.
    pub async fn advance(&self, time: Duration) -> usize {
        self.clock.advance(time);
        self.drain().await
    }

    /// Pauses, limits, weighs: in place of what the kinds' policies ask for.
    pub async fn control(&self, queue: Queue, controls: &Controls) {
        must(self.engine.control(queue, controls).await);
    }

    async fn next_due_at(&self) -> Option<DateTime<Utc>> {
        let mut next = None;
        for queue in Queue::ALL {
            let due = must(self.engine.promote(queue).await).next_due_at;
            next = [next, due].into_iter().flatten().min();
        }
        next
    }

    async fn run_some(&self, queue: Queue, known: &KnownKinds) -> usize {
        let (worker, ledger) = (WorkerId::new(), self.ledger.ledger());
        let claimed = must(self.engine.claim(queue, worker, MAX_CLAIM, known).await);
        let mut ended = Ended::default();
        let mut runs = 0;
        for entry in &claimed.entries {
            let Ok(envelope) = Envelope::decode(entry) else { continue };
            let id = envelope.id;
            let begun = must(ledger.begin(worker, claimed.fence, &[id], self.clock.now()).await);
            let Some(Begun::Run { attempts, deadline_at, trace, .. }) = begun.get(&id) else {
                ended.finished.push(id);
                continue;
            };
            runs += 1;
            let run = Run {
                id,
                attempt: attempts + 1,
                fence: claimed.fence,
                deadline_at: *deadline_at,
                version: envelope.version,
                trace: *trace,
                signals: Signals::default(),
            };
            let verdict = self.verdict(&envelope, run, *attempts).await;
            match &verdict {
                Verdict::Retry { due_at, .. } | Verdict::Snooze { due_at, .. } => {
                    ended.delayed.push((id, *due_at));
                }
                Verdict::HandBack | Verdict::LeaseLost => ended.handed_back.push(id),
                Verdict::Done { .. } | Verdict::Dead { .. } | Verdict::Cancelled { .. } => {
                    ended.finished.push(id);
                }
            }
            must(ledger.settle(&[Settled { id, fence: claimed.fence, verdict }], self.clock.now()).await);
        }
        must(self.engine.end_leases(queue, worker, &ended).await);
        must(self.engine.resign(queue, worker).await);
        runs
    }

    async fn verdict(&self, envelope: &Envelope, run: Run, attempts: i32) -> Verdict {
        let policy = self.catalog.policy(&envelope.kind);
        let kind = self.catalog.kind_to_run(&envelope.kind, run.version, self.clock.now());
        let result = match (kind, serde_json::from_slice::<Value>(&envelope.payload)) {
            (Ok(kind), Ok(payload)) => kind.execute(Arc::clone(&self.context), payload, run).await,
            (Err(ended), _) => Err(ended),
            (_, Err(error)) => Err(Failure::reject(error)),
        };
        // No chance in tests: the delay is the full one.
        verdict(result.map_err(|failure| RunFailed(failure).into()), &policy, attempts, self.clock.now(), 0.0)
    }
}

/// Memory does not fail.
fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("the engine in memory failed: {error}"))
}
