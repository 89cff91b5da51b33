//! When a kind fires by itself. Only data: the scheduler's `cron` service steps it.

/// What to do with ticks that passed while no scheduler ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Fire once for all of them.
    Once,
    /// Fire for none; the next tick comes at its time.
    Skip,
}

/// A kind's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Five or six fields (seconds first), as `*/15 * * * *`.
    pub expression: &'static str,
    /// IANA time zone in which the expression is meant.
    pub time_zone: &'static str,
    /// What to do with ticks that were missed.
    pub missed: Missed,
}

impl Schedule {
    /// A schedule in UTC that catches up once.
    #[must_use]
    pub const fn cron(expression: &'static str) -> Self {
        Self { expression, time_zone: "UTC", missed: Missed::Once }
    }

    /// The same wall-clock time in `time_zone` all year.
    #[must_use]
    pub const fn in_zone(mut self, time_zone: &'static str) -> Self {
        self.time_zone = time_zone;
        self
    }

    /// Lets missed ticks go.
    #[must_use]
    pub const fn skip_missed(mut self) -> Self {
        self.missed = Missed::Skip;
        self
    }
}
