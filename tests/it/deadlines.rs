//! A job that cannot begin in time is told about at once, goes before others, and is left alone when it was done in time.

use tests::system::until;

use crate::scene::{STEP, Scene};

#[tokio::test]
async fn a_job_without_a_worker_is_escalated_and_its_late_start_is_told() -> anyhow::Result<()> {
    let mut scene = Scene::with("deadlines", 1, 10).await?;
    let scheduler = scene.system.scheduler()?;
    let seller = scene.sellers[0].id.clone();
    // Until a run has been measured each counts ten minutes: one fits, the two that are kept in reserve do not.
    let asked = ["enqueue", "sync_orders", "--seller", &seller, "--deadline", "15m", "--json"];
    let said = scene.system.amzigo(&asked)?;
    assert_eq!(said["deadline"]["level"], "must start now");
    let id = said["id"].as_str().unwrap_or_default().to_owned();

    until(STEP, "the scheduler has escalated it", async || {
        let levels: Vec<String> = sqlx::query_scalar("select level from escalations where job_id = $1::uuid")
            .bind(&id)
            .fetch_all(&scene.system.pool)
            .await?;
        assert!(levels.len() <= 1, "{levels:?}");
        Ok(levels == ["must start now"])
    })
    .await?;
    let listed = scene.system.amzigo(&["deadlines", "--json"])?;
    assert_eq!(listed["jobs"][0]["id"].as_str(), Some(id.as_str()));
    let priority: String = sqlx::query_scalar("select priority from jobs where id = $1::uuid")
        .bind(&id)
        .fetch_one(&scene.system.pool)
        .await?;
    assert_eq!(priority, "high");

    let worker = scene.system.worker()?;
    scene.until_job(&id, "done").await?;
    until(STEP, "the watch has forgotten it", async || {
        Ok(sqlx::query_scalar("select not exists (select from deadlines)")
            .fetch_one(&scene.system.pool)
            .await?)
    })
    .await?;
    assert!(worker.log().contains("begins after its latest safe start"), "{}", worker.log());
    let told = scheduler.log();
    assert!(told.contains("must start now to meet its deadline"), "{told}");
    assert!(!told.contains("missed its deadline"), "{told}");
    scene.end([scheduler, worker]).await
}
