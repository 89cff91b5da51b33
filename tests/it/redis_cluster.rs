//! A Redis Cluster of three primaries: every queue's keys lie together on one of them, and the queues on several.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::{Engine, Queue, WorkerId, keys::QueueKeys, lease::Ended};
use runtime::{
    clock::{Clock, SystemClock},
    redis::RedisStartError,
    testing::TestDatabase,
};
use sandbox::Operation;
use scheduler::services::Services;
use tests::system::until;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    redis_pass::{Pass, connect, envelopes, ids_of},
    redis_servers::{Cluster, ask, hang},
    scene::{STEP, Scene, WORK, folder},
};

/// Longest time until a server that hangs is left: two answers that do not come, and a takeover.
pub(crate) const MISSED: Duration = Duration::from_secs(20);

/// The primary of each queue.
fn primaries(cluster: &Cluster, prefix: &str) -> anyhow::Result<Vec<usize>> {
    Queue::ALL.iter().map(|queue| cluster.primary_of(QueueKeys::new(prefix, *queue).base())).collect()
}

/// Connects with a prefix under which the queues lie on all three nodes.
async fn spread(cluster: &Cluster) -> anyhow::Result<Pass> {
    loop {
        let redis = connect(&cluster.url()).await?;
        if primaries(cluster, redis.prefix())?.into_iter().collect::<BTreeSet<_>>().len() == 3 {
            return Pass::over(redis).await;
        }
    }
}

#[tokio::test]
async fn everything_works_on_a_cluster_and_on_several_nodes_of_it() -> anyhow::Result<()> {
    let cluster = Cluster::start(&folder("cluster_pass")?, 0, &[]).await?;
    let pass = spread(&cluster).await?;
    pass.whole().await?;

    // Each node forgets its scripts between any two calls of them, and only the node in question may be asked to learn.
    for queue in Queue::ALL {
        for node in &cluster.nodes {
            ask::<()>(node, &["SCRIPT", "FLUSH"])?;
        }
        pass.once(queue).await?;
    }
    let keys: Vec<usize> =
        cluster.nodes.iter().map(|node| ask(node, &["DBSIZE"])).collect::<Result<_, _>>()?;
    assert!(keys.iter().all(|count| *count > 0), "each node was to hold something: {keys:?}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_may_evict_is_refused_also_when_it_is_one_of_three() -> anyhow::Result<()> {
    let cluster = Cluster::start(&folder("cluster_evicts")?, 0, &[]).await?;
    connect(&cluster.url()).await?;
    ask::<()>(&cluster.nodes[2], &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])?;
    let refused = connect(&cluster.url()).await.expect_err("a node may evict");
    assert!(matches!(&refused, RedisStartError::MayEvict { policy } if policy == "allkeys-lru"), "{refused}");

    let node = connect(&cluster.nodes[0].url()).await.expect_err("it is no server by itself");
    assert!(node.to_string().contains("redis+cluster://"), "{node}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_was_away_is_used_again_and_its_wake_ups_are_heard() -> anyhow::Result<()> {
    // Nobody puts back what is lost here, so a node must not lose what it has answered for.
    let options = ["--appendfsync", "always"];
    let mut cluster = Cluster::start(&folder("cluster_node_away")?, 0, &options).await?;
    let pass = spread(&cluster).await?;
    let before = pass.engine.server_run().await?;
    let of = primaries(&cluster, pass.redis.prefix())?;
    for (queue, number) in Queue::ALL.into_iter().zip(of) {
        let waiting = envelopes("a", 3);
        pass.push(queue, &waiting).await?;
        cluster.nodes[number].kill_hard()?;
        let failed = pass.push(queue, &envelopes("a", 1)).await;
        assert!(failed.is_err(), "the node of {} is down", queue.name());
        cluster.nodes[number].start_again()?;

        let back_at = Instant::now();
        let worker = WorkerId::new();
        let mut claimed = BTreeSet::new();
        until(WORK, "the queue's jobs can be claimed", async || {
            claimed.extend(pass.claim(queue, worker).await?);
            Ok(ids_of(&waiting).is_subset(&claimed))
        })
        .await?;
        eprintln!(
            "{}: went on {:.1} s after its node was back",
            queue.name(),
            back_at.elapsed().as_secs_f64()
        );
        let ended = Ended { finished: claimed.into_iter().collect(), ..Ended::default() };
        pass.engine.end_leases(queue, worker, &ended).await?;
        pass.engine.resign(queue, worker).await?;
        // Whichever node it was: the subscription may have been on it.
        pass.until_heard(queue).await?;
        pass.once(queue).await?;
    }
    assert_ne!(pass.engine.server_run().await?, before, "reconcile must see that nodes were started again");
    Ok(())
}

/// Real processes; the node that goes is the one that holds the queue they work on.
async fn work_goes_on(test: &str, replicas: usize) -> anyhow::Result<()> {
    let folder = folder(test)?;
    let mut cluster = Cluster::start(&folder.join("redis"), replicas, &[]).await?;
    let mut scene = Scene::on_redis(folder, cluster.url(), 4, 60).await?;
    scene.hang_after(Operation::GetSolicitationActionsForOrder, 5, Duration::from_secs(20)).await?;
    let scheduler = scene.system.scheduler()?;
    let workers = [scene.system.worker()?, scene.system.worker()?];
    let mut asked = scene.sync_all()?;
    scene.until_calls(Operation::GetSolicitationActionsForOrder, 6).await?;

    let number = cluster.primary_of(QueueKeys::new(scene.system.prefix(), Queue::Sync).base())?;
    cluster.nodes[number].kill_hard()?;
    let gone_at = Instant::now();
    // What is asked for while it is away waits in the outbox.
    asked.insert(scene.system.enqueue("sync_orders", &scene.sellers[0].id)?);
    until(STEP, "the workers miss it", async || Ok(scene.system.logs()?.contains("could not"))).await?;
    if replicas == 0 {
        cluster.nodes[number].start_again()?;
    }
    scene.system.amazon.clear_faults().await?;
    scene.must_end_well(&asked).await?;
    eprintln!("{test}: all work was done {:.1} s after the node went", gone_at.elapsed().as_secs_f64());
    for process in workers.into_iter().chain([scheduler]) {
        process.stop()?;
    }
    Ok(())
}

#[tokio::test]
async fn work_goes_on_when_a_node_is_killed_and_comes_back() -> anyhow::Result<()> {
    work_goes_on("cluster_node_back", 0).await
}

#[tokio::test]
async fn work_goes_on_when_replicas_take_over() -> anyhow::Result<()> {
    work_goes_on("cluster_failover", 3).await
}

#[tokio::test]
async fn a_cluster_that_was_away_as_a_whole_is_used_again() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&folder("cluster_away")?, 0, &[]).await?;
    let pass = spread(&cluster).await?;
    pass.once(Queue::Sync).await?;
    for node in &mut cluster.nodes {
        node.kill_hard()?;
    }
    for _ in 0..5 {
        pass.push(Queue::Sync, &envelopes("a", 1)).await.expect_err("all nodes are down");
    }
    for node in &mut cluster.nodes {
        node.start_again()?;
    }
    // Also once the nodes answer, it takes them a moment to pass messages on to each other.
    for queue in Queue::ALL {
        pass.until_heard(queue).await?;
        pass.once(queue).await?;
    }
    Ok(())
}

