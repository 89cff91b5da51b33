//! Workers that are killed outright: another one runs their jobs again, and nothing is done twice.

use std::{collections::BTreeSet, time::Duration};

use sandbox::Operation;
use tests::system::until;
use tokio::time::Instant;

use crate::scene::{STEP, Scene, WORK};

/// From the kill until all of the killed worker's jobs run again.
const RUN_AGAIN: Duration = Duration::from_secs(15);

/// Kills a worker whose calls of `operation` hang after some quick ones, and lets a second worker finish.
async fn killed_during(test: &str, operation: Operation, quick: u32) -> anyhow::Result<()> {
    let mut scene = Scene::with(test, 3, 90).await?;
    // Longer than a worker takes to start.
    scene.hang_after(operation, quick, Duration::from_secs(8)).await?;
    let scheduler = scene.system.scheduler()?;
    let lost = scene.system.worker()?;
    let asked = scene.sync_all()?;
    scene.until_calls(operation, u64::from(quick) + 1).await?;
    // Its jobs must find a worker that was there before, so that what is measured is the rescue alone.
    let saviour = scene.system.worker()?;

    let killed_at = Instant::now();
    lost.kill()?;
    let orphans = scene.jobs_in(&["running"]).await?;
    assert!(!orphans.is_empty(), "the worker was to be killed in mid-job");
    let lost_workers = workers_of(&scene, &orphans).await?;
    scene.system.amazon.clear_faults().await?;

    until(STEP, "the lost worker's jobs run again", async || {
        let held: bool = sqlx::query_scalar(
            "select exists (select from jobs where state = 'running' and worker::text = any($1))",
        )
        .bind(lost_workers.iter().cloned().collect::<Vec<_>>())
        .fetch_one(&scene.system.pool)
        .await?;
        Ok(!held)
    })
    .await?;
    let took = killed_at.elapsed();
    eprintln!("{test}: {} jobs ran again {:.1} s after the kill", orphans.len(), took.as_secs_f64());
    assert!(took <= RUN_AGAIN, "the jobs ran again only {took:?} after the kill");

    scene.must_end_well(&asked).await?;
    let crashed: BTreeSet<_> = scene.failures().await?.into_keys().collect();
    assert!(orphans.is_subset(&crashed), "each lost run is on record: {orphans:?}, {crashed:?}");
    scene.end([scheduler, saviour]).await
}

async fn workers_of(scene: &Scene, jobs: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let workers: Vec<String> = sqlx::query_scalar("select worker::text from jobs where id::text = any($1)")
        .bind(jobs.iter().cloned().collect::<Vec<_>>())
        .fetch_all(&scene.system.pool)
        .await?;
    Ok(workers.into_iter().collect())
}

#[tokio::test]
async fn a_worker_killed_in_mid_job_loses_nothing() -> anyhow::Result<()> {
    killed_during("killed_in_mid_job", Operation::GetSolicitationActionsForOrder, 12).await
}

#[tokio::test]
async fn a_worker_killed_while_it_fetches_orders_loses_none() -> anyhow::Result<()> {
    killed_during("killed_while_fetching", Operation::SearchOrders, 1).await
}

/// The worst moment: the note that a request leaves is written, and whether Amazon took it is unknown.
#[tokio::test]
async fn a_worker_killed_while_a_review_request_is_under_way_sends_none_twice() -> anyhow::Result<()> {
    killed_during("killed_while_sending", Operation::CreateProductReviewAndSellerFeedbackSolicitation, 5)
        .await
}

/// Nobody is there to take over at first: the jobs wait for the next worker, however long that takes.
#[tokio::test]
async fn jobs_of_the_only_worker_wait_for_the_next_one() -> anyhow::Result<()> {
    let mut scene = Scene::with("killed_only_worker", 2, 60).await?;
    scene.hang_after(Operation::SearchOrders, 0, Duration::from_secs(8)).await?;
    let scheduler = scene.system.scheduler()?;
    let only = scene.system.worker()?;
    let asked = scene.sync_all()?;
    scene.until_calls(Operation::SearchOrders, 2).await?;
    only.kill()?;
    scene.system.amazon.clear_faults().await?;
    let no_lease_left =
        async || Ok(!scene.keys().await?.iter().any(|key| String::from_utf8_lossy(key).contains(":lease:")));
    until(WORK, "the dead worker's lease is given up", no_lease_left).await?;
    let next = scene.system.worker()?;
    scene.must_end_well(&asked).await?;
    scene.end([scheduler, next]).await
}
