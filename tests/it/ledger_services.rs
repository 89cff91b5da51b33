//! What a leading scheduler does with the ledger by itself: it follows batches, cancels what has expired, and deletes what
//! ended long ago.

use std::sync::Arc;

use anyhow::ensure;
use chrono::TimeDelta;
use queue::{
    Engine, JobId, Queue, batch,
    limit::Budgets,
    outbox::{self, Cause, NewJob},
};
use runtime::{
    clock::{Clock, SystemClock},
    shutdown::Shutdown,
    testing::{TestDatabase, TestRedis},
};
use scheduler::services::Services;
use serde_json::json;
use sqlx::PgPool;
use tests::system::until;

use crate::scene::STEP;

fn job() -> NewJob {
    NewJob::raw("count_stock", Queue::Sync, "a", json!({ "seller": 7 }), Cause::Cli)
}

async fn state(pool: &PgPool, id: JobId) -> anyhow::Result<Option<String>> {
    Ok(sqlx::query_scalar("select state from jobs where id = $1").bind(id.0).fetch_optional(pool).await?)
}

#[tokio::test]
async fn batches_are_followed_what_expired_is_cancelled_and_what_is_old_is_deleted() -> anyhow::Result<()> {
    let (database, redis) = (TestDatabase::new().await, TestRedis::new().await);
    let pool = &database.pool;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now = clock.now();
    let engine = Engine::new(redis.redis.clone(), Arc::clone(&clock));
    let budgets = Budgets::new(redis.redis.clone(), clock);

    let mut connection = pool.acquire().await?;
    let empty = batch::open(&mut connection, now).await?;
    let follow_up = job();
    batch::seal(&mut connection, empty, Some(&follow_up), now).await?;
    let expired = NewJob { expires_at: Some(now), ..job() };
    let (old, young) = (job(), job());
    outbox::enqueue(&mut connection, &[expired.clone(), old.clone(), young.clone()], now).await?;
    for (id, days) in [(old.id, 3), (young.id, 1)] {
        sqlx::query("update jobs set state = 'done', finished_at = $2 where id = $1")
            .bind(id.0)
            .bind(now - TimeDelta::days(days))
            .execute(pool)
            .await?;
    }

    let shutdown = Shutdown::default();
    let services = Services { pool: pool.clone(), engine, budgets, retention: TimeDelta::days(2) };
    let running = services.start(&shutdown.soft);
    until(STEP, "the old job is deleted", async || Ok(state(pool, old.id).await?.is_none())).await?;
    until(STEP, "the expired job is cancelled", async || {
        Ok(state(pool, expired.id).await?.as_deref() == Some("cancelled"))
    })
    .await?;
    until(STEP, "the batch is followed", async || Ok(state(pool, follow_up.id).await?.is_some())).await?;
    ensure!(state(pool, young.id).await?.as_deref() == Some("done"), "what is young stays");
    shutdown.soft.cancel();
    running.all_have_ended().await;
    Ok(())
}
