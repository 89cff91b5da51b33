//! A Redis that answers, but not as one would like: full, a replica, still loading, without its scripts.
//!
//! In each case the error says what to do, nothing stops by itself, and what can go on does.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::TimeDelta;
use queue::{
    Controls, Queue, WorkerId,
    lease::{Ended, LEASE, Rescued},
    limit::{Budget, Grant},
};
use redis::{ErrorKind, ServerErrorKind};
use runtime::{
    clock::Clock,
    redis::{Redis, RedisStartError},
};
use sandbox::Operation;
use tests::system::until;
use tokio::net::{TcpListener, TcpStream};
use xtask::services::RedisServer;

use crate::{
    redis_pass::{Pass, connect, envelopes, ids_of, settings},
    redis_servers::{ask, told},
    scene::{STEP, Scene, WORK, folder},
};

const QUEUE: Queue = Queue::Sync;

fn set(server: &RedisServer, name: &str, value: &str) -> anyhow::Result<()> {
    ask(server, &["CONFIG", "SET", name, value])
}

#[tokio::test]
async fn a_full_redis_refuses_new_jobs_and_lets_go_of_those_it_holds() -> anyhow::Result<()> {
    let server = RedisServer::start_in(&folder("redis_full")?)?;
    let pass = Pass::over(connect(&server.url()).await?).await?;
    let engine = &pass.engine;
    let (jobs, due) = (envelopes("a", 6), envelopes("b", 1));
    pass.push(QUEUE, &jobs).await?;
    engine.push(QUEUE, &[(Some(pass.clock.now() + TimeDelta::seconds(1)), due[0].clone())]).await?;
    let limit = Budget { name: "searchOrders:full".to_owned(), rate: 1.0, burst: 1 };

    // Less than it uses already.
    set(&server, "maxmemory", "1")?;
    let refused = pass.push(QUEUE, &envelopes("a", 1)).await.expect_err("it is full");
    assert_eq!(refused.code(), Some("OOM"));
    assert!(refused.to_string().contains("raise its maxmemory"), "{refused}");

    let worker = WorkerId::new();
    assert_eq!(pass.claim(QUEUE, worker).await?, ids_of(&jobs));
    assert!(engine.heartbeat(QUEUE, worker).await?, "or its jobs would run twice");
    assert_eq!(pass.budgets.ask(std::slice::from_ref(&limit), "one").await?, Grant::Now);
    assert_ne!(pass.budgets.ask(std::slice::from_ref(&limit), "two").await?, Grant::Now);
    pass.budgets.move_rate(&limit, 2.0).await?;
    pass.budgets.drain(&limit).await?;
    let ended = Ended {
        finished: vec![jobs[0].id],
        delayed: vec![(jobs[1].id, pass.clock.now())],
        handed_back: vec![jobs[2].id],
    };
    assert_eq!(engine.end_leases(QUEUE, worker, &ended).await?, 0);
    pass.clock.advance(LEASE + LEASE);
    let last_seen_at = pass.clock.now() - LEASE - LEASE;
    assert_eq!(engine.rescue(QUEUE).await?, Some(Rescued { worker, jobs: 3, last_seen_at }));
    assert_eq!(engine.promote(QUEUE).await?.moved, 2);
    let second = WorkerId::new();
    let left = ids_of(&[jobs[1..].to_vec(), due].concat());
    assert_eq!(pass.claim(QUEUE, second).await?, left);
    let ended = Ended { finished: left.into_iter().collect(), ..Ended::default() };
    assert_eq!(engine.end_leases(QUEUE, second, &ended).await?, 0);
    assert!(engine.resign(QUEUE, second).await?);
    engine.control(QUEUE, &Controls { paused: true, ..Controls::default() }).await?;
    assert!(pass.claim(QUEUE, second).await?.is_empty());
    engine.control(QUEUE, &Controls::default()).await?;

    set(&server, "maxmemory", "0")?;
    pass.once(QUEUE).await
}

