//! Changing many jobs in the name of a person: some by their ids at once, or all that a filter lets through as a bulk operation,
//! which a scheduler carries out.
//!
//! Doing it twice is safe: a job that is no longer what it was is refused by name. What is changed here and now is at most one
//! slice, in one transaction; more than that is an operation, with its dry run ([`plan`]), its progress and its stop.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use queue::{
    JobId, Queue,
    bulk::{self, BulkError, BulkId, Change, Filter, MAX_SLICE, Matched, Refused},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use thiserror::Error;

use crate::ops::{Act, dead};

/// Operations on more jobs than this are started only by whoever says how many they are.
pub const SECOND_LOOK: i64 = 1_000;

/// What a change did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Those that it changed.
    pub changed: Vec<JobId>,
    /// Those that it could not.
    pub refused: Vec<Refused>,
}

/// Changes jobs, of which callers pass at most [`MAX_SLICE`], and records an act for each, in a transaction of its own or a part
/// of the caller's. A job that is refused does not hold up the others.
///
/// # Errors
/// When the database fails; then none is changed.
pub async fn change(
    connection: &mut PgConnection,
    change: Change,
    ids: &[JobId],
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Changed, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let outcome = change_each(&mut transaction, change, ids, now).await?;
    for id in &outcome.changed {
        act.record(&mut transaction, change.action(), &id.to_string(), now).await?;
    }
    transaction.commit().await?;
    Ok(outcome)
}

/// Why dead letters were not changed at once.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// They are a bulk operation.
    #[error(
        "{count} dead letters are more than the {MAX_SLICE} that are changed at once: `amzigo bulk plan {change}` with the same \
         filters says what it takes, `amzigo bulk start {change}` starts it; or name a lower number with --most"
    )]
    TooMany {
        /// How many they are.
        count: i64,
        /// What was wanted.
        change: Change,
    },
    /// The database failed.
    #[error("could not change the dead letters")]
    Database(#[from] sqlx::Error),
}

/// Changes the dead letters that a filter lets through, at most `most`, the first enqueued first, here and now; as one act, with
/// the filter, in a transaction of its own or a part of the caller's.
///
/// # Errors
/// When they are more than [`MAX_SLICE`], or the database fails; then none is changed.
pub async fn change_dead(
    connection: &mut PgConnection,
    change: Change,
    filter: &Filter,
    most: Option<u32>,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Changed, ChangeError> {
    let count = dead::count(connection, filter, most).await?;
    if usize::try_from(count).is_ok_and(|count| count > MAX_SLICE) {
        return Err(ChangeError::TooMany { count, change });
    }
    let mut transaction = connection.begin().await?;
    let ids = dead::first_enqueued(&mut transaction, filter, count).await?;
    if ids.is_empty() {
        return Ok(Changed::default());
    }
    act.record(&mut transaction, change.action(), &target(change, filter, most), now).await?;
    let outcome = change_each(&mut transaction, change, &ids, now).await?;
    transaction.commit().await?;
    Ok(outcome)
}

/// A filter and its limit in one line, for the audit log.
fn target(change: Change, filter: &Filter, most: Option<u32>) -> String {
    #[derive(Serialize)]
    struct Target<'f> {
        #[serde(flatten)]
        filter: &'f Filter,
        most: u32,
    }
    let limited = most.and_then(|most| serde_json::to_string(&Target { filter, most }).ok());
    limited.unwrap_or_else(|| filter.describe(change))
}

async fn change_each(
    connection: &mut PgConnection,
    change: Change,
    ids: &[JobId],
    now: DateTime<Utc>,
) -> Result<Changed, sqlx::Error> {
    let mut outcome = Changed::default();
    for id in ids {
        match bulk::one(connection, change, *id, now).await? {
            None => outcome.changed.push(*id),
            Some(why) => outcome.refused.push(Refused { id: *id, why }),
        }
    }
    Ok(outcome)
}

/// What an operation would do, and take.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// What would be done.
    pub change: Change,
    /// To which jobs.
    pub filter: Filter,
    /// How many they are now.
    #[serde(flatten)]
    pub matched: Matched,
    /// Whether the count must be said to start it.
    pub second_look: bool,
    /// What running them again takes of budgets, the longest first; at most [`MOST_NEEDS`].
    pub budgets: Vec<Need>,
    /// Jobs whose budgets are not counted: of kinds without one, or beyond what is looked at.
    pub without_budget: i64,
    /// How long the scarcest of the budgets needs for that, in seconds; `None` where no budget limits it.
    pub eta_seconds: Option<u64>,
}

/// What is taken of one budget, if each job makes one call of each operation that its kind names; many make more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Need {
    /// Its name: what is limited, for whom.
    pub budget: String,
    /// Calls, at least.
    pub calls: i64,
    /// Calls per second, as documented.
    pub per_second: f64,
    /// How long those calls take, in seconds: what the burst holds, and then by the rate.
    pub seconds: u64,
}

/// Budgets that a plan names.
pub const MOST_NEEDS: usize = 20;
/// Pairs of kind and group whose budgets a plan counts; those with the most jobs.
const MOST_PAIRS: i64 = 500;

