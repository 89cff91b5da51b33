//! Two schedulers: one leads and the other waits; when the leader ends, however it ends, the work goes on.

use std::{collections::BTreeSet, time::Duration};

use tests::{process::Process, system::until};
use tokio::time::Instant;

use crate::scene::{STEP, Scene};

/// A leader that is lost keeps its lease until it runs out; then the other one's next question gets it.
const AFTER_A_KILL: Duration = Duration::from_secs(8);
/// A leader that is asked to stop gives its lease up.
const AFTER_A_HANDOVER: Duration = Duration::from_secs(2);

fn leads(scheduler: &Process) -> bool {
    scheduler.log().contains(r#""message":"leading""#)
}

/// Ends the leader while another scheduler waits. Returns how long nobody led.
async fn leader_ends(test: &str, end: fn(Process) -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut scene = Scene::with(test, 2, 60).await?;
    let leader = scene.system.scheduler()?;
    until(STEP, "the first scheduler leads", async || Ok(leads(&leader))).await?;
    let waiting = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let [one, other] = &scene.sellers[..] else { anyhow::bail!("two sellers") };
    let mut asked = BTreeSet::from([scene.system.enqueue("sync_orders", &one.id)?]);

    assert!(!leads(&waiting), "two schedulers led at once");
    let ended_at = Instant::now();
    end(leader)?;
    asked.insert(scene.system.enqueue("sync_orders", &other.id)?);
    until(STEP, "the other scheduler leads", async || Ok(leads(&waiting))).await?;
    let took = ended_at.elapsed();
    eprintln!("{test}: the other scheduler led after {:.1} s", took.as_secs_f64());

    scene.must_end_well(&asked).await?;
    scene.end([waiting, worker]).await?;
    Ok(took)
}

#[tokio::test]
async fn another_scheduler_leads_when_the_leader_was_killed() -> anyhow::Result<()> {
    let took = leader_ends("leader_killed", Process::kill).await?;
    assert!(took <= AFTER_A_KILL, "nobody led for {took:?}");
    Ok(())
}

#[tokio::test]
async fn a_leader_that_stops_hands_over() -> anyhow::Result<()> {
    let took = leader_ends("leader_stopped", Process::stop).await?;
    assert!(took <= AFTER_A_HANDOVER, "nobody led for {took:?}");
    Ok(())
}
