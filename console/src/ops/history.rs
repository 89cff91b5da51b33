//! What ended in the last hour, day or week, as the roll-up counted it: the numbers behind the charts.

use std::{collections::BTreeMap, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Queue,
    roll_up::{self, Counts, Stretch},
};
use serde::Serialize;
use sqlx::PgConnection;

/// How far back a chart goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Span {
    /// An hour, by minutes.
    #[serde(rename = "1h")]
    Hour,
    /// A day, by quarters of an hour.
    #[serde(rename = "24h")]
    Day,
    /// A week, by hours.
    #[serde(rename = "7d")]
    Week,
}

impl Span {
    /// All, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// As in an address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// In a sentence: "the last …".
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "24 hours",
            Self::Week => "7 days",
        }
    }

    /// What one point stands for.
    #[must_use]
    pub const fn stretch(self) -> Stretch {
        match self {
            Self::Hour => Stretch::Minute,
            Self::Day => Stretch::Quarter,
            Self::Week => Stretch::Hour,
        }
    }

    /// How many points there are.
    #[must_use]
    pub const fn points(self) -> usize {
        match self {
            Self::Hour => 60,
            Self::Day => 96,
            Self::Week => 168,
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|span| span.name() == text)
            .ok_or_else(|| format!("`{text}` is no span; there are 1h, 24h and 7d"))
    }
}

/// What ended in each stretch of a span.
#[derive(Debug, Clone)]
pub struct History {
    /// How far it goes back.
    pub span: Span,
    /// Where its first stretch begins.
    pub from: DateTime<Utc>,
    /// Where its last stretch ends; that one still passes.
    pub to: DateTime<Utc>,
    /// Of all queues and kinds, the first stretch first, without a gap.
    pub all: Vec<Counts>,
    /// How many jobs ended on each queue in each stretch.
    pub queues: Vec<(Queue, Vec<i64>)>,
    /// Of each kind in the whole span.
    pub kinds: BTreeMap<String, Counts>,
}

impl History {
    /// Of the whole span.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in &self.all {
            total.merge(counts);
        }
        total
    }

    /// Where a stretch begins.
    #[must_use]
    pub fn at(&self, point: usize) -> DateTime<Utc> {
        self.from + self.span.stretch().length() * i32::try_from(point).unwrap_or(i32::MAX)
    }
}

/// Jobs that ended, however.
#[must_use]
pub const fn ended(counts: &Counts) -> i64 {
    counts.done + counts.dead + counts.cancelled
}

/// Reads a span that ends now.
///
/// # Errors
/// When the database fails.
pub async fn read(
    connection: &mut PgConnection,
    span: Span,
    now: DateTime<Utc>,
) -> Result<History, sqlx::Error> {
    let (stretch, points) = (span.stretch(), span.points());
    let to = stretch.begin(now) + stretch.length();
    let from = to - stretch.length() * i32::try_from(points).unwrap_or(i32::MAX);
    let mut history = History {
        span,
        from,
        to,
        all: vec![Counts::default(); points],
        queues: Queue::ALL.into_iter().map(|queue| (queue, vec![0; points])).collect(),
        kinds: BTreeMap::new(),
    };
    for row in roll_up::read(connection, stretch, from, to).await? {
        let Some(point) = place(row.at - from, stretch.length()).filter(|point| *point < points) else {
            continue;
        };
        history.all[point].merge(&row.counts);
        if let Some((_, ended_at)) = history.queues.iter_mut().find(|(queue, _)| queue.name() == row.queue) {
            ended_at[point] += ended(&row.counts);
        }
        history.kinds.entry(row.kind).or_default().merge(&row.counts);
    }
    Ok(history)
}

/// In which stretch a moment is.
fn place(since: TimeDelta, length: TimeDelta) -> Option<usize> {
    usize::try_from(since.num_seconds().checked_div(length.num_seconds())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_as_long_as_its_points() {
        for (span, hours) in [(Span::Hour, 1), (Span::Day, 24), (Span::Week, 168)] {
            let length = span.stretch().length() * i32::try_from(span.points()).expect("few");
            assert_eq!(length, TimeDelta::hours(hours));
            assert_eq!(span.name().parse(), Ok(span));
        }
        assert!("2h".parse::<Span>().is_err_and(|error| error.contains("1h, 24h and 7d")));
    }
}
