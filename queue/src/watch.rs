//! Looks at jobs that must be done by a moment, and says so when one can no longer.
//!
//! Each new level of a job is written once, in the transaction of what follows from it:
//!
//! * from `nine tenths` on, a waiting job gets the priority `high`, and goes to Redis once more, under it;
//! * when it must start now, or cannot fit, the delay before its next attempt is cut short, once for each of the two. A slot
//!   that a budget set aside is kept, because coming earlier would only be refused; a first start that somebody asked for
//!   stays as asked.
//!
//! Repeating is safe: a level is keyed by job and deadline, a second copy in Redis is one that the ledger refuses, and two
//! who look at once skip what the other one holds. What happened while nobody looked is found afterwards: a job stays in
//! `deadlines` until it has been looked at after its end.
//!
//! Reads the budgets, but never waits for Redis with a row locked; while Redis is away, what was seen before holds.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Catalog, JobId,
    deadline::{Level, Outlook, Subject, Waits, outlook},
    failure::chain,
    ledger::NEXT_ATTEMPT,
    limit::{Budget, Budgets},
    policy::{Priority, Queue},
    run_times::RunTimes,
    state::State,
};

/// Most jobs of one transaction.
const BATCH: i64 = 500;
/// Most transactions of one pass.
const MOST_BATCHES: usize = 20;

/// Looks at jobs with deadlines.
pub struct Watch<C: 'static> {
    pool: PgPool,
    budgets: Budgets,
    catalog: &'static Catalog<C>,
    run_times: RunTimes,
}

impl<C> std::fmt::Debug for Watch<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// A job that has come nearer to its deadline than ever before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalated {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// When it must be done.
    pub deadline_at: DateTime<Utc>,
    /// The last moment to begin safely.
    pub latest_safe_start: DateTime<Utc>,
    /// How near.
    pub level: Level,
    /// What was counted.
    pub why: String,
}

/// What a pass did.
#[derive(Debug, Default)]
pub struct Passed {
    /// What was written.
    pub escalated: Vec<Escalated>,
    /// Whether more is due than one pass looks at.
    pub more: bool,
}

/// A job whose moment to be looked at has come.
struct Due {
    id: Uuid,
    look_at: DateTime<Utc>,
    budgets: Vec<Budget>,
}

/// A job as it is while its row is locked.
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) priority: String,
    pub(crate) attempts: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) deadline_at: DateTime<Utc>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    pub(crate) waits_for: Option<String>,
    pub(crate) budgets_free_at: Option<DateTime<Utc>>,
    pub(crate) levels: Vec<String>,
}

impl Row {
    pub(crate) fn subject(&self) -> Subject {
        let state = self.state.parse().unwrap_or(State::Ready);
        let waits = match (state, self.waits_for.as_deref()) {
            (State::Delayed, None) => Waits::FirstStart(self.due_at),
            (State::Delayed, Some(NEXT_ATTEMPT)) => Waits::NextAttempt(self.due_at),
            (State::Delayed, Some(_)) => Waits::Slot(self.due_at),
            _ => Waits::Worker,
        };
        Subject {
            created_at: self.created_at,
            deadline_at: self.deadline_at,
            state,
            waits,
            attempts: self.attempts,
            started_at: self.started_at,
            finished_at: self.finished_at,
            budgets_free_at: self.budgets_free_at,
        }
    }

    fn highest_level(&self) -> Level {
        self.levels.iter().filter_map(|level| level.parse().ok()).max().unwrap_or(Level::Fits)
    }
}

/// What a batch of looks leads to.
#[derive(Default)]
struct Changes {
    looked_at: Vec<(Uuid, Outlook, Option<DateTime<Utc>>)>,
    ended: Vec<Uuid>,
    escalated: Vec<Escalated>,
    raised: Vec<Uuid>,
    brought_forward: Vec<Uuid>,
}