#[tokio::test]
async fn work_goes_on_when_redis_is_full_and_the_rest_follows_when_there_is_room() -> anyhow::Result<()> {
    let folder = folder("redis_full_in_mid_work")?;
    let server = RedisServer::start_in(&folder.join("redis"))?;
    let mut scene = Scene::on_redis(folder, server.url(), 3, 30).await?;
    let scheduler = scene.system.scheduler()?;
    let asked = scene.sync_all()?;
    let in_redis = async || {
        let pass = Redis::connect(&with_prefix(&server, &scene)).await?;
        let engine = queue::Engine::new(pass, Arc::new(runtime::clock::SystemClock));
        Ok(engine.census(QUEUE).await?.len() == asked.len())
    };
    until(STEP, "the jobs are in Redis", in_redis).await?;

    set(&server, "maxmemory", "1")?;
    let worker = scene.system.worker()?;
    // They run, and what follows from them waits in the outbox.
    until(WORK, "what Redis held is done", async || Ok(scene.jobs_in(&["done"]).await? == asked)).await?;
    until(STEP, "the log says what to do", async || Ok(scene.system.logs()?.contains("raise its maxmemory")))
        .await?;
    set(&server, "maxmemory", "0")?;
    scene.must_end_well(&asked).await?;
    scene.end([worker, scheduler]).await
}

fn with_prefix(server: &RedisServer, scene: &Scene) -> std::collections::HashMap<&'static str, String> {
    let mut settings = settings(&server.url());
    settings.insert(runtime::env::PREFIX.name, scene.system.prefix().to_owned());
    settings
}

#[tokio::test]
async fn a_server_that_may_evict_is_refused_at_start() -> anyhow::Result<()> {
    let server = RedisServer::start_in(&folder("redis_evicts")?)?;
    for policy in ["allkeys-lru", "volatile-ttl"] {
        set(&server, "maxmemory-policy", policy)?;
        let refused = connect(&server.url()).await.expect_err("it may evict");
        assert!(refused.to_string().contains("set `maxmemory-policy noeviction`"), "{refused}");
    }
    set(&server, "maxmemory-policy", "noeviction")?;
    connect(&server.url()).await?;
    Ok(())
}

/// A name that first leads to one server and then to another, as the endpoint of a hosted Redis does after a failover:
/// connections that were made before stay where they are.
struct Endpoint {
    port: u16,
    leads_to: Arc<Mutex<u16>>,
}

impl Endpoint {
    async fn leading_to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (own, leads_to) = (listener.local_addr()?.port(), Arc::new(Mutex::new(port)));
        let target = Arc::clone(&leads_to);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = *target.lock().expect("nobody panics while holding it");
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Ok(Self { port: own, leads_to })
    }
}

#[tokio::test]
async fn an_endpoint_that_leads_to_the_new_primary_is_followed() -> anyhow::Result<()> {
    let folder = folder("redis_endpoint")?;
    let quick = ["--repl-diskless-sync-delay", "0"];
    let old = RedisServer::start_with(&folder.join("old"), &quick)?;
    let new = RedisServer::start_with(&folder.join("new"), &quick)?;
    ask::<()>(&new, &["REPLICAOF", "127.0.0.1", &old.port().to_string()])?;
    until(STEP, "the replica follows", async || Ok(told(&new, "replication", "master_link_status")? == "up"))
        .await?;
    let refused = connect(&new.url()).await.expect_err("it is a replica");
    assert!(matches!(refused, RedisStartError::Replica), "{refused}");

    let endpoint = Endpoint::leading_to(old.port()).await?;
    let pass = Pass::over(connect(&format!("redis://127.0.0.1:{}", endpoint.port)).await?).await?;
    pass.once(QUEUE).await?;
    // The old primary lives on as a replica; nobody closes our connection to it.
    ask::<()>(&new, &["REPLICAOF", "NO", "ONE"])?;
    ask::<()>(&old, &["REPLICAOF", "127.0.0.1", &new.port().to_string()])?;
    let job = envelopes("a", 1);
    let refused = pass.push(QUEUE, &job).await.expect_err("it is a replica by now");
    assert_eq!(refused.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly));
    assert!(refused.to_string().contains("REDIS_URL must name the primary"), "{refused}");

    *endpoint.leads_to.lock().expect("nobody panics while holding it") = new.port();
    until(STEP, "the new primary is used", async || {
        pass.push(QUEUE, &job).await?;
        Ok(true)
    })
    .await?;
    let worker = WorkerId::new();
    assert_eq!(pass.claim(QUEUE, worker).await?, ids_of(&job));
    assert_eq!(told(&new, "replication", "role")?, "master");
    Ok(())
}

