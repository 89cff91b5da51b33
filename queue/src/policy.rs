//! What a kind asks of the engine: its queue, how long a run may take, how often it is tried.

use std::{fmt, str::FromStr, time::Duration};

/// A queue: each has worker slots of its own, so that slow work in one never holds up another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Breach notices: what a law or contract gives hours for.
    Urgent,
    /// Syncs from Amazon and review requests.
    Sync,
    /// Mail.
    Mail,
    /// Exports and erasures.
    Heavy,
    /// Purges, rotation, backups.
    Upkeep,
}

impl Queue {
    /// All queues, most urgent first.
    pub const ALL: [Self; 5] = [Self::Urgent, Self::Sync, Self::Mail, Self::Heavy, Self::Upkeep];

    /// As in keys, tables and on pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Sync => "sync",
            Self::Mail => "mail",
            Self::Heavy => "heavy",
            Self::Upkeep => "upkeep",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|queue| queue.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|queue| queue.name()).collect();
            format!("`{text}` is not a queue; the queues are {}", known.join(", "))
        })
    }
}

/// How urgent a job is within its queue. All three make progress: the higher ones get more turns, never all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for it.
    High,
    /// The usual case.
    #[default]
    Normal,
    /// Whenever there is room: a backfill.
    Low,
}

impl Priority {
    /// All priorities, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|priority| priority.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|priority| priority.name()).collect();
            format!("`{text}` is not a priority; the priorities are {}", known.join(", "))
        })
    }
}

/// The policy of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Where its jobs wait.
    pub queue: Queue,
    /// Longest time one run may take; after it the run is stopped and counts as a failed attempt.
    pub timeout: Duration,
    /// Failed attempts after which the job is dead.
    pub max_attempts: i32,
    /// Lost workers after which the job is dead: a job that kills its workers must not go round and round.
    pub max_crashes: i32,
    /// Delay before the second attempt; it doubles with each further one.
    pub first_delay: Duration,
    /// Longest delay between two attempts.
    pub longest_delay: Duration,
    /// Whether a second unfinished job of the same kind and payload is refused.
    pub unique: bool,
    /// Most jobs of the kind that run at once, in all workers.
    pub max_running: Option<u32>,
    /// Most jobs of the kind that run at once for the same group, in all workers.
    pub max_running_per_group: Option<u32>,
    /// How many turns it gets while another kind of its queue gets one.
    pub weight: u32,
    /// How urgent its jobs are within the queue, unless a job says otherwise.
    pub priority: Priority,
}

impl Policy {
    const fn on(queue: Queue) -> Self {
        Self {
            queue,
            timeout: Duration::from_secs(60),
            max_attempts: 10,
            max_crashes: 3,
            first_delay: Duration::from_secs(5),
            longest_delay: Duration::from_secs(3_600),
            unique: false,
            max_running: None,
            max_running_per_group: None,
            weight: 1,
            priority: Priority::Normal,
        }
    }

    /// For syncs from Amazon.
    #[must_use]
    pub const fn sync() -> Self {
        Self::on(Queue::Sync)
    }

    /// Sets the longest time of one run.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets after how many failed attempts the job is dead.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: i32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the first and the longest delay between attempts.
    #[must_use]
    pub const fn delays(mut self, first: Duration, longest: Duration) -> Self {
        self.first_delay = first;
        self.longest_delay = longest;
        self
    }

    /// Sets how many of its jobs run at once, in all workers.
    #[must_use]
    pub const fn max_running(mut self, most: u32) -> Self {
        self.max_running = Some(most);
        self
    }

    /// Sets how many of its jobs run at once for the same group, in all workers.
    #[must_use]
    pub const fn max_running_per_group(mut self, most: u32) -> Self {
        self.max_running_per_group = Some(most);
        self
    }

    /// Sets how many turns it gets while another kind of its queue gets one.
    #[must_use]
    pub const fn weight(mut self, turns: u32) -> Self {
        self.weight = turns;
        self
    }

    /// Sets how urgent its jobs are within the queue.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Refuses a second unfinished job of the same kind and payload.
    #[must_use]
    pub const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }
}

/// Minutes, for policies.
#[must_use]
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}
