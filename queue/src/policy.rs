//! What a kind asks of the engine: its queue, how long a run may take, how often it is tried.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A queue: each has worker slots of its own, so that slow work in one never holds up another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// How long a second job of the same kind and payload is refused. The answer names the first one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unique {
    /// Until its first run begins: what is asked for meanwhile, one run does; what is asked for later needs another.
    WhileWaiting,
    /// Until it has ended.
    #[default]
    UntilDone,
    /// For this long after it was enqueued, also when it has ended before. Any period of this length has at most one.
    For(Duration),
}

/// As people say it.
impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WhileWaiting => f.pad("while waiting"),
            Self::UntilDone => f.pad("until done"),
            Self::For(period) => f.pad(&format!("for {} s", period.as_secs())),
        }
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
    /// Most jobs of the kind that run at once, in all workers.
    pub max_running: Option<u32>,
    /// Most jobs of the kind that run at once for the same group, in all workers.
    pub max_running_per_group: Option<u32>,
    /// How many turns it gets while another kind of its queue gets one.
    pub weight: u32,
    /// How long a second job of the same kind and payload is refused; `None` lets it in.
    pub unique: Option<Unique>,
    /// A job whose first run has not begun this long after it could is cancelled instead of run.
    pub expires_after: Option<Duration>,
    /// How urgent its jobs are within the queue, unless a job says otherwise.
    pub priority: Priority,
    /// How many retries a job with a deadline keeps time for; their delays and runs come before its latest safe start.
    pub reserve_retries: i32,
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
            max_running: None,
            max_running_per_group: None,
            weight: 1,
            unique: None,
            expires_after: None,
            priority: Priority::Normal,
            reserve_retries: 2,
        }
    }

    /// For syncs from Amazon.
    #[must_use]
    pub const fn sync() -> Self {
        Self::on(Queue::Sync)
    }

    /// For exports and erasures.
    #[must_use]
    pub const fn heavy() -> Self {
        Self::on(Queue::Heavy)
    }

    /// For purges, rotation and backups.
    #[must_use]
    pub const fn upkeep() -> Self {
        Self::on(Queue::Upkeep)
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

    /// Sets how many retries a job with a deadline keeps time for.
    #[must_use]
    pub const fn reserve_retries(mut self, retries: i32) -> Self {
        self.reserve_retries = retries;
        self
    }

    /// Refuses a second unfinished job of the same kind and payload.
    #[must_use]
    pub const fn unique(mut self) -> Self {
        self.unique = Some(Unique::UntilDone);
        self
    }

    /// Refuses a second job of the same kind and payload until the first run of the first one begins.
    #[must_use]
    pub const fn unique_while_waiting(mut self) -> Self {
        self.unique = Some(Unique::WhileWaiting);
        self
    }

    /// Refuses a second job of the same kind and payload for this long after the first one was enqueued.
    #[must_use]
    pub const fn unique_for(mut self, period: Duration) -> Self {
        self.unique = Some(Unique::For(period));
        self
    }

    /// Cancels jobs that have not begun to run this long after they could.
    #[must_use]
    pub const fn expires_after(mut self, wait: Duration) -> Self {
        self.expires_after = Some(wait);
        self
    }
}

/// Minutes, for policies.
#[must_use]
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}
