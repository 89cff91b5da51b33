//! Schedules: when kinds fire by themselves, and what people do about that.
//!
//! Running one now does not touch its ticks: they come as planned, and each run by hand has idempotency keys of its own, made
//! from a word that whoever asks chooses once. Asking twice with the same word enqueues nothing the second time. A paused
//! schedule fires not at all; what becomes of ticks that were missed meanwhile is its policy's: once at the resume, or never.

use chrono::{DateTime, SecondsFormat, Utc};
use jobs::{catalog::CATALOG, context::Context};
use queue::{
    Kind, Schedule,
    outbox::{self, Cause, EnqueueError, Enqueued},
    schedule::Missed,
    stepping::{Stepper, SteppingError},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use thiserror::Error;

use crate::ops::{Act, controls::Decided};

/// Ticks that are told ahead.
pub const AHEAD: usize = 5;

/// A schedule as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleLine {
    /// Whose.
    pub kind: &'static str,
    /// What the kind does.
    pub summary: &'static str,
    /// When it fires, as five or six fields.
    pub expression: &'static str,
    /// The time zone in which that is meant.
    pub time_zone: &'static str,
    /// The same in words, where there are short ones.
    pub in_words: String,
    /// Over how long the jobs of a tick are spread, in seconds.
    pub spread_seconds: u64,
    /// Whether one tick makes up for those that were missed; else they are let go.
    pub catches_up: bool,
    /// The next ticks; none while it is paused.
    pub next: Vec<DateTime<Utc>>,
    /// The last tick that fired.
    pub last_fire_at: Option<DateTime<Utc>>,
    /// How many jobs that enqueued.
    pub last_made: Option<i32>,
    /// Who paused it, where somebody did.
    pub paused: Option<Decided>,
}

