//! The roll-up: what ended in each minute, and how long it waited and ran, counted once, so that a chart of a week need not
//! read the ledger.
//!
//! A minute is counted while it passes, again each time somebody passes by, and for good once it is [`LATE`] old: what
//! commits later than that after its end is not in it. Whoever counts holds the one row of progress, and writes a stretch
//! whole in the transaction that moves it: killed in between, nothing has happened, and counting again gives the same rows.
//! Quarters and hours are sums of minutes, written in the same transaction.
//!
//! It looks at the ledger through the indexes of ended jobs and of failed runs, an hour at a time where it has to catch up.
//! No trigger, no write of the engine's: a job does not know that it is counted. A dead letter that was requeued before its
//! minute was counted for good is not in it.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::histogram::Histogram;

/// When a minute is counted for good: commits come seconds after the moment that they write, not minutes.
pub const LATE: TimeDelta = TimeDelta::minutes(5);
/// Minutes that pass are counted this far back.
const PASSING: TimeDelta = TimeDelta::minutes(1);

/// A length of time that is counted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stretch {
    /// 60 s, kept for two days.
    Minute,
    /// 900 s, kept for two weeks.
    Quarter,
    /// 3,600 s, kept for a quarter of a year.
    Hour,
}

impl Stretch {
    /// Its length.
    #[must_use]
    pub const fn length(self) -> TimeDelta {
        TimeDelta::seconds(self.seconds() as i64)
    }

    const fn seconds(self) -> i32 {
        match self {
            Self::Minute => 60,
            Self::Quarter => 900,
            Self::Hour => 3_600,
        }
    }

    const fn kept(self) -> TimeDelta {
        TimeDelta::days(match self {
            Self::Minute => 2,
            Self::Quarter => 14,
            Self::Hour => 92,
        })
    }

    /// Where the one that `at` is in begins.
    #[must_use]
    pub fn begin(self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.duration_trunc(self.length()).unwrap_or(at)
    }

    /// Where the first one that begins at `at` or later does.
    fn begin_after(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let begin = self.begin(at);
        if begin < at { begin + self.length() } else { begin }
    }
}

/// What ended in a stretch, of one kind on one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that were done.
    pub done: i64,
    /// Jobs that became dead letters.
    pub dead: i64,
    /// Jobs that were cancelled.
    pub cancelled: i64,
    /// Runs that failed.
    pub failed: i64,
    /// Runs whose worker was lost.
    pub crashed: i64,
    /// How long the last runs of the jobs waited for a worker.
    pub waits: Histogram,
    /// How long the last runs of those that were done took.
    pub runs: Histogram,
}

impl Counts {
    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.done += other.done;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.crashed += other.crashed;
        self.waits.merge(&other.waits);
        self.runs.merge(&other.runs);
    }
}

/// Counts of one kind on one queue in one stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where the stretch begins.
    pub at: DateTime<Utc>,
    /// The queue.
    pub queue: String,
    /// The kind.
    pub kind: String,
    /// What ended.
    pub counts: Counts,
}

/// Counts by where their stretch begins, queue and kind.
type Rows = BTreeMap<(DateTime<Utc>, String, String), Counts>;

/// What one call of [`pass`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Minutes before this are counted for good.
    pub counted_until: DateTime<Utc>,
    /// Whether this call counted minutes for good; else it counted those that pass.
    pub moved: bool,
    /// Whether minutes are left that could be: call again.
    pub more: bool,
}