/// A host that is gone without a word closes no connection and refuses none: only the silence tells.
#[tokio::test]
async fn a_node_that_hangs_is_left_when_its_replica_takes_over() -> anyhow::Result<()> {
    let cluster = Cluster::start(&folder("cluster_hangs")?, 3, &[]).await?;
    let pass = spread(&cluster).await?;
    pass.once(Queue::Sync).await?;
    let number = cluster.primary_of(QueueKeys::new(pass.redis.prefix(), Queue::Urgent).base())?;
    let gone_at = Instant::now();
    hang(&cluster.nodes[number])?;
    pass.until_heard(Queue::Urgent).await?;
    eprintln!("pushes were heard again {:.1} s after a node hung", gone_at.elapsed().as_secs_f64());
    assert!(gone_at.elapsed() < MISSED, "as long as it takes to be sure");
    pass.once(Queue::Mail).await
}

/// Where a Cluster may serve a part of its slots, what lies on the nodes that are there goes on.
#[tokio::test]
async fn the_other_queues_go_on_while_a_node_is_away() -> anyhow::Result<()> {
    let options = ["--cluster-require-full-coverage", "no"];
    let mut cluster = Cluster::start(&folder("cluster_part")?, 0, &options).await?;
    let pass = spread(&cluster).await?;
    let database = TestDatabase::new().await;
    // Leases and due moments by the real time, as the services go by it.
    let engine = Engine::new(pass.redis.clone(), Arc::new(SystemClock));
    let over = CancellationToken::new();
    let services = Services {
        pool: database.pool.clone(),
        engine: engine.clone(),
        budgets: pass.budgets.clone(),
        retention: TimeDelta::days(1),
    };
    let services = services.start(&over);

    let of = primaries(&cluster, pass.redis.prefix())?;
    let away = of[0];
    cluster.nodes[away].kill_hard()?;
    for (queue, _) in Queue::ALL.into_iter().zip(&of).filter(|(_, number)| **number != away) {
        until(STEP, "the queue is open", async || Ok(engine.is_open(queue).await?)).await?;
        let later = envelopes("a", 1);
        let due_at = SystemClock.now() + TimeDelta::milliseconds(100);
        engine.push(queue, &[(Some(due_at), later[0].clone())]).await?;
        let mut claimed = BTreeSet::new();
        until(STEP, "what is due is promoted", async || {
            claimed.extend(pass.claim(queue, WorkerId::new()).await?);
            Ok(claimed == ids_of(&later))
        })
        .await?;
        // The pass lives in the past, so by the services' time this lease has ended long ago.
        until(STEP, "what a lost worker held is rescued", async || {
            claimed.clear();
            claimed.extend(pass.claim(queue, WorkerId::new()).await?);
            Ok(claimed == ids_of(&later))
        })
        .await?;
    }
    cluster.nodes[away].start_again()?;
    until(STEP, "the queue that was away is there again", async || Ok(engine.is_open(Queue::ALL[0]).await?))
        .await?;
    over.cancel();
    services.all_have_ended().await;
    Ok(())
}
