//! `amzigo deadlines`: which jobs must be done by a moment, and which of them are in danger. And a deadline as people write
//! it.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use clap::Args;
use queue::escalations::Watched;
use serde_json::json;
use thiserror::Error;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
};
use crate::ops::{deadlines, delay::Delay};

/// List the jobs that have a deadline and are not done, the most urgent first. All moments are UTC.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo deadlines\n  amzigo deadlines --json --limit 500\n\nLevels: half, three quarters and nine tenths of the way from birth to the latest safe start;\nmust start now; cannot fit; missed. `amzigo job ID` shows when each was reached."
)]
pub(super) struct Deadlines {
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl Deadlines {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let jobs = deadlines::list(&mut connection, self.limit, now).await?;
        answers.give(&json!({ "now": now, "jobs": jobs }), |_| table(&jobs))
    }
}

fn table(jobs: &[Watched]) -> String {
    if jobs.is_empty() {
        return "No unfinished job has a deadline.".to_owned();
    }
    let headings =
        ["id", "kind", "state", "level", "time left", "latest safe start (UTC)", "deadline (UTC)", "why"];
    let mut table = answer::table(&headings);
    for job in jobs {
        table.add_row([
            answer::text(&job.id.to_string()),
            answer::text(&job.kind),
            answer::state(&job.state),
            answer::text(job.level.name()),
            answer::text(&time_left(job.seconds_left)),
            answer::text(&answer::moment(job.latest_safe_start)),
            answer::text(&answer::moment(job.deadline_at)),
            answer::text(&answer::short(&job.why, 80)),
        ]);
    }
    let unseen = jobs.iter().filter(|job| job.looked_at.is_none()).count();
    let unseen = match unseen {
        0 => String::new(),
        count => {
            format!("\n\n{count} of them were not looked at by a scheduler yet: is one running?")
        }
    };
    format!("{}{unseen}", table.trim_fmt())
}

/// `2 h 5 min`, or `3 min late`.
fn time_left(seconds: i64) -> String {
    let length = seconds.unsigned_abs();
    let words = match length {
        ..60 => format!("{length} s"),
        60..3_600 => format!("{} min", length / 60),
        3_600..86_400 => format!("{} h {} min", length / 3_600, length % 3_600 / 60),
        _ => format!("{} d {} h", length / 86_400, length % 86_400 / 3_600),
    };
    if seconds < 0 { format!("{words} late") } else { words }
}

/// A deadline from the command line: a length of time from now, or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// So long from now.
    In(Delay),
    /// At this moment.
    At(DateTime<Utc>),
}

/// Why a text is not a deadline.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a deadline is a time from now, as 90s, 10m, 24h or 2d, or a moment with its time zone, as 2026-11-24T09:00:00+00:00"
)]
pub(super) struct DeadlineError;

impl FromStr for Deadline {
    type Err = DeadlineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(delay) = text.parse() {
            return Ok(Self::In(delay));
        }
        DateTime::parse_from_rfc3339(text).map(|at| Self::At(at.to_utc())).map_err(|_| DeadlineError)
    }
}

impl Deadline {
    /// The moment that it is, if it is `now`.
    pub(super) fn moment(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::In(delay) => now + delay.0,
            Self::At(moment) => moment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_length_or_a_moment_with_its_zone() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("a moment");
        let moment = |text: &str| text.parse::<Deadline>().map(|deadline| deadline.moment(now));
        assert_eq!(moment("24h"), Ok(now + chrono::TimeDelta::hours(24)));
        // The same moment, before and after the clocks in London went back.
        let expected: DateTime<Utc> = "2026-10-25T00:30:00Z".parse().expect("a moment");
        assert_eq!(moment("2026-10-25T01:30:00+01:00"), Ok(expected));
        assert_eq!(moment("2026-10-25T00:30:00Z"), Ok(expected));
        for wrong in ["", "tomorrow", "2026-10-25", "2026-10-25T01:30:00", "366d"] {
            assert_eq!(moment(wrong), Err(DeadlineError), "{wrong}");
        }
    }

    #[test]
    fn time_left_is_told_in_two_units_and_may_be_negative() {
        assert_eq!(time_left(59), "59 s");
        assert_eq!(time_left(7_500), "2 h 5 min");
        assert_eq!(time_left(-200), "3 min late");
        assert_eq!(time_left(90_000), "1 d 1 h");
    }
}
