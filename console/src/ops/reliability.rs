//! What no promise covers and everybody wants to know: how fast crashed work came back, and what was delivered twice.

use chrono::{DateTime, TimeDelta, Utc};
use queue::recovery::{self, Comeback, LostWorker, NotedOvertaken};
use sqlx::PgConnection;

use crate::ops::history::{self, Span};

/// Bounds between the bars of how long work was away, in seconds. A lease lasts 10 s, and a sweep comes each second.
pub const AWAY_BOUNDS: [i64; 7] = [5, 10, 12, 15, 30, 60, 300];

/// How reliable the last week was.
#[derive(Debug, Clone)]
pub struct Reliability {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Runs that ended in that time, however.
    pub runs: i64,
    /// Jobs that came back, by how long they were away: below each of [`AWAY_BOUNDS`], and the rest.
    pub away: [i64; AWAY_BOUNDS.len() + 1],
    /// How long each was away, the shortest first.
    pub lengths: Vec<TimeDelta>,
    /// Jobs that came back from a worker whose last sign of life nobody noted.
    pub unknown: i64,
    /// The last that came back; at most [`SHOWN`].
    pub comebacks: Vec<Comeback>,
    /// Workers that were lost, the last first; at most [`SHOWN`].
    pub lost_workers: Vec<LostWorker>,
    /// Runs that came to their own end although another run of their job had begun.
    pub twice: i64,
    /// Runs that were stopped after another run of their job had begun.
    pub stopped: i64,
    /// The last of both; at most [`SHOWN`].
    pub overtaken: Vec<NotedOvertaken>,
}

impl Reliability {
    /// How long this share of those that came back were away at most.
    #[must_use]
    pub fn away_at_most(&self, percent: usize) -> Option<TimeDelta> {
        let place = (self.lengths.len() * percent).div_ceil(100).saturating_sub(1);
        self.lengths.get(place).copied()
    }

    /// Deliveries in a million that were one too many; `None` when nothing ran.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn twice_in_a_million(&self) -> Option<f64> {
        (self.runs > 0).then(|| (self.twice + self.stopped) as f64 * 1_000_000.0 / self.runs as f64)
    }
}

/// Most lines of each list.
pub const SHOWN: usize = 10;
/// Most notes that are read; more in a week is an incident with pages of its own.
const MOST_READ: u16 = 10_000;

/// Reads the last week.
///
/// # Errors
/// When the database fails.
pub async fn read(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Reliability, sqlx::Error> {
    let week = history::read(connection, Span::Week, now).await?;
    let (since, total) = (week.from, week.total());
    let mut comebacks = recovery::comebacks(connection, since, MOST_READ).await?;
    let mut lengths: Vec<_> = comebacks.iter().filter_map(Comeback::away).collect();
    lengths.sort_unstable();
    let mut away = [0; AWAY_BOUNDS.len() + 1];
    for length in &lengths {
        away[AWAY_BOUNDS.partition_point(|bound| *bound * 1_000 <= length.num_milliseconds())] += 1;
    }
    let unknown = comebacks.len() - lengths.len();
    let mut overtaken = recovery::overtaken(connection, since, MOST_READ).await?;
    let twice = overtaken.iter().filter(|run| run.finished).count();
    let stopped = overtaken.len() - twice;
    comebacks.truncate(SHOWN);
    overtaken.truncate(SHOWN);
    Ok(Reliability {
        since,
        runs: total.done + total.failed + total.crashed,
        away,
        lengths,
        unknown: count(unknown),
        comebacks,
        lost_workers: recovery::lost_workers(connection, since, 10).await?,
        twice: count(twice),
        stopped: count(stopped),
        overtaken,
    })
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
