//! A primary with a replica that three Sentinels watch: when it is killed the replica takes over, and everything goes on.

use std::{collections::BTreeSet, time::Duration};

use queue::{Queue, WorkerId, lease::Ended};
use sandbox::Operation;
use tests::system::until;
use tokio::time::Instant;

use crate::{
    redis_cluster::MISSED,
    redis_pass::{Pass, connect, envelopes, ids_of},
    redis_servers::{Watched, hang},
    scene::{Scene, WORK, folder},
};

/// From the end of the primary until everything works again; the Sentinels take a second to be sure of it.
const TAKEN_OVER: Duration = Duration::from_secs(15);

#[tokio::test]
async fn everything_goes_on_at_the_replica_that_takes_over() -> anyhow::Result<()> {
    let mut watched = Watched::start(&folder("sentinel_pass")?).await?;
    let pass = Pass::over(connect(&watched.url()).await?).await?;
    pass.whole().await?;
    let before = pass.engine.server_run().await?;
    let waiting = envelopes("a", 3);
    pass.push(Queue::Sync, &waiting).await?;
    // Nobody puts back what is lost here, so the replica has to have it.
    watched.until_replicated()?;

    watched.servers[0].kill_hard()?;
    let gone_at = Instant::now();
    let worker = WorkerId::new();
    let mut claimed = BTreeSet::new();
    until(WORK, "the jobs can be claimed", async || {
        claimed.extend(pass.claim(Queue::Sync, worker).await?);
        Ok(ids_of(&waiting).is_subset(&claimed))
    })
    .await?;
    eprintln!("claims went on {:.1} s after the primary was killed", gone_at.elapsed().as_secs_f64());
    assert!(gone_at.elapsed() <= TAKEN_OVER);
    let ended = Ended { finished: claimed.into_iter().collect(), ..Ended::default() };
    pass.engine.end_leases(Queue::Sync, worker, &ended).await?;
    pass.engine.resign(Queue::Sync, worker).await?;
    pass.until_heard(Queue::Urgent).await?;
    eprintln!("wake-ups were heard {:.1} s after the primary was killed", gone_at.elapsed().as_secs_f64());
    watched.until_primary(1).await?;
    assert_ne!(pass.engine.server_run().await?, before, "reconcile must see that another server answers");
    for queue in Queue::ALL {
        pass.once(queue).await?;
    }
    pass.budgets_once().await?;
    pass.beside_once().await
}

/// A host that is gone without a word closes no connection and refuses none: only the silence tells.
#[tokio::test]
async fn a_primary_that_hangs_is_left_when_the_replica_takes_over() -> anyhow::Result<()> {
    let watched = Watched::start(&folder("sentinel_hangs")?).await?;
    let pass = Pass::over(connect(&watched.url()).await?).await?;
    pass.once(Queue::Sync).await?;
    let gone_at = Instant::now();
    hang(&watched.servers[0])?;
    pass.until_heard(Queue::Urgent).await?;
    eprintln!("pushes were heard again {:.1} s after the primary hung", gone_at.elapsed().as_secs_f64());
    assert!(gone_at.elapsed() < MISSED, "as long as it takes to be sure");
    pass.once(Queue::Mail).await
}

#[tokio::test]
async fn work_goes_on_when_the_primary_is_killed() -> anyhow::Result<()> {
    let folder = folder("sentinel_failover")?;
    let mut watched = Watched::start(&folder.join("redis")).await?;
    let mut scene = Scene::on_redis(folder, watched.url(), 4, 60).await?;
    scene.hang_after(Operation::GetSolicitationActionsForOrder, 5, Duration::from_secs(20)).await?;
    let scheduler = scene.system.scheduler()?;
    let workers = [scene.system.worker()?, scene.system.worker()?];
    let mut asked = scene.sync_all()?;
    scene.until_calls(Operation::GetSolicitationActionsForOrder, 6).await?;

    watched.servers[0].kill_hard()?;
    let gone_at = Instant::now();
    asked.insert(scene.system.enqueue("sync_orders", &scene.sellers[0].id)?);
    watched.until_primary(1).await?;
    eprintln!("the replica took over after {:.1} s", gone_at.elapsed().as_secs_f64());
    scene.system.amazon.clear_faults().await?;
    scene.must_end_well(&asked).await?;
    eprintln!("all work was done {:.1} s after the primary was killed", gone_at.elapsed().as_secs_f64());
    for process in workers.into_iter().chain([scheduler]) {
        process.stop()?;
    }
    Ok(())
}
