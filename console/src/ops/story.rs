//! What surrounds one job: what caused it, what it caused, and what people did about it. Only reads.

use chrono::{DateTime, Utc};
use queue::JobId;
use serde::Serialize;
use sqlx::PgConnection;

/// A job in a chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The job.
    pub id: JobId,
    /// What sort of work.
    pub kind: String,
    /// What it is now.
    pub state: String,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
}

/// An act about a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastAct {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// What surrounds a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Story {
    /// The jobs that led to it, the first cause first; at most [`MOST_CAUSES`].
    pub causes: Vec<Related>,
    /// The jobs that it enqueued, the last first; at most [`MOST_FOLLOW`].
    pub follow: Vec<Related>,
    /// Whether it enqueued more than those.
    pub more_follow: bool,
    /// What people did about it, the first act first; at most [`MOST_ACTS`].
    pub acts: Vec<PastAct>,
}

/// Causes of causes that are followed.
pub const MOST_CAUSES: i32 = 20;
/// Follow-ups that are listed.
pub const MOST_FOLLOW: usize = 50;
/// Acts that are listed.
pub const MOST_ACTS: i64 = 100;

/// What surrounds the job with this id.
///
/// # Errors
/// When the database fails.
pub async fn of(connection: &mut PgConnection, id: JobId) -> Result<Story, sqlx::Error> {
    let causes = sqlx::query_as!(
        Related,
        r#"
        with recursive up as (
            select caused_by as id, 1 as steps from jobs where id = $1
            union all
            select jobs.caused_by, steps + 1 from jobs join up using (id) where steps < $2
        )
        select id as "id!: JobId", kind as "kind!", state as "state!", created_at as "created_at!"
        from up join jobs using (id) order by steps desc
        "#,
        id.0,
        MOST_CAUSES,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut follow = sqlx::query_as!(
        Related,
        r#"
        select id as "id: JobId", kind, state, created_at from jobs where caused_by = $1 order by id desc limit $2
        "#,
        id.0,
        i64::try_from(MOST_FOLLOW + 1).unwrap_or(i64::MAX),
    )
    .fetch_all(&mut *connection)
    .await?;
    let acts = sqlx::query_as!(
        PastAct,
        "select at, actor, action, reason from audit_log where target = $1 order by id limit $2",
        id.to_string(),
        MOST_ACTS,
    )
    .fetch_all(connection)
    .await?;
    let more_follow = follow.len() > MOST_FOLLOW;
    follow.truncate(MOST_FOLLOW);
    Ok(Story { causes, follow, more_follow, acts })
}