/// Makes its next start last about five seconds: so many keys, and a rest after each. It answers after each thousand.
fn make_slow(server: &mut RedisServer) -> anyhow::Result<()> {
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    let mut pipe = redis::pipe();
    for number in 0..20_000 {
        pipe.set(format!("load:{number}"), "x").ignore();
    }
    pipe.exec(&mut connection)?;
    server.stop()?;
    server.set_options(&["--key-load-delay", "200"]);
    Ok(())
}

#[tokio::test]
async fn a_start_waits_for_a_server_that_loads_and_not_for_ever() -> anyhow::Result<()> {
    let mut server = RedisServer::start_in(&folder("redis_loading")?)?;
    let pass = Pass::over(connect(&server.url()).await?).await?;
    make_slow(&mut server)?;
    assert!(server.start_again_loading()?, "it was to load for some seconds");

    let given_up = Redis::connect_within(&settings(&server.url()), Duration::ZERO).await;
    let given_up = given_up.expect_err("it does not wait at all");
    assert!(matches!(given_up, RedisStartError::Loading { seconds: 0 }), "{given_up}");
    // Who was connected before hears what is the matter.
    let mut refused = None;
    until(STEP, "a push is refused because it loads", async || {
        refused = pass.push(QUEUE, &envelopes("a", 1)).await.err();
        Ok(refused.as_ref().is_some_and(|error| error.code() == Some("LOADING")))
    })
    .await?;
    assert!(refused.is_some_and(|error| error.to_string().contains("still reads its data from disk")));

    let waited = connect(&server.url()).await?;
    assert_eq!(told(&server, "persistence", "loading")?, "0");
    Pass::over(waited).await?.once(QUEUE).await?;
    pass.once(Queue::Mail).await
}

#[tokio::test]
async fn work_goes_on_after_a_long_load() -> anyhow::Result<()> {
    let folder = folder("redis_loading_in_mid_work")?;
    let mut server = RedisServer::start_in(&folder.join("redis"))?;
    let scene = {
        let mut scene = Scene::on_redis(folder, server.url(), 3, 60).await?;
        scene.hang_after(Operation::GetSolicitationActionsForOrder, 5, Duration::from_secs(20)).await?;
        scene
    };
    let mut scene = scene;
    let (scheduler, worker) = (scene.system.scheduler()?, scene.system.worker()?);
    let asked = scene.sync_all()?;
    scene.until_calls(Operation::GetSolicitationActionsForOrder, 6).await?;
    make_slow(&mut server)?;
    assert!(server.start_again_loading()?, "it was to load for some seconds");
    until(STEP, "the log says that it loads", async || {
        Ok(scene.system.logs()?.contains("still reads its data from disk"))
    })
    .await?;
    scene.system.amazon.clear_faults().await?;
    scene.must_end_well(&asked).await?;
    scene.end([worker, scheduler]).await
}

#[tokio::test]
async fn scripts_that_redis_forgets_are_loaded_again_in_mid_work() -> anyhow::Result<()> {
    let server = RedisServer::start_in(&folder("redis_scripts")?)?;
    let pass = Pass::over(connect(&server.url()).await?).await?;
    let jobs = envelopes("a", 20);
    let (worker, mut claimed) = (WorkerId::new(), BTreeSet::new());
    for job in &jobs {
        ask::<()>(&server, &["SCRIPT", "FLUSH"])?;
        pass.push(QUEUE, std::slice::from_ref(job)).await?;
        ask::<()>(&server, &["SCRIPT", "FLUSH"])?;
        claimed.extend(pass.claim(QUEUE, worker).await?);
        ask::<()>(&server, &["SCRIPT", "FLUSH"])?;
        assert!(pass.engine.heartbeat(QUEUE, worker).await?);
    }
    assert_eq!(claimed, ids_of(&jobs));
    Ok(())
}
