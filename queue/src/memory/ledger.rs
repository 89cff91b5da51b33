//! The ledger in plain memory: the same decisions about the same jobs, for tests of what uses the engine.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::lock;
use crate::{
    JobId, State, WorkerId,
    cancel::Cancelled,
    ledger::{Begun, CLOCK_SLACK, Settled},
    outbox::NewJob,
    progress::Progress,
    retry::Verdict,
};

/// A job as the ledger in memory knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// What was enqueued.
    pub job: NewJob,
    /// What it is now.
    pub state: State,
    /// Failed attempts.
    pub attempts: i32,
    /// Workers lost in a row.
    pub crashes: i32,
    /// Runs that ended in "later, not counted".
    pub snoozes: i32,
    /// When it may run next.
    pub due_at: DateTime<Utc>,
    /// What the run that finished it reports.
    pub report: Option<Value>,
    /// Every error it had.
    pub errors: Vec<String>,
    /// What it waits for, where it is delayed.
    pub waits_for: Option<String>,
    /// How far its last run has told that it came.
    pub progress: Option<Progress>,
    cancel_requested: bool,
    started_at: Option<DateTime<Utc>>,
    fence: i64,
    worker: Option<WorkerId>,
}

#[derive(Debug, Default)]
pub(crate) struct MemoryLedger {
    jobs: Mutex<HashMap<JobId, Remembered>>,
}

impl MemoryLedger {
    pub(crate) fn insert(&self, job: NewJob, now: DateTime<Utc>) {
        let due_at = job.due_at.unwrap_or(now);
        let state = if due_at > now { State::Delayed } else { State::Ready };
        let id = job.id;
        let remembered = Remembered {
            job,
            state,
            attempts: 0,
            crashes: 0,
            snoozes: 0,
            due_at,
            report: None,
            errors: Vec::new(),
            waits_for: None,
            progress: None,
            cancel_requested: false,
            started_at: None,
            fence: 0,
            worker: None,
        };
        lock(&self.jobs).insert(id, remembered);
    }

