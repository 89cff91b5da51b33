//! Every key in Redis, spelled once. All keys of a queue carry its hash tag: one script, one slot, so Redis Cluster works.

use crate::{WorkerId, policy::Queue};

/// The keys of one queue.
#[derive(Debug, Clone)]
pub struct QueueKeys {
    base: String,
}

impl QueueKeys {
    /// The keys of `queue` in the deployment with this prefix.
    #[must_use]
    pub fn new(prefix: &str, queue: Queue) -> Self {
        Self { base: format!("{{{prefix}:{queue}}}") }
    }

    /// List of the groups that have something ready, in the order of their turns.
    #[must_use]
    pub fn ring(&self) -> String {
        format!("{}:ring", self.base)
    }

    /// What the key of each group's list of ready entries starts with.
    #[must_use]
    pub fn groups(&self) -> String {
        format!("{}:group:", self.base)
    }

    /// Sorted set of delayed entries by their due moment, milliseconds since 1970.
    #[must_use]
    pub fn delayed(&self) -> String {
        format!("{}:delayed", self.base)
    }

    /// Sorted set of workers by the end of their leases, milliseconds since 1970.
    #[must_use]
    pub fn workers(&self) -> String {
        format!("{}:workers", self.base)
    }

    /// What the key of each worker's lease (hash of id to entry) starts with; a worker's 16-byte id follows.
    #[must_use]
    pub fn leases(&self) -> String {
        format!("{}:lease:", self.base)
    }

    /// The lease of one worker.
    #[must_use]
    pub fn lease(&self, worker: WorkerId) -> Vec<u8> {
        let mut key = self.leases().into_bytes();
        key.extend_from_slice(worker.0.as_bytes());
        key
    }

    /// The last fencing token.
    #[must_use]
    pub fn fence(&self) -> String {
        format!("{}:fence", self.base)
    }

    /// A mark that vanishes with the data: without it, Redis has lost what it held.
    #[must_use]
    pub fn epoch(&self) -> String {
        format!("{}:epoch", self.base)
    }

    /// Channel on which idle workers hear that something is ready.
    #[must_use]
    pub fn wake(&self) -> String {
        format!("{}:wake", self.base)
    }
}

/// The keys of one budget. All budgets share a slot, so that several can be asked at once.
#[derive(Debug, Clone)]
pub struct BudgetKeys {
    /// Hash: the next moment, the rate, and what `lua/budget_state.lua` needs beside.
    pub bucket: String,
    /// Sorted set of tickets by the moment set aside for them, microseconds since 1970.
    pub slots: String,
    /// Sorted set of moments that were set aside and given back, microseconds since 1970.
    pub free: String,
}

impl BudgetKeys {
    /// The keys of the budget called `name`.
    #[must_use]
    pub fn new(prefix: &str, name: &str) -> Self {
        let base = format!("{{{prefix}:budget}}:{name}");
        Self { slots: format!("{base}:slots"), free: format!("{base}:free"), bucket: base }
    }
}
