//! What people and workers may know of deadlines: which jobs have one, how they stand to it, what was said about them.
//!
//! Only reads. Budgets are not asked again here: what the watch saw of them at its last look counts.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    Catalog, JobId,
    deadline::{Level, Outlook, outlook},
    run_times::RunTimes,
    watch::Row,
};

/// A job that must be done by a moment, and is not at a good end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// Where it waits.
    pub queue: String,
    /// Whom it is for.
    pub group: String,
    /// What it is now.
    pub state: String,
    /// When it must be done.
    pub deadline_at: DateTime<Utc>,
    /// How long that is from now; negative when it has passed.
    pub seconds_left: i64,
    /// The last moment to begin safely, as it looks now.
    pub latest_safe_start: DateTime<Utc>,
    /// How near it is.
    pub level: Level,
    /// What was counted.
    pub why: String,
    /// When the scheduler last looked at it; `None`: not yet.
    pub looked_at: Option<DateTime<Utc>>,
}

/// A level that a job reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Escalation {
    /// Which.
    pub level: Level,
    /// When it was seen.
    pub at: DateTime<Utc>,
    /// The deadline it was about.
    pub deadline_at: DateTime<Utc>,
    /// The last moment to begin safely, as seen then.
    pub latest_safe_start: DateTime<Utc>,
    /// What was counted.
    pub why: String,
}

/// The jobs that have a deadline and are not at a good end, the most urgent first; at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn watched<C: Send + Sync + 'static>(
    connection: &mut PgConnection,
    catalog: &Catalog<C>,
    most: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Watched>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select jobs.id, kind, jobs.queue, group_name, state, priority, attempts, created_at, due_at, deadlines.deadline_at,
            started_at, finished_at, waits_for, budgets_free_at, looked_at
        from deadlines join jobs on jobs.id = deadlines.job_id
        where state not in ('done', 'cancelled')
        order by latest_safe_start nulls first, deadlines.deadline_at, jobs.id limit $1
        "#,
        most,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut run_times = RunTimes::default();
    let mut list = Vec::with_capacity(rows.len());
    for row in rows {
        let job = Row {
            id: row.id,
            kind: row.kind,
            state: row.state,
            priority: row.priority,
            attempts: row.attempts,
            created_at: row.created_at,
            due_at: row.due_at,
            deadline_at: row.deadline_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            waits_for: row.waits_for,
            budgets_free_at: row.budgets_free_at,
            levels: Vec::new(),
        };
        let seen = look(connection, catalog, &mut run_times, &job, now).await?;
        list.push(Watched {
            id: JobId(job.id),
            kind: job.kind,
            queue: row.queue,
            group: row.group_name,
            state: job.state,
            deadline_at: job.deadline_at,
            seconds_left: (job.deadline_at - now).num_seconds(),
            latest_safe_start: seen.latest_safe_start,
            level: seen.level,
            why: seen.why,
            looked_at: row.looked_at,
        });
    }
    list.sort_by(|one, other| {
        (other.level, one.latest_safe_start, one.id).cmp(&(one.level, other.latest_safe_start, other.id))
    });
    Ok(list)
}

/// How a job stands to its deadline; `None` when it has none, or the ledger does not know it.
///
/// # Errors
/// When the database fails.
pub async fn outlook_of<C: Send + Sync + 'static>(
    connection: &mut PgConnection,
    catalog: &Catalog<C>,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Option<Outlook>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select id, kind, state, priority, attempts, created_at, due_at, jobs.deadline_at as "deadline_at!", started_at,
            finished_at, waits_for, budgets_free_at as "budgets_free_at?", array[]::text[] as "levels!"
        from jobs left join deadlines on deadlines.job_id = jobs.id
        where id = $1 and jobs.deadline_at is not null
        "#,
        id.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    look(connection, catalog, &mut RunTimes::default(), &row, now).await.map(Some)
}

async fn look<C: Send + Sync + 'static>(
    connection: &mut PgConnection,
    catalog: &Catalog<C>,
    run_times: &mut RunTimes,
    row: &Row,
    now: DateTime<Utc>,
) -> Result<Outlook, sqlx::Error> {
    let policy = catalog.policy(&row.kind);
    let run_time = run_times.get(connection, &row.kind, &policy, now).await?;
    Ok(outlook(&row.subject(), run_time, &policy, now))
}

/// Every level that a job reached, the first first.
///
/// # Errors
/// When the database fails.
pub async fn of_job(connection: &mut PgConnection, id: JobId) -> Result<Vec<Escalation>, sqlx::Error> {
    let rows = sqlx::query!(
        "select level, at, deadline_at, latest_safe_start, why from escalations where job_id = $1 order by at, deadline_at",
        id.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Escalation {
                level: row.level.parse().ok()?,
                at: row.at,
                deadline_at: row.deadline_at,
                latest_safe_start: row.latest_safe_start,
                why: row.why,
            })
        })
        .collect())
}

/// The last moment at which a job could begin safely, as the watch last saw it; `None` when it has not looked yet.
///
/// # Errors
/// When the database fails.
pub async fn latest_safe_start(
    connection: &mut PgConnection,
    id: JobId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let found = sqlx::query_scalar!("select latest_safe_start from deadlines where job_id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(found.flatten())
}
