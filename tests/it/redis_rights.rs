//! The user of docs/REDIS.md: what it may do is enough, all of it is needed, and it can do nothing else.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use redis::{ErrorKind, ServerErrorKind};
use runtime::{env, redis::Redis};
use tests::system::until;
use xtask::services::RedisServer;

use crate::{
    redis_pass::{Pass, envelopes, settings},
    redis_servers::{Cluster, SERVICE, Watched, ask},
    scene::{STEP, Scene, folder},
    tidy::{files, read},
};

/// What the page's user is called, its password, and the prefix of its keys.
const LOGIN: &str = "amzigo:change-me@";
const PREFIX: &str = "amzigo";
/// Needed on a Cluster only, which one server is not.
const FOR_CLUSTER: &str = "+cluster|slots";

/// The lines of the page that make users: at a server, and at a Sentinel.
fn lines() -> anyhow::Result<[Vec<String>; 2]> {
    let page = read("docs/REDIS.md");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let lines: Vec<Vec<String>> =
        page.lines().filter(|line| line.starts_with("ACL SETUSER ")).map(words).collect();
    lines.try_into().ok().context("docs/REDIS.md has a line for servers and one for Sentinels")
}

fn create(server: &RedisServer, line: &[String]) -> anyhow::Result<()> {
    ask(server, &line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn with_login(url: &str) -> String {
    url.replacen("://", &format!("://{LOGIN}"), 1)
}

async fn pass_with_login(url: &str) -> anyhow::Result<Pass> {
    let mut settings = settings(&with_login(url));
    settings.insert(env::PREFIX.name, PREFIX.to_owned());
    Pass::over(Redis::connect(&settings).await?).await
}

#[tokio::test]
async fn the_rights_are_enough_for_everything_and_none_is_idle() -> anyhow::Result<()> {
    let server = RedisServer::start_in(&folder("rights")?)?;
    let [line, _] = lines()?;
    create(&server, &line)?;
    pass_with_login(&server.url()).await?.whole().await?;

    let mut idle = Vec::new();
    for right in line.iter().filter(|word| word.starts_with('+') && *word != FOR_CLUSTER) {
        ask::<()>(&server, &["FLUSHALL"])?;
        ask::<()>(&server, &["SCRIPT", "FLUSH"])?;
        create(&server, &line)?;
        ask::<()>(&server, &["ACL", "SETUSER", &line[2], &right.replacen('+', "-", 1)])?;
        // A pass of its own: a right that is missing may be noticed by connecting alone.
        let url = server.url();
        let passed = async move { pass_with_login(&url).await?.whole().await };
        // A check that fails within the pass panics, and is as good as an error.
        if matches!(tokio::spawn(passed_in_time(passed)).await, Ok(Ok(()))) {
            idle.push(right.clone());
        }
    }
    assert_eq!(idle, Vec::<String>::new(), "docs/REDIS.md gives rights that nothing needs");
    Ok(())
}

/// Without the right to publish, a wake-up never comes.
async fn passed_in_time(pass: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(Duration::from_secs(5), pass).await?
}

#[test]
fn every_command_of_a_script_is_among_the_rights() {
    let [line, _] = lines().expect("the page has them");
    let mut missing = BTreeSet::new();
    for (path, text) in files("queue/lua", &["lua"]) {
        for call in text.split("redis.call(").skip(1).chain(text.split("redis.pcall(").skip(1)) {
            let name = call.trim_start_matches(['\'', '"']).split(['\'', '"']).next().unwrap_or_default();
            let right = format!("+{}", name.to_lowercase());
            if !line.contains(&right) {
                missing.insert(format!("{path}: {right}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "docs/REDIS.md lacks rights that scripts need");
}

#[tokio::test]
async fn the_user_can_do_nothing_else() -> anyhow::Result<()> {
    let server = RedisServer::start_in(&folder("rights_foreign")?)?;
    let [line, _] = lines()?;
    create(&server, &line)?;
    ask::<()>(&server, &["HSET", "foreign", "field", "1"])?;
    ask::<()>(&server, &["HSET", "{amzigo-two:sync}:head", "fence", "1"])?;
    let client = redis::Client::open(with_login(&server.url()))?;
    let mut connection = client.get_connection()?;
    let refused: [&[&str]; 17] = [
        &["FLUSHALL"],
        &["FLUSHDB"],
        &["CONFIG", "GET", "*"],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["SHUTDOWN", "NOSAVE"],
        &["ACL", "LIST"],
        &["EVAL", "return 1", "0"],
        &["SCRIPT", "FLUSH"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["MONITOR"],
        &["REPLICAOF", "NO", "ONE"],
        &["HGET", "foreign", "field"],
        &["HSET", "foreign", "field", "2"],
        &["HGET", "{amzigo-two:sync}:head", "fence"],
        &["PUBLISH", "foreign", ""],
        &["SUBSCRIBE", "foreign"],
    ];
    for command in refused {
        let error = redis::cmd(command[0]).arg(&command[1..]).exec(&mut connection).expect_err(command[0]);
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm), "{command:?}: {error}");
    }
    // Nor by way of a script.
    let script = redis::Script::new("return redis.call('HGET', 'foreign', 'field')");
    let error = script.key("{amzigo:sync}:head").invoke::<String>(&mut connection).expect_err("foreign");
    let told = error.to_string();
    assert!(["can't access", "No permissions to access"].iter().any(|words| told.contains(words)), "{told}");
    assert_eq!(ask::<String>(&server, &["HGET", "foreign", "field"])?, "1");

    // What our own processes say then.
    let mut settings = settings(&with_login(&server.url()));
    settings.insert(env::PREFIX.name, "amzigo-two".to_owned());
    let other = Redis::connect(&settings).await?;
    let pushed = match Pass::over(other).await {
        Ok(pass) => pass.push(queue::Queue::Sync, &envelopes("a", 1)).await.expect_err("foreign"),
        Err(error) => error.downcast::<redis::RedisError>()?,
    };
    assert!(pushed.to_string().contains("docs/REDIS.md"), "{pushed}");

    settings.insert(env::REDIS_URL.name, server.url().replacen("://", "://amzigo:wrong@", 1));
    let refused = Redis::connect(&settings).await.expect_err("the password is wrong");
    let told = format!("{:#}", anyhow::Error::from(refused));
    assert!(told.contains("check the user and the password"), "{told}");
    assert!(!told.contains("wrong@"), "{told}");
    Ok(())
}

#[tokio::test]
async fn real_processes_need_no_more() -> anyhow::Result<()> {
    let folder = folder("rights_processes")?;
    let server = RedisServer::start_in(&folder.join("redis"))?;
    let [line, _] = lines()?;
    create(&server, &line)?;
    ask::<()>(&server, &["ACL", "SETUSER", "default", "off"])?;
    let mut scene = Scene::on_redis(folder, with_login(&server.url()), 3, 30).await?;
    scene.system.set(env::PREFIX.name, PREFIX);
    let (scheduler, worker) = (scene.system.scheduler()?, scene.system.worker()?);
    let asked = scene.sync_all()?;
    scene.must_end_well(&asked).await?;
    // The scheduler looks through all that Redis holds each five seconds at first.
    until(STEP, "the queues were marked", async || {
        let mut connection = redis::Client::open(with_login(&server.url()))?.get_connection()?;
        let marked: bool =
            redis::cmd("HEXISTS").arg("{amzigo:upkeep}:head").arg("epoch").query(&mut connection)?;
        Ok(marked)
    })
    .await?;
    let logs = scene.system.logs()?;
    assert!(
        !logs.contains("NOPERM") && !logs.contains("lacks a right"),
        "see the logs of {}",
        "rights_processes"
    );
    for process in [worker, scheduler] {
        process.stop()?;
    }
    Ok(())
}

#[tokio::test]
async fn they_are_enough_on_a_cluster_and_behind_sentinels_with_a_login() -> anyhow::Result<()> {
    let folder = folder("rights_many")?;
    let [line, for_sentinels] = lines()?;
    let cluster = Cluster::start(&folder.join("cluster"), 0, &[]).await?;
    for node in &cluster.nodes {
        create(node, &line)?;
    }
    pass_with_login(&cluster.url()).await?.whole().await?;

    let watched = Watched::start(&folder.join("watched")).await?;
    for server in &watched.servers {
        create(server, &line)?;
    }
    for sentinel in &watched.sentinels {
        create(sentinel, &for_sentinels)?;
        ask::<()>(sentinel, &["ACL", "SETUSER", "default", "off"])?;
    }
    let url = watched.url().replacen(SERVICE, &format!("{SERVICE}/0"), 1);
    let url = format!("{url}?sentinel_username=amzigo&sentinel_password=change-me");
    pass_with_login(&url).await?.whole().await
}
