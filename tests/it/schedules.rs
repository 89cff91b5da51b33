//! Two schedulers and one tick: each seller gets one job.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use tests::system::until;

use crate::scene::{STEP, Scene};

const KIND: &str = "sync_orders";

/// Lets the kind's tick be due since this moment.
async fn make_due(scene: &Scene, since: DateTime<Utc>) -> anyhow::Result<()> {
    let schedule = CATALOG.get(KIND).and_then(|kind| kind.schedule).expect("the kind has a schedule");
    let expression = format!("{} {}", schedule.expression, schedule.time_zone);
    sqlx::query(
        "update schedules set expression = $2, next_fire_at = $3, last_fire_at = null, paused_at = null where kind = $1",
    )
    .bind(KIND)
    .bind(expression)
    .bind(since)
    .execute(&scene.system.pool)
    .await?;
    Ok(())
}

async fn until_fired(scene: &Scene) -> anyhow::Result<()> {
    until(STEP, "the schedule has fired", async || {
        Ok(sqlx::query_scalar("select last_fire_at is not null from schedules where kind = $1")
            .bind(KIND)
            .fetch_one(&scene.system.pool)
            .await?)
    })
    .await
}

/// For whom a job of the schedule exists: one entry a job.
async fn fired_for(scene: &Scene) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar("select group_name from jobs where cause = 'schedule' and kind = $1 order by 1")
        .bind(KIND)
        .fetch_all(&scene.system.pool)
        .await?)
}

#[tokio::test]
async fn two_schedulers_make_one_job_for_each_seller_of_a_tick() -> anyhow::Result<()> {
    let mut scene = Scene::with("two_schedulers", 3, 60).await?;
    let tick: DateTime<Utc> =
        sqlx::query_scalar("select date_trunc('second', now())").fetch_one(&scene.system.pool).await?;
    make_due(&scene, tick).await?;
    let schedulers = [scene.system.scheduler()?, scene.system.scheduler()?];
    until_fired(&scene).await?;
    let sellers: BTreeSet<_> = scene.sellers.iter().map(|seller| seller.id.clone()).collect();
    let each_once: Vec<_> = sellers.into_iter().collect();
    assert_eq!(fired_for(&scene).await?, each_once);

    // The tick's jobs end, so that nothing but the tick's own name keeps it from making them again. They are spread over a
    // quarter of an hour; somebody who asks brings them forward.
    let worker = scene.system.worker()?;
    scene.sync_all()?;
    scene.system.until_quiet(STEP).await?;
    make_due(&scene, tick).await?;
    until_fired(&scene).await?;
    assert_eq!(fired_for(&scene).await?, each_once, "the same tick made jobs twice");
    let [one, other] = schedulers;
    scene.end([one, other, worker]).await
}
