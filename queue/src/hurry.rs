//! Letting jobs that wait for something run now, because it has happened.
//!
//! Repeating is safe: a job that runs already, or has ended, is left alone, and one that still has to wait says so again. Its
//! older copy in Redis, for the moment it waited for, is one that the ledger refuses.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{JobId, ledger::NEXT_ATTEMPT};

/// Lets the jobs of a kind and group that snooze run now. Those that wait for their next attempt, or for a first start that
/// somebody asked for, are left alone. Returns which they were.
///
/// # Errors
/// When the database fails.
pub async fn snoozing(
    connection: &mut PgConnection,
    kind: &str,
    group: &str,
    now: DateTime<Utc>,
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with snoozing as (
            select id from jobs
            where finished_at is null and kind = $1 and group_name = $2
                and case state when 'delayed' then waits_for is not null and waits_for <> $4 and due_at > $3 else false end
            order by id for no key update
        ), hurried as (
            update jobs set state = 'ready', due_at = $3, touched_at = $3, waits_for = null
            from snoozing where jobs.id = snoozing.id and jobs.state = 'delayed' returning jobs.id
        ), told as (
            insert into outbox (job_id) select id from hurried on conflict do nothing
        )
        select id as "id: JobId" from hurried
        "#,
        kind,
        group,
        now,
        NEXT_ATTEMPT,
    )
    .fetch_all(connection)
    .await
}
