//! How jobs stand to their deadlines. Only reads; the scheduler's `watch` is what escalates.

use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use queue::{
    JobId,
    deadline::{Level, Outlook},
    escalations::{self, Escalation, Watched},
};
use serde::Serialize;
use sqlx::PgConnection;

/// How one job stands to its deadline.
#[derive(Debug, Clone, Serialize)]
pub struct JobDeadline {
    /// The last moment to begin safely, as it looks now.
    pub latest_safe_start: DateTime<Utc>,
    /// How near it is.
    pub level: Level,
    /// What was counted.
    pub why: String,
    /// Every level it reached, the first first.
    pub escalations: Vec<Escalation>,
}

/// The jobs that have a deadline and are not at a good end, the most urgent first; at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &mut PgConnection,
    most: u16,
    now: DateTime<Utc>,
) -> Result<Vec<Watched>, sqlx::Error> {
    escalations::watched(connection, &CATALOG, i64::from(most), now).await
}

/// How many jobs that are not at a good end have reached each level, as escalated, the worst first. A job counts once.
///
/// # Errors
/// When the database fails.
pub async fn at_risk(connection: &mut PgConnection) -> Result<Vec<(Level, i64)>, sqlx::Error> {
    let calmest_first = Level::ALL.map(|level| level.name().to_owned());
    let reached = sqlx::query!(
        r#"
        select worst as "worst!", count(*) as "jobs!" from (
            select max(array_position($1::text[], level)) as worst
            from deadlines join escalations using (job_id, deadline_at)
            group by job_id
        ) as reached
        group by worst order by worst desc
        "#,
        &calmest_first,
    )
    .fetch_all(connection)
    .await?;
    // Postgres counts from 1.
    let level = |place: i32| Level::ALL.get(usize::try_from(place).ok()?.checked_sub(1)?).copied();
    Ok(reached.into_iter().filter_map(|row| Some((level(row.worst)?, row.jobs))).collect())
}

/// How a job stands to its deadline; `None` when it has none.
///
/// # Errors
/// When the database fails.
pub async fn outlook(
    connection: &mut PgConnection,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Option<Outlook>, sqlx::Error> {
    escalations::outlook_of(connection, &CATALOG, id, now).await
}

/// How a job stands to its deadline, and what was said about it before; `None` when it has none.
///
/// # Errors
/// When the database fails.
pub async fn of_job(
    connection: &mut PgConnection,
    id: JobId,
    now: DateTime<Utc>,
) -> Result<Option<JobDeadline>, sqlx::Error> {
    let Some(seen) = outlook(connection, id, now).await? else { return Ok(None) };
    let escalations = escalations::of_job(connection, id).await?;
    let Outlook { latest_safe_start, level, why, .. } = seen;
    Ok(Some(JobDeadline { latest_safe_start, level, why, escalations }))
}
