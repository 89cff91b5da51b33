//! A quiet start: nothing is done but what a test or a run asks for.

use jobs::catalog::CATALOG;
use sqlx::PgPool;

/// Pauses every schedule, because a tick in between would add jobs that nobody knows of; forgets what connecting the sellers
/// has enqueued; and lets all of their orders be `sync_orders`', as though they had connected long ago. To be called before
/// any scheduler runs.
///
/// # Errors
/// When the database fails.
pub async fn start_quiet(pool: &PgPool) -> anyhow::Result<()> {
    pause_schedules(pool).await?;
    sqlx::raw_sql("delete from outbox; delete from jobs").execute(pool).await?;
    sqlx::query(
        "insert into sync_cursors (seller_id, data_set, synced_until, moved_at)
         select id, 'orders', connected_at - interval '800 days', connected_at from sellers",
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Pauses every schedule, also those that no scheduler has written down yet.
///
/// # Errors
/// When the database fails.
pub async fn pause_schedules(pool: &PgPool) -> anyhow::Result<()> {
    for kind in CATALOG.iter() {
        sqlx::query(
            "insert into schedules (kind, expression, next_fire_at, paused_at) values ($1, '', now(), now())
             on conflict (kind) do update set paused_at = now()",
        )
        .bind(kind.name)
        .execute(pool)
        .await?;
    }
    Ok(())
}