impl<C: Send + Sync + 'static> Watch<C> {
    /// A watch over the jobs behind `pool`, whose kinds are in `catalog`.
    #[must_use]
    pub fn new(pool: PgPool, budgets: Budgets, catalog: &'static Catalog<C>) -> Self {
        Self { pool, budgets, catalog, run_times: RunTimes::default() }
    }

    /// Looks at every job whose moment to be looked at has come; at most 10,000 of them.
    ///
    /// # Errors
    /// When the database fails; what was written before stays written.
    pub async fn pass(&mut self, now: DateTime<Utc>) -> Result<Passed, sqlx::Error> {
        let mut passed = Passed::default();
        let mut after = None;
        for _ in 0..MOST_BATCHES {
            let due = self.due(after, now).await?;
            let Some(last) = due.last() else { return Ok(passed) };
            after = Some((last.look_at, last.id));
            let full = i64::try_from(due.len()).is_ok_and(|count| count == BATCH);
            let free_at = self.budgets_free_at(&due).await;
            passed.escalated.extend(self.look(&due, free_at, now).await?);
            if !full {
                return Ok(passed);
            }
        }
        passed.more = true;
        Ok(passed)
    }

    async fn due(
        &self,
        after: Option<(DateTime<Utc>, Uuid)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Due>, sqlx::Error> {
        let (after_moment, after_id) = after.unzip();
        let rows = sqlx::query!(
            r#"
            select deadlines.job_id, look_at as "look_at!", kind, state, payload
            from deadlines join jobs on jobs.id = deadlines.job_id
            where look_at <= $1 and ($2::timestamptz is null or (look_at, job_id) > ($2, $3::uuid))
            order by look_at, job_id limit $4
            "#,
            now,
            after_moment,
            after_id,
            BATCH,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let waits = [State::Ready.name(), State::Delayed.name()].contains(&row.state.as_str());
                let kind = self.catalog.get(&row.kind).filter(|_| waits);
                // A payload that does not fit asks no budget: its first run will be rejected.
                let budgets = kind.and_then(|kind| kind.budgets(row.payload).ok()).unwrap_or_default();
                Due { id: row.job_id, look_at: row.look_at, budgets }
            })
            .collect())
    }

    /// From when all budgets of a job have a call for it, for jobs that ask some; `None` while Redis is away.
    async fn budgets_free_at(&self, due: &[Due]) -> Option<HashMap<Uuid, DateTime<Utc>>> {
        let distinct: HashMap<&str, &Budget> =
            due.iter().flat_map(|job| &job.budgets).map(|budget| (budget.name.as_str(), budget)).collect();
        let asked: Vec<Budget> = distinct.into_values().cloned().collect();
        let moments = match self.budgets.next_free(&asked).await {
            Ok(moments) => moments,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "looking at deadlines without the budgets: what was known of them holds"
                );
                return None;
            }
        };
        let free_at: HashMap<&str, DateTime<Utc>> =
            asked.iter().map(|budget| budget.name.as_str()).zip(moments).collect();
        let last_of = |job: &Due| {
            job.budgets.iter().filter_map(|budget| free_at.get(budget.name.as_str())).max().copied()
        };
        Some(due.iter().filter_map(|job| Some((job.id, last_of(job)?))).collect())
    }

    /// Looks at these jobs and writes what follows, in one transaction.
    async fn look(
        &mut self,
        due: &[Due],
        free_at: Option<HashMap<Uuid, DateTime<Utc>>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Escalated>, sqlx::Error> {
        let ids: Vec<_> = due.iter().map(|job| job.id).collect();
        let mut transaction = self.pool.begin().await?;
        let mut changes = Changes::default();
        for mut row in lock(&mut transaction, &ids, now).await? {
            if let Some(free_at) = &free_at {
                row.budgets_free_at = free_at.get(&row.id).copied();
            }
            let policy = self.catalog.policy(&row.kind);
            let run_time = self.run_times.get(&mut transaction, &row.kind, &policy, now).await?;
            let subject = row.subject();
            changes.add(&row, &subject, outlook(&subject, run_time, &policy, now), now);
        }
        let escalated = changes.write(&mut transaction, now).await?;
        transaction.commit().await?;
        Ok(escalated)
    }
}

/// Locks what nobody else holds. A worker that settles a job holds it, and is not waited for: so there is no deadlock.
async fn lock(
    connection: &mut PgConnection,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select jobs.id, kind, state, priority, attempts, created_at, due_at, deadlines.deadline_at, started_at, finished_at,
            waits_for, budgets_free_at,
            array(
                select level from escalations
                where escalations.job_id = jobs.id and escalations.deadline_at = deadlines.deadline_at
            ) as "levels!"
        from jobs join deadlines on deadlines.job_id = jobs.id
        where jobs.id = any($1) and look_at <= $2
        for no key update of jobs, deadlines skip locked
        "#,
        ids,
        now,
    )
    .fetch_all(connection)
    .await
}

impl Changes {
    fn add(&mut self, row: &Row, subject: &Subject, seen: Outlook, now: DateTime<Utc>) {
        let waits = matches!(subject.state, State::Ready | State::Delayed);
        let is_new = seen.level > row.highest_level();
        if is_new {
            self.escalated.push(Escalated {
                id: JobId(row.id),
                kind: row.kind.clone(),
                deadline_at: row.deadline_at,
                latest_safe_start: seen.latest_safe_start,
                level: seen.level,
                why: seen.why.clone(),
            });
        }
        if waits && seen.level >= Level::NineTenths && row.priority != Priority::High.name() {
            self.raised.push(row.id);
        }
        let hurries = matches!(seen.level, Level::MustStartNow | Level::CannotFit);
        if is_new && hurries && matches!(subject.waits, Waits::NextAttempt(at) if at > now) {
            self.brought_forward.push(row.id);
        }
        if matches!(subject.state, State::Done | State::Cancelled) {
            self.ended.push(row.id);
        } else {
            self.looked_at.push((row.id, seen, row.budgets_free_at));
        }
    }

