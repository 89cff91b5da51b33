//! The jobs, and what became of each: a job's number is in its payload, and every run is counted under it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What a job carries: its number, and padding up to the bytes that were asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Payload {
    n: u32,
    pad: String,
}

impl Payload {
    /// A payload of exactly so many bytes as JSON.
    #[must_use]
    pub fn new(n: u32, bytes: usize) -> Self {
        let around = r#"{"n":,"pad":""}"#.len() + n.to_string().len();
        Self { n, pad: "x".repeat(bytes.saturating_sub(around)) }
    }
}

/// Counts runs; does nothing else.
#[derive(Debug)]
pub struct Work {
    runs: Vec<AtomicU8>,
    done: AtomicU32,
    latest: Mutex<Option<(u32, Instant)>>,
    started: Notify,
}

impl Work {
    /// For jobs with the numbers below `jobs`.
    #[must_use]
    pub fn new(jobs: u32) -> Self {
        Self {
            runs: (0..jobs).map(|_| AtomicU8::new(0)).collect(),
            done: AtomicU32::new(0),
            latest: Mutex::new(None),
            started: Notify::new(),
        }
    }

    /// The no-op that each job is.
    pub fn run(&self, payload: &Payload) {
        let now = Instant::now();
        if let Some(runs) = self.runs.get(payload.n as usize)
            && runs.fetch_add(1, Ordering::Relaxed) == 0
        {
            *self.latest.lock().expect("nobody panics with the lock") = Some((payload.n, now));
            self.done.fetch_add(1, Ordering::Release);
            self.started.notify_one();
        }
    }

    /// Jobs that have run, each counted once.
    pub fn done(&self) -> u32 {
        self.done.load(Ordering::Acquire)
    }

    /// Jobs that have not run.
    pub fn lost(&self) -> usize {
        self.runs.iter().filter(|runs| runs.load(Ordering::Relaxed) == 0).count()
    }

    /// Runs beyond the first of each job.
    pub fn duplicates(&self) -> u64 {
        self.runs.iter().map(|runs| u64::from(runs.load(Ordering::Relaxed).saturating_sub(1))).sum()
    }

    /// When this job started.
    ///
    /// # Errors
    /// It did not start in time.
    pub async fn started_at(&self, n: u32, at_most: Duration) -> Result<Instant> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let latest = *self.latest.lock().expect("nobody panics with the lock");
            match latest {
                Some((latest, at)) if latest == n => return Ok(at),
                _ => {}
            }
            if tokio::time::timeout_at(deadline, self.started.notified()).await.is_err() {
                bail!("job {n} did not start within {} s", at_most.as_secs());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_bytes_asked_for() {
        for n in [0, 7, 99_999] {
            let payload = serde_json::to_string(&Payload::new(n, 140)).expect("it is JSON");
            assert_eq!(payload.len(), 140);
        }
    }

    #[test]
    fn lost_and_duplicate_runs_are_counted() {
        let work = Work::new(3);
        for n in [0, 2, 2, 2] {
            work.run(&Payload::new(n, 140));
        }
        assert_eq!((work.done(), work.lost(), work.duplicates()), (2, 1, 2));
    }
}