/// Why something was not done about a schedule.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// There is none.
    #[error("`{0}` has no schedule; `amzigo schedules list` shows those that there are")]
    None(String),
    /// The catalog has a wrong one.
    #[error("the schedule of `{kind}` is wrong")]
    Wrong {
        /// Whose.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: SteppingError,
    },
    /// The jobs were refused.
    #[error("could not enqueue the jobs")]
    Enqueue(#[from] EnqueueError),
    /// The database failed.
    #[error("could not read or change the schedule")]
    Database(#[from] sqlx::Error),
}

impl ScheduleError {
    /// Whether trying again cannot help.
    #[must_use]
    pub const fn refused(&self) -> bool {
        matches!(self, Self::None(_) | Self::Wrong { .. })
    }
}

fn scheduled(kind: &str) -> Result<(&'static Kind<Context>, Schedule), ScheduleError> {
    let none = || ScheduleError::None(kind.chars().take(100).collect());
    let kind = CATALOG.get(kind).ok_or_else(none)?;
    Ok((kind, kind.schedule.ok_or_else(none)?))
}

/// All schedules, in the order of the catalog.
///
/// # Errors
/// When the database fails, or the catalog has a wrong one.
pub async fn list(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<ScheduleLine>, ScheduleError> {
    let rows = sqlx::query!(
        r#"
        select kind, next_fire_at, last_fire_at, last_made, paused_at, acts.actor as "by?", acts.reason as "reason?"
        from schedules left join lateral (
            select actor, reason from audit_log
            where paused_at is not null and target = kind and action = 'schedules.pause' order by id desc limit 1
        ) as acts on true
        "#
    )
    .fetch_all(connection)
    .await?;
    let mut lines = Vec::new();
    for kind in CATALOG.iter() {
        let Some(schedule) = kind.schedule else { continue };
        let row = rows.iter().find(|row| row.kind == kind.name);
        let paused = row.and_then(|row| {
            let since = row.paused_at?;
            Some(Decided { since, by: row.by.clone(), reason: row.reason.clone() })
        });
        let next = match paused {
            Some(_) => Vec::new(),
            None => ahead(kind.name, &schedule, row.map(|row| row.next_fire_at), now)?,
        };
        lines.push(ScheduleLine {
            kind: kind.name,
            summary: kind.summary,
            expression: schedule.expression,
            time_zone: schedule.time_zone,
            in_words: in_words(schedule.expression),
            spread_seconds: schedule.spread.as_secs(),
            catches_up: schedule.missed == Missed::Once,
            next,
            last_fire_at: row.and_then(|row| row.last_fire_at),
            last_made: row.and_then(|row| row.last_made),
            paused,
        });
    }
    Ok(lines)
}

/// The stored tick first: it may be overdue.
fn ahead(
    kind: &'static str,
    schedule: &Schedule,
    stored: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, ScheduleError> {
    let stepper = Stepper::new(schedule).map_err(|source| ScheduleError::Wrong { kind, source })?;
    let mut ticks: Vec<_> = stored.into_iter().collect();
    while ticks.len() < AHEAD {
        let after = ticks.last().map_or(now, |last| (*last).max(now));
        let Some(next) = stepper.next_after(after) else { break };
        ticks.push(next);
    }
    Ok(ticks)
}

/// An expression in words, where short ones say all of it; else as it is.
fn in_words(expression: &str) -> String {
    let fields: Vec<_> = expression.split_whitespace().collect();
    let number = |text: &str| text.parse::<u32>().ok();
    let every = |text: &str| text.strip_prefix("*/").and_then(|step| step.parse::<u32>().ok());
    let weekday = |text: &str| {
        const DAYS: [&str; 8] =
            ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        text.parse::<usize>().ok().and_then(|day| DAYS.get(day).copied())
    };
    match fields.as_slice() {
        ["*", "*", "*", "*", "*"] => "every minute".to_owned(),
        [minute, "*", "*", "*", "*"] if every(minute).is_some() => {
            format!("every {} minutes", every(minute).unwrap_or_default())
        }
        [minute, "*", "*", "*", "*"] if number(minute).is_some() => {
            format!("every hour at minute {}", number(minute).unwrap_or_default())
        }
        [minute, hour, "*", "*", "*"] if number(minute).is_some() && every(hour).is_some() => format!(
            "every {} hours at minute {}",
            every(hour).unwrap_or_default(),
            number(minute).unwrap_or_default()
        ),
        [minute, hour, "*", "*", day] if number(minute).is_some() && number(hour).is_some() => {
            let at =
                format!("{:02}:{:02}", number(hour).unwrap_or_default(), number(minute).unwrap_or_default());
            match (*day, weekday(day)) {
                ("*", _) => format!("every day at {at}"),
                (_, Some(name)) => format!("every {name} at {at}"),
                _ => expression.to_owned(),
            }
        }
        _ => expression.to_owned(),
    }
}

/// What running a schedule now did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Jobs that it enqueued.
    pub new: usize,
    /// Jobs that were there already: those run, brought forward where they waited for a later moment.
    pub there: usize,
}

/// Enqueues the jobs of a tick now, all due at once, and records the act, in a transaction of its own or a part of the caller's.
/// `once` is a word that is new for each time that somebody wants this: with the same word nothing is enqueued again.
///
/// # Errors
/// When the kind has no schedule, the jobs are refused, or the database fails.
pub async fn run_now(
    connection: &mut PgConnection,
    kind: &str,
    once: &str,
    cause: Cause,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Ran, ScheduleError> {
    let (kind, _) = scheduled(kind)?;
    let mut transaction = connection.begin().await?;
    let jobs: Vec<_> = kind
        .tick(&mut transaction)
        .await?
        .into_iter()
        .map(|mut job| {
            job.cause = cause;
            let key = format!("{}@by hand {once}/{}", kind.name, job.group);
            job.idempotency_key(key)
        })
        .collect();
    let mut ran = Ran { new: 0, there: 0 };
    for some in jobs.chunks(1_000) {
        for answer in outbox::enqueue(&mut transaction, some, now).await? {
            match answer {
                Enqueued::New(_) => ran.new += 1,
                Enqueued::Exists(_) => ran.there += 1,
            }
        }
    }
    act.record(&mut transaction, "schedules.run", kind.name, now).await?;
    transaction.commit().await?;
    Ok(ran)
}

/// Pauses a schedule or lets it fire again, and records the act, in a transaction of its own or a part of the caller's. Returns
/// whether that changed anything; where it did not, nothing is recorded.
///
/// # Errors
/// When the kind has no schedule, or the database fails.
pub async fn set_paused(
    connection: &mut PgConnection,
    kind: &str,
    paused: bool,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<bool, ScheduleError> {
    let (kind, schedule) = scheduled(kind)?;
    let next = ahead(kind.name, &schedule, None, now)?.first().copied().unwrap_or(now);
    let mut transaction = connection.begin().await?;
    // Before a scheduler has ever seen it there is no row.
    let changed = sqlx::query!(
        r#"
        insert into schedules as s (kind, expression, next_fire_at, paused_at)
        values ($1, $2, $3, case when $4 then $5::timestamptz end)
        on conflict (kind) do update set paused_at = case when $4 then $5::timestamptz end
        where (s.paused_at is not null) <> $4
        "#,
        kind.name,
        format!("{} {}", schedule.expression, schedule.time_zone),
        next,
        paused,
        now,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected()
        > 0;
    if changed {
        let action = if paused { "schedules.pause" } else { "schedules.resume" };
        act.record(&mut transaction, action, kind.name, now).await?;
    }
    transaction.commit().await?;
    Ok(changed)
}

/// A moment in a schedule's own time zone, as its wall clock shows it.
#[must_use]
pub fn on_its_clock(at: DateTime<Utc>, time_zone: &str) -> String {
    match time_zone.parse::<chrono_tz::Tz>() {
        Ok(zone) => at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => at.to_rfc3339_opts(SecondsFormat::Secs, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_expressions_are_told_in_words() {
        for (expression, words) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("7 * * * *", "every hour at minute 7"),
            ("5 */6 * * *", "every 6 hours at minute 5"),
            ("30 3 * * *", "every day at 03:30"),
            ("0 9 * * 1", "every Monday at 09:00"),
            ("0 9 1 * *", "0 9 1 * *"),
        ] {
            assert_eq!(in_words(expression), words);
        }
    }

    #[test]
    fn a_tick_is_shown_on_the_clock_of_its_zone() {
        let at: DateTime<Utc> = "2026-07-01T08:00:00Z".parse().expect("a moment");
        assert_eq!(on_its_clock(at, "Europe/London"), "2026-07-01 09:00:00 BST");
        assert_eq!(on_its_clock(at, "UTC"), "2026-07-01 08:00:00 UTC");
    }
}
