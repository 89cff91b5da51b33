//! Workers that are asked to stop in mid-job: they finish what they can in their grace time and hand the rest back.

use std::{collections::BTreeSet, time::Duration};

use sandbox::Operation;
use tests::system::until;
use tokio::time::Instant;

use crate::scene::{STEP, Scene};

/// Asserts that Redis holds no lease and knows no worker of the queue that was worked on.
async fn nothing_is_leased(scene: &Scene) -> anyhow::Result<()> {
    let keys: Vec<_> =
        scene.keys().await?.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    let left: Vec<_> =
        keys.iter().filter(|key| key.contains(":lease:") || key.ends_with(":workers")).collect();
    assert!(left.is_empty(), "left leased: {left:?}");
    Ok(())
}

#[tokio::test]
async fn a_stopping_worker_finishes_what_it_can() -> anyhow::Result<()> {
    let mut scene = Scene::with("stopped_finishes", 2, 20).await?;
    scene.hang_after(Operation::SearchOrders, 0, Duration::from_secs(30)).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let asked = scene.sync_all()?;
    scene.until_calls(Operation::SearchOrders, 2).await?;
    assert_eq!(scene.jobs_in(&["running"]).await?, asked);

    let stopping = tokio::task::spawn_blocking(move || worker.stop());
    let heard = "stopping: taking nothing new";
    until(STEP, "the worker is stopping", async || Ok(scene.system.logs()?.contains(heard))).await?;
    scene.system.amazon.clear_faults().await?;
    stopping.await??;
    let done = scene.jobs_in(&["done"]).await?;
    assert!(asked.is_subset(&done), "asked {asked:?}, finished {done:?}");
    nothing_is_leased(&scene).await?;

    let next = scene.system.worker()?;
    scene.must_end_well(&asked).await?;
    scene.end([scheduler, next]).await
}

#[tokio::test]
async fn a_stopping_worker_hands_back_what_takes_too_long() -> anyhow::Result<()> {
    const GRACE: Duration = Duration::from_secs(2);
    let mut scene = Scene::with("stopped_hands_back", 2, 60).await?;
    scene.system.set("AMZIGO_GRACE_SECONDS", &GRACE.as_secs().to_string());
    scene.hang_after(Operation::GetSolicitationActionsForOrder, 4, Duration::from_secs(8)).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let asked = scene.sync_all()?;
    scene.until_calls(Operation::GetSolicitationActionsForOrder, 5).await?;
    let running = scene.jobs_in(&["running"]).await?;
    assert_ne!(running, BTreeSet::new(), "jobs were to run");

    let asked_at = Instant::now();
    worker.stop()?;
    let took = asked_at.elapsed();
    eprintln!("stopped_hands_back: the worker had ended after {:.1} s", took.as_secs_f64());
    assert!(took < GRACE + Duration::from_secs(3), "the worker took {took:?} to end");
    assert_eq!(scene.jobs_in(&["running"]).await?, BTreeSet::new(), "a job runs at nobody");
    let handed_back = scene.jobs_in(&["ready"]).await?;
    assert_ne!(handed_back, BTreeSet::new(), "a job was to be handed back");
    nothing_is_leased(&scene).await?;

    scene.system.amazon.clear_faults().await?;
    let next = scene.system.worker()?;
    scene.must_end_well(&asked).await?;
    assert!(scene.failures().await?.is_empty(), "being handed back is no failure");
    scene.end([scheduler, next]).await
}
