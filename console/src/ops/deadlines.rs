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
    let calmest_first: Vec<_> = Level::ALL.iter().map(|level| level.name().to_owned()).collect();
    let reached = sqlx::query!(
        r#"
        select level as "level!", count(*) as "jobs!" from deadlines cross join lateral (
            select level from escalations
            where escalations.job_id = deadlines.job_id and escalations.deadline_at = deadlines.deadline_at
            order by array_position($1::text[], level) desc limit 1
        ) as worst
        group by level order by array_position($1::text[], level) desc
        "#,
        &calmest_first,
    )
    .fetch_all(connection)
    .await?;
    // The table's own check leaves no other level.
    Ok(reached.into_iter().filter_map(|row| Some((row.level.parse().ok()?, row.jobs))).collect())
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