/// Counts the next stretch for good, at most to the next full hour; where that is done already, the minutes that pass now
/// (`whole`: all that are not counted for good yet, for whoever begins).
///
/// # Errors
/// When the database fails; then nothing has been counted.
pub async fn pass(pool: &PgPool, whole: bool, now: DateTime<Utc>) -> Result<Passed, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let ripe = Stretch::Minute.begin(now - LATE);
    let counted_until = progress(&mut transaction, ripe).await?;
    if counted_until < ripe {
        let to = ripe.min(Stretch::Hour.begin(counted_until) + Stretch::Hour.length());
        count(&mut transaction, counted_until, to).await?;
        sqlx::query!("update roll_up_progress set counted_until = $1", to).execute(&mut *transaction).await?;
        transaction.commit().await?;
        return Ok(Passed { counted_until: to, moved: true, more: to < ripe });
    }
    let from = if whole { counted_until } else { counted_until.max(Stretch::Minute.begin(now - PASSING)) };
    count(&mut transaction, from, Stretch::Minute.begin(now) + Stretch::Minute.length()).await?;
    transaction.commit().await?;
    Ok(Passed { counted_until, moved: false, more: false })
}

/// How far it has come, held until the transaction ends. It begins with the first job that has ended.
async fn progress(connection: &mut PgConnection, ripe: DateTime<Utc>) -> Result<DateTime<Utc>, sqlx::Error> {
    let known = sqlx::query_scalar!("select counted_until from roll_up_progress for update")
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(known) = known {
        return Ok(known);
    }
    let first = sqlx::query_scalar!(
        r#"
        select least(
            (select finished_at from jobs where finished_at is not null and not is_dead order by finished_at, id limit 1),
            (select finished_at from jobs where is_dead order by finished_at, id limit 1),
            (select at from failures order by at limit 1)
        )
        "#
    )
    .fetch_one(&mut *connection)
    .await?;
    let begin = first.map_or(ripe, |first| Stretch::Minute.begin(first).min(ripe));
    sqlx::query!("insert into roll_up_progress (counted_until) values ($1) on conflict do nothing", begin)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar!("select counted_until from roll_up_progress for update").fetch_one(connection).await
}

/// Writes the minutes from `from` until before `to` anew, and the quarters and hours that they are part of.
async fn count(
    connection: &mut PgConnection,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut minutes = ended(connection, from, to).await?;
    failed(connection, from, to, &mut minutes).await?;
    write(connection, Stretch::Minute, from, to, &minutes).await?;
    for (shorter, longer) in [(Stretch::Minute, Stretch::Quarter), (Stretch::Quarter, Stretch::Hour)] {
        let (from, to) = (longer.begin(from), longer.begin_after(to));
        let mut sums = Rows::new();
        for row in read(connection, shorter, from, to).await? {
            sums.entry((longer.begin(row.at), row.queue, row.kind)).or_default().merge(&row.counts);
        }
        write(connection, longer, from, to, &sums).await?;
    }
    Ok(())
}

/// Jobs that ended.
async fn ended(
    connection: &mut PgConnection,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with ended as (
            select finished_at, started_at, due_at, queue, kind, state from jobs
            where finished_at >= $1 and finished_at < $2 and not is_dead
            union all
            select finished_at, started_at, due_at, queue, kind, state from jobs
            where finished_at >= $1 and finished_at < $2 and is_dead
        )
        select date_trunc('minute', finished_at) as "at!", queue as "queue!", kind as "kind!", state as "state!",
            case when state <> 'cancelled'
                then width_bucket(extract(epoch from started_at - due_at)::float8 * 1000, $3::float8[]) end as waited,
            case when state = 'done'
                then width_bucket(extract(epoch from finished_at - started_at)::float8 * 1000, $3::float8[]) end as took,
            count(*) as "count!"
        from ended group by 1, 2, 3, 4, 5, 6
        "#,
        from,
        to,
        &Histogram::bounds_ms(),
    )
    .fetch_all(connection)
    .await?;
    let mut minutes = Rows::new();
    for row in rows {
        let counts = minutes.entry((row.at, row.queue, row.kind)).or_default();
        match row.state.as_str() {
            "done" => counts.done += row.count,
            "dead" => counts.dead += row.count,
            _ => counts.cancelled += row.count,
        }
        if let Some(bucket) = row.waited {
            counts.waits.add(bucket, row.count);
        }
        if let Some(bucket) = row.took {
            counts.runs.add(bucket, row.count);
        }
    }
    Ok(minutes)
}