    pub(crate) fn get(&self, id: JobId) -> Option<Remembered> {
        lock(&self.jobs).get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Remembered> {
        lock(&self.jobs).values().cloned().collect()
    }

    pub(crate) fn begin(
        &self,
        worker: WorkerId,
        fence: i64,
        ids: &[JobId],
        now: DateTime<Utc>,
    ) -> HashMap<JobId, Begun> {
        let mut jobs = lock(&self.jobs);
        ids.iter()
            .map(|id| {
                let Some(job) = jobs.get_mut(id) else { return (*id, Begun::Unknown) };
                let may = match job.state {
                    State::Ready => true,
                    State::Delayed => job.due_at <= now + CLOCK_SLACK,
                    _ => false,
                };
                if may && job.fence < fence {
                    job.start(worker, fence, now);
                    return (*id, job.run());
                }
                let answer = match (job.state, job.worker) {
                    (state, _) if state.finished() => Begun::Finished,
                    (State::Running, Some(at)) if job.fence == fence && at == worker => job.run(),
                    (State::Running, Some(at)) if job.fence < fence => Begun::Running(at),
                    _ if job.fence >= fence => Begun::FenceTooLow(job.fence),
                    _ => Begun::NotDue(job.due_at),
                };
                (*id, answer)
            })
            .collect()
    }

    pub(crate) fn take_over(
        &self,
        worker: WorkerId,
        fence: i64,
        lost: &[(JobId, WorkerId, i32)],
        data_since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> HashMap<JobId, Begun> {
        let mut jobs = lock(&self.jobs);
        let mut begun = HashMap::new();
        for (id, from, most) in lost {
            let Some(job) = jobs.get_mut(id) else { continue };
            if job.state != State::Running || job.worker != Some(*from) || job.fence >= fence {
                continue;
            }
            let excused = job.started_at.is_some_and(|at| data_since.is_some_and(|since| at < since));
            if !excused {
                job.crashes += 1;
                job.errors.push("the worker that ran the job was lost".to_owned());
            }
            job.start(worker, fence, now);
            if job.cancel_requested || (job.crashes >= *most && !excused) {
                job.state = if job.cancel_requested { State::Cancelled } else { State::Dead };
                job.due_at = now;
                begun.insert(*id, Begun::Finished);
            } else {
                begun.insert(*id, job.run());
            }
        }
        begun
    }

    /// As `cancel::cancel`; `None` when the job has ended or is not known.
    pub(crate) fn cancel(&self, id: JobId) -> Option<Cancelled> {
        let mut jobs = lock(&self.jobs);
        let job = jobs.get_mut(&id).filter(|job| !job.state.finished())?;
        job.cancel_requested = true;
        if job.state == State::Running {
            return Some(Cancelled::Asked);
        }
        job.state = State::Cancelled;
        Some(Cancelled::AtOnce)
    }

    pub(crate) fn cancel_requested(&self, worker: WorkerId) -> Vec<JobId> {
        let jobs = lock(&self.jobs);
        let asked = jobs
            .values()
            .filter(|job| job.cancel_requested && job.state == State::Running && job.worker == Some(worker));
        asked.map(|job| job.job.id).collect()
    }

    pub(crate) fn note_progress(&self, told: &[(JobId, i64, Progress)]) {
        let mut jobs = lock(&self.jobs);
        for (id, fence, progress) in told {
            let job = jobs.get_mut(id).filter(|job| job.fence == *fence && job.state == State::Running);
            if let Some(job) = job {
                job.progress = Some(progress.clone());
            }
        }
    }

    pub(crate) fn settle(&self, settled: &[Settled]) -> HashSet<JobId> {
        let mut jobs = lock(&self.jobs);
        let mut accepted = HashSet::new();
        for run in settled {
            let Some(job) = jobs.get_mut(&run.id).filter(|job| job.fence == run.fence) else { continue };
            if job.state == State::Running {
                job.settle(&run.verdict);
                accepted.insert(run.id);
            } else if job.state == state_after(&run.verdict) {
                // Told again: the first answer was lost.
                accepted.insert(run.id);
            }
        }
        accepted
    }
}

impl Remembered {
    fn start(&mut self, worker: WorkerId, fence: i64, now: DateTime<Utc>) {
        self.started_at = Some(now);
        self.state = State::Running;
        self.worker = Some(worker);
        self.fence = fence;
        self.waits_for = None;
    }

    fn run(&self) -> Begun {
        let deadline_at = self.job.deadline_at;
        Begun::Run { attempts: self.attempts, crashes: self.crashes, deadline_at, trace: self.job.trace }
    }

    fn settle(&mut self, verdict: &Verdict) {
        self.state = state_after(verdict);
        if self.cancel_requested && self.state != State::Done {
            self.state = State::Cancelled;
        }
        match verdict {
            Verdict::Done { report } => self.report = Some(report.clone()),
            Verdict::Retry { due_at, error } => {
                self.attempts += 1;
                self.crashes = 0;
                self.due_at = *due_at;
                self.errors.push(error.clone());
                self.waits_for = Some("the next attempt".to_owned());
            }
            Verdict::Snooze { due_at, waits_for } => {
                self.snoozes += 1;
                self.crashes = 0;
                self.due_at = *due_at;
                self.waits_for = Some(waits_for.clone());
            }
            Verdict::Dead { error } => {
                self.attempts += 1;
                self.errors.push(error.clone());
            }
            Verdict::Cancelled { reason } => self.errors.push(reason.clone()),
            Verdict::HandBack | Verdict::LeaseLost => {}
        }
    }
}

const fn state_after(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Done { .. } => State::Done,
        Verdict::Retry { .. } | Verdict::Snooze { .. } => State::Delayed,
        Verdict::Dead { .. } => State::Dead,
        Verdict::Cancelled { .. } => State::Cancelled,
        Verdict::HandBack | Verdict::LeaseLost => State::Ready,
    }
}