/// What an operation would do. Changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn plan(
    connection: &mut PgConnection,
    change: Change,
    filter: &Filter,
) -> Result<Plan, sqlx::Error> {
    let matched = bulk::count(connection, change, filter).await?;
    let mut plan = Plan {
        change,
        filter: filter.clone(),
        matched,
        second_look: matched.jobs > SECOND_LOOK,
        budgets: Vec::new(),
        without_budget: 0,
        eta_seconds: None,
    };
    // Only what runs again calls anybody.
    if change == Change::Requeue {
        let (needs, without) = needs(connection, filter, matched.jobs).await?;
        plan.eta_seconds = needs.first().map(|need| need.seconds);
        plan.without_budget = without;
        plan.budgets = needs.into_iter().take(MOST_NEEDS).collect();
    }
    Ok(plan)
}

async fn needs(
    connection: &mut PgConnection,
    filter: &Filter,
    matched: i64,
) -> Result<(Vec<Need>, i64), sqlx::Error> {
    let pairs = sqlx::query!(
        r#"
        select jobs.kind, jobs.payload, pairs.count as "count!" from (
            select count(*) as count, (array_agg(job_id))[1] as example from dead_letters
            where ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
                and ($3::text is null or group_name = $3) and ($4::text is null or error like $4)
                and ($5::text is null or pattern_key = $5)
                and ($6::timestamptz is null or died_at >= $6) and ($7::timestamptz is null or died_at < $7)
            group by kind, group_name order by 1 desc limit $8
        ) as pairs join jobs on jobs.id = pairs.example
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        filter.error_like(),
        filter.pattern,
        filter.since,
        filter.until,
        MOST_PAIRS,
    )
    .fetch_all(connection)
    .await?;
    let mut wanted: BTreeMap<String, (i64, f64, u32)> = BTreeMap::new();
    let mut counted = 0;
    for pair in pairs {
        // What can no longer be read dies again at its first run, without a call.
        let budgets =
            CATALOG.get(&pair.kind).and_then(|kind| kind.budgets(pair.payload).ok()).unwrap_or_default();
        if !budgets.is_empty() {
            counted += pair.count;
        }
        for budget in budgets {
            wanted.entry(budget.name).or_insert((0, budget.rate, budget.burst)).0 += pair.count;
        }
    }
    let mut needs: Vec<_> = wanted
        .into_iter()
        .map(|(budget, (calls, per_second, burst))| Need {
            budget,
            calls,
            per_second,
            seconds: seconds(calls - i64::from(burst), per_second),
        })
        .collect();
    needs.sort_by_key(|need| std::cmp::Reverse(need.seconds));
    Ok((needs, (matched - counted).max(0)))
}

/// How long so many calls take at a rate.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate, in whole seconds, of a length that is never negative"
)]
pub(crate) fn seconds(calls: i64, per_second: f64) -> u64 {
    (calls.max(0) as f64 / per_second.max(1e-6)).ceil() as u64
}

/// Why an operation was not started.
#[derive(Debug, Error)]
pub enum StartError {
    /// Nothing to do.
    #[error("the filter lets no job through: there is nothing to {0}")]
    Nothing(Change),
    /// Many, and nobody said how many.
    #[error("{count} jobs would be changed: to start that, say how many they are (the count {count})")]
    SecondLook {
        /// How many they are.
        count: i64,
    },
    /// The database failed.
    #[error("could not start the bulk operation")]
    Database(#[from] sqlx::Error),
}

/// Starts an operation on all jobs that a filter lets through now, and records the act, in a transaction of its own or a part of
/// the caller's. On more than [`SECOND_LOOK`] jobs only where `count` says how many they are, within a tenth: some may have
/// come or gone since somebody looked. A scheduler begins it within about a second.
///
/// # Errors
/// When there is nothing to do, the count is missing or wrong, or the database fails.
pub async fn start(
    connection: &mut PgConnection,
    change: Change,
    filter: &Filter,
    count: Option<i64>,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<BulkId, StartError> {
    let mut transaction = connection.begin().await?;
    let matched = bulk::count(&mut transaction, change, filter).await?.jobs;
    if matched == 0 {
        return Err(StartError::Nothing(change));
    }
    let said = count.is_some_and(|count| (count - matched).abs() <= matched / 10);
    if matched > SECOND_LOOK && !said {
        return Err(StartError::SecondLook { count: matched });
    }
    let id = bulk::start(&mut transaction, change, filter, matched, act, now).await?;
    act.record(&mut transaction, "bulk.start", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(id)
}

/// Asks that an operation stops, and records the act, in a transaction of its own or a part of the caller's. Returns whether that
/// is new; a second time records nothing. What was changed stays changed.
///
/// # Errors
/// When there is none, it has ended, or the database fails.
pub async fn stop(
    connection: &mut PgConnection,
    id: BulkId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<bool, BulkError> {
    let mut transaction = connection.begin().await?;
    let new = bulk::stop(&mut transaction, id).await?;
    if new {
        act.record(&mut transaction, "bulk.stop", &id.to_string(), now).await?;
    }
    transaction.commit().await?;
    Ok(new)
}