    async fn write(
        self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Vec<Escalated>, sqlx::Error> {
        let written = self.write_escalations(connection, now).await?;
        self.write_looks(connection, now).await?;
        self.hurry(connection, now).await?;
        Ok(self
            .escalated
            .into_iter()
            .filter(|escalated| written.contains(&(escalated.id.0, escalated.level.name().to_owned())))
            .collect())
    }

    /// Returns what was not there yet.
    async fn write_escalations(
        &self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
        if self.escalated.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = self.escalated.iter().map(|new| new.id.0).collect();
        let deadlines: Vec<_> = self.escalated.iter().map(|new| new.deadline_at).collect();
        let levels: Vec<_> = self.escalated.iter().map(|new| new.level.name().to_owned()).collect();
        let starts: Vec<_> = self.escalated.iter().map(|new| new.latest_safe_start).collect();
        let whys: Vec<_> = self.escalated.iter().map(|new| new.why.clone()).collect();
        let rows = sqlx::query!(
            r#"
            insert into escalations (job_id, deadline_at, level, at, latest_safe_start, why)
            select job_id, deadline_at, level, $6, latest_safe_start, why
            from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::text[])
                as given (job_id, deadline_at, level, latest_safe_start, why)
            on conflict do nothing
            returning job_id, level
            "#,
            &ids,
            &deadlines,
            &levels,
            &starts,
            &whys,
            now,
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| (row.job_id, row.level)).collect())
    }

    async fn write_looks(
        &self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let ids: Vec<_> = self.looked_at.iter().map(|(id, ..)| *id).collect();
        let next: Vec<_> = self.looked_at.iter().map(|(_, seen, _)| seen.look_at).collect();
        let starts: Vec<_> = self.looked_at.iter().map(|(_, seen, _)| seen.latest_safe_start).collect();
        let free: Vec<_> = self.looked_at.iter().map(|(.., free_at)| *free_at).collect();
        sqlx::query!(
            r#"
            update deadlines set look_at = given.look_at, looked_at = $5, latest_safe_start = given.latest_safe_start,
                budgets_free_at = given.budgets_free_at
            from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
                as given (job_id, look_at, latest_safe_start, budgets_free_at)
            where deadlines.job_id = given.job_id
            "#,
            &ids,
            &next as &[Option<DateTime<Utc>>],
            &starts,
            &free as &[Option<DateTime<Utc>>],
            now,
        )
        .execute(&mut *connection)
        .await?;
        if !self.ended.is_empty() {
            sqlx::query!("delete from deadlines where job_id = any($1)", &self.ended)
                .execute(connection)
                .await?;
        }
        Ok(())
    }

    /// Comes last: the trigger on `jobs` asks for another look at what is brought forward.
    async fn hurry(&self, connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let hurried: Vec<_> = self.raised.iter().chain(&self.brought_forward).copied().collect();
        if hurried.is_empty() {
            return Ok(());
        }
        sqlx::query!("update jobs set priority = 'high' where id = any($1)", &self.raised)
            .execute(&mut *connection)
            .await?;
        sqlx::query!(
            r#"
            update jobs set state = 'ready', due_at = $2, touched_at = $2, waits_for = null
            where id = any($1) and case state when 'delayed' then true else false end
            "#,
            &self.brought_forward,
            now,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "insert into outbox (job_id) select distinct unnest($1::uuid[]) on conflict do nothing",
            &hurried
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The smallest time left of each queue's jobs, in seconds, negative when a deadline has passed; `None` for a queue on which
/// nothing has a deadline.
///
/// # Errors
/// When the database fails.
pub async fn seconds_left(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<(Queue, Option<f64>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select name as "name!", (select min(deadline_at) from deadlines where queue = name) as deadline_at
        from unnest($1::text[]) as name
        "#,
        &Queue::ALL.map(|queue| queue.name().to_owned()),
    )
    .fetch_all(connection)
    .await?;
    let first = |queue: &Queue| rows.iter().find(|row| row.name == queue.name())?.deadline_at;
    let left = |at: DateTime<Utc>| (at - now).as_seconds_f64();
    Ok(Queue::ALL.iter().map(|queue| (*queue, first(queue).map(left))).collect())
}
