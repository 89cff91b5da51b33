//! Every key in Redis, spelled once. All keys of a queue carry its hash tag: one script, one slot, so Redis Cluster works.

use crate::{WorkerId, policy::Queue};

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident = $part:literal;)*) => {
        $($(#[$doc])* const $name: &str = $part;)*

        /// What stands before the scripts of a queue: the base of its keys, and what follows it in each.
        pub(crate) const PREFACE: &str =
            concat!("local BASE = KEYS[1]\n", $("local ", stringify!($name), " = '", $part, "'\n",)*);
    };
}

parts! {
    RINGS = ":rings";
    RING = ":ring:";
    LANE = ":lane:";
    DELAYED = ":delayed";
    WORKERS = ":workers";
    LEASE = ":lease:";
    HEAD = ":head";
    HELD = ":held:";
    HELD_SCOPES = ":held_scopes";
    PARKED = ":parked:";
    PARKED_GROUPS = ":parked_groups";
}

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

    /// What every key starts with, and the one key that scripts are given.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn key(&self, part: &str, name: &[u8]) -> Vec<u8> {
        [self.base.as_bytes(), part.as_bytes(), name].concat()
    }

    /// Sorted set of the rings that hold a group, by their pass: how many entries were taken, over the ring's weight.
    #[must_use]
    pub fn rings(&self) -> Vec<u8> {
        self.key(RINGS, b"")
    }

    /// List of the groups that have something ready in a ring, in the order of their turns.
    #[must_use]
    pub fn ring(&self, ring: &[u8]) -> Vec<u8> {
        self.key(RING, ring)
    }

    /// List of a group's ready entries in a ring.
    #[must_use]
    pub fn lane(&self, lane: &[u8]) -> Vec<u8> {
        self.key(LANE, lane)
    }

    /// Sorted set of delayed entries by their due moment, milliseconds since 1970.
    #[must_use]
    pub fn delayed(&self) -> Vec<u8> {
        self.key(DELAYED, b"")
    }

    /// Sorted set of workers by the end of their leases, milliseconds since 1970.
    #[must_use]
    pub fn workers(&self) -> Vec<u8> {
        self.key(WORKERS, b"")
    }

    /// The lease of one worker: hash of id to entry.
    #[must_use]
    pub fn lease(&self, worker: WorkerId) -> Vec<u8> {
        self.key(LEASE, worker.0.as_bytes())
    }

    /// Hash: whether the queue is open, the epoch, the last fencing token, and the controls.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        self.key(HEAD, b"")
    }

    /// Who runs within a limited scope: hash of job id to worker.
    #[must_use]
    pub fn held(&self, scope: &[u8]) -> Vec<u8> {
        self.key(HELD, scope)
    }

    /// Set of the scopes within which somebody runs.
    #[must_use]
    pub fn held_scopes(&self) -> Vec<u8> {
        self.key(HELD_SCOPES, b"")
    }

    /// Set of a group's lanes that are out of their rings.
    #[must_use]
    pub fn parked(&self, group: &[u8]) -> Vec<u8> {
        self.key(PARKED, group)
    }

    /// Set of the groups that have a parked lane.
    #[must_use]
    pub fn parked_groups(&self) -> Vec<u8> {
        self.key(PARKED_GROUPS, b"")
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
    /// Hash: `tat` and, where the other side named it, `interval`.
    pub bucket: String,
    /// Sorted set of tickets by the moment set aside for them, microseconds since 1970.
    pub slots: String,
}

impl BudgetKeys {
    /// The keys of the budget called `name`.
    #[must_use]
    pub fn new(prefix: &str, name: &str) -> Self {
        let base = format!("{{{prefix}:budget}}:{name}");
        Self { slots: format!("{base}:slots"), bucket: base }
    }
}
