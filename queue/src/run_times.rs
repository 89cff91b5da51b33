//! How long runs of a kind take, measured on the last ones that ended well.
//!
//! Only runs that end a job are counted: from a failed run or a snooze nobody learns how long the work takes.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{deadline::RunTime, policy::Policy};

/// So many runs are looked at, the last first: enough for a p99, and few enough to follow a change.
const LAST_RUNS: i64 = 1_000;
/// How long a measurement is good.
const FRESH: TimeDelta = TimeDelta::seconds(30);

/// How long a run of `kind` takes: the p99 of its last runs, at most a thousand; the longest time that `policy` allows where
/// none has ended well yet.
///
/// # Errors
/// When the database fails.
pub async fn run_time(
    connection: &mut PgConnection,
    kind: &str,
    policy: &Policy,
) -> Result<RunTime, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select count(*) as "measured!", percentile_disc(0.99) within group (order by took) as p99
        from (
            select extract(epoch from finished_at - started_at)::float8 as took from jobs
            where kind = $1 and finished_at is not null and state = 'done' and started_at is not null
            order by finished_at desc limit $2
        ) as last_runs
        "#,
        kind,
        LAST_RUNS,
    )
    .fetch_one(connection)
    .await?;
    Ok(match row.p99 {
        Some(seconds) => RunTime {
            p99: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            measured: u32::try_from(row.measured).unwrap_or(u32::MAX),
        },
        None => RunTime::unmeasured(policy),
    })
}

/// Measurements of a little while ago, so that not every look asks the ledger.
#[derive(Debug, Default)]
pub struct RunTimes {
    by_kind: HashMap<String, (RunTime, DateTime<Utc>)>,
}

impl RunTimes {
    /// As [`run_time`], up to half a minute old.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(
        &mut self,
        connection: &mut PgConnection,
        kind: &str,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> Result<RunTime, sqlx::Error> {
        if let Some((known, at)) = self.by_kind.get(kind)
            && (now - *at).abs() < FRESH
        {
            return Ok(*known);
        }
        let measured = run_time(connection, kind, policy).await?;
        self.by_kind.insert(kind.to_owned(), (measured, now));
        Ok(measured)
    }
}