/// Runs that failed.
async fn failed(
    connection: &mut PgConnection,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    minutes: &mut Rows,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select date_trunc('minute', failures.at) as "at!", jobs.queue, jobs.kind,
            count(*) filter (where decision <> 'crash') as "failed!",
            count(*) filter (where decision = 'crash') as "crashed!"
        from failures join jobs on jobs.id = failures.job_id
        where failures.at >= $1 and failures.at < $2 group by 1, 2, 3
        "#,
        from,
        to,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let counts = minutes.entry((row.at, row.queue, row.kind)).or_default();
        counts.failed += row.failed;
        counts.crashed += row.crashed;
    }
    Ok(())
}

/// Puts `rows` in place of whatever is there.
async fn write(
    connection: &mut PgConnection,
    stretch: Stretch,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    rows: &Rows,
) -> Result<(), sqlx::Error> {
    #[derive(Serialize)]
    struct Written<'r> {
        at: DateTime<Utc>,
        queue: &'r str,
        kind: &'r str,
        done: i64,
        dead: i64,
        cancelled: i64,
        failed: i64,
        crashed: i64,
        waits: &'r [i32],
        runs: &'r [i32],
    }
    let written: Vec<_> = rows
        .iter()
        .map(|((at, queue, kind), counts)| Written {
            at: *at,
            queue,
            kind,
            done: counts.done,
            dead: counts.dead,
            cancelled: counts.cancelled,
            failed: counts.failed,
            crashed: counts.crashed,
            waits: counts.waits.counts(),
            runs: counts.runs.counts(),
        })
        .collect();
    sqlx::query!(
        "delete from roll_ups where seconds = $1 and at >= $2 and at < $3",
        stretch.seconds(),
        from,
        to
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        insert into roll_ups (seconds, at, queue, kind, done, dead, cancelled, failed, crashed, waits, runs)
        select $1, at, queue, kind, done, dead, cancelled, failed, crashed, waits, runs
        from jsonb_to_recordset($2) as rows (at timestamptz, queue text, kind text, done bigint, dead bigint,
            cancelled bigint, failed bigint, crashed bigint, waits integer[], runs integer[])
        "#,
        stretch.seconds(),
        sqlx::types::Json(written) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was counted from `from` until before `to`, the first first.
///
/// # Errors
/// When the database fails.
pub async fn read(
    connection: &mut PgConnection,
    stretch: Stretch,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select at, queue, kind, done, dead, cancelled, failed, crashed, waits, runs from roll_ups
        where seconds = $1 and at >= $2 and at < $3 order by at, queue, kind
        "#,
        stretch.seconds(),
        from,
        to,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Row {
            at: row.at,
            queue: row.queue,
            kind: row.kind,
            counts: Counts {
                done: row.done,
                dead: row.dead,
                cancelled: row.cancelled,
                failed: row.failed,
                crashed: row.crashed,
                waits: Histogram::stored(row.waits),
                runs: Histogram::stored(row.runs),
            },
        })
        .collect())
}

/// Deletes what was counted too long ago: minutes after two days, quarters after two weeks, hours after a quarter of a year.
/// Never of an hour that is not counted for good: its sum would lack what is gone.
///
/// # Errors
/// When the database fails.
pub async fn prune(pool: &PgPool, counted_until: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let mut pruned = 0;
    for stretch in [Stretch::Minute, Stretch::Quarter, Stretch::Hour] {
        let before = Stretch::Hour.begin(counted_until) - stretch.kept();
        pruned +=
            sqlx::query!("delete from roll_ups where seconds = $1 and at < $2", stretch.seconds(), before)
                .execute(pool)
                .await?
                .rows_affected();
    }
    Ok(pruned)
}
