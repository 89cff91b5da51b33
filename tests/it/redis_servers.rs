//! Redis in the forms that people run: a Cluster, and a primary with a replica that Sentinels watch.
//!
//! Each is started from the server's own program on loopback ports, and ends with its test. Nothing is asked through the
//! code under test: a plain connection to a single server tells what is so.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use tests::system::until;
use xtask::services::{RedisServer, free_port};

/// Longest time for servers to find each other.
const TOGETHER: Duration = Duration::from_secs(30);
const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;
/// What the Sentinels call their primary.
pub(crate) const SERVICE: &str = "amzigo";

/// Sends a command to one server, and reads its answer.
pub(crate) fn ask<T: redis::FromRedisValue>(server: &RedisServer, command: &[&str]) -> anyhow::Result<T> {
    let (name, arguments) = command.split_first().context("a command has a name")?;
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    redis::cmd(name).arg(arguments).query(&mut connection).with_context(|| format!("asking {name}"))
}

/// What a server's `INFO` says of a field.
pub(crate) fn told(server: &RedisServer, section: &str, field: &str) -> anyhow::Result<String> {
    let info: String = ask(server, &["INFO", section])?;
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.unwrap_or_default().trim().to_owned())
}

/// Stops a server where it stands: it keeps its connections, and answers nothing any more.
pub(crate) fn hang(server: &RedisServer) -> anyhow::Result<()> {
    let pid = server.pid().context("it runs")?.to_string();
    ensure!(xtask::process::signal(&pid, "STOP"), "could not stop process {pid}");
    Ok(())
}

/// A Redis Cluster of three primaries.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts it, with as many replicas: the first one is of the first primary, and so on.
    pub(crate) async fn start(folder: &Path, replicas: usize, options: &[&str]) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for number in 0..PRIMARIES + replicas {
            let bus = free_port()?.to_string();
            let mut own = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            own.extend(["--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"]);
            own.extend(options);
            nodes.push(RedisServer::start_with(&folder.join(format!("node-{number}")), &own)?);
            buses.push(bus);
        }
        for (number, node) in nodes.iter().take(PRIMARIES).enumerate() {
            let (first, end) = (number * SLOTS / PRIMARIES, (number + 1) * SLOTS / PRIMARIES);
            let (first, last) = (first.to_string(), (end - 1).to_string());
            ask::<()>(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            ask::<()>(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            ask::<()>(&nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus])?;
        }
        let cluster = Self { nodes };
        let known = cluster.nodes.len().to_string();
        until(TOGETHER, "all nodes know each other", async || {
            cluster.each_says("cluster_known_nodes", &known)
        })
        .await?;
        for (number, replica) in cluster.nodes.iter().skip(PRIMARIES).enumerate() {
            let primary: String = ask(&cluster.nodes[number], &["CLUSTER", "MYID"])?;
            ask::<()>(replica, &["CLUSTER", "REPLICATE", &primary])?;
        }
        until(TOGETHER, "the Cluster serves all slots", async || {
            for replica in cluster.nodes.iter().skip(PRIMARIES) {
                if told(replica, "replication", "master_link_status")? != "up" {
                    return Ok(false);
                }
            }
            cluster.each_says("cluster_state", "ok")
        })
        .await?;
        Ok(cluster)
    }

    fn each_says(&self, field: &str, value: &str) -> anyhow::Result<bool> {
        for node in &self.nodes {
            let info: String = ask(node, &["CLUSTER", "INFO"])?;
            if !info.lines().any(|line| line.trim() == format!("{field}:{value}")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What stands in `REDIS_URL`: two of its nodes, from which the others are learnt.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[0].port(), self.nodes[1].port())
    }

    /// The number of the primary that was given a key's slot.
    pub(crate) fn primary_of(&self, key: &str) -> anyhow::Result<usize> {
        let slot: usize = ask(&self.nodes[0], &["CLUSTER", "KEYSLOT", key])?;
        let found = (0..PRIMARIES).find(|number| slot < (number + 1) * SLOTS / PRIMARIES);
        found.context("all slots are given away")
    }
}

/// A primary, a replica, and three Sentinels that watch them.
pub(crate) struct Watched {
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Watched {
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let quick = ["--repl-diskless-sync-delay", "0"];
        let primary = RedisServer::start_with(&folder.join("primary"), &quick)?;
        let port = primary.port().to_string();
        let following = [quick[0], quick[1], "--replicaof", "127.0.0.1", &port];
        let replica = RedisServer::start_with(&folder.join("replica"), &following)?;
        let lines = [
            format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 2"),
            format!("sentinel down-after-milliseconds {SERVICE} 1000"),
            format!("sentinel failover-timeout {SERVICE} 5000"),
        ];
        let sentinels = (1..=3)
            .map(|number| RedisServer::start_sentinel(&folder.join(format!("sentinel-{number}")), &lines))
            .collect::<Result<Vec<_>, _>>()?;
        let watched = Self { servers: [primary, replica], sentinels };
        until(TOGETHER, "the Sentinels know each other and the replica", async || {
            for sentinel in &watched.sentinels {
                let known: Vec<String> = ask(sentinel, &["SENTINEL", "MASTER", SERVICE])?;
                let says = |field: &str, value: &str| known.windows(2).any(|pair| pair == [field, value]);
                if !(says("num-other-sentinels", "2") && says("num-slaves", "1")) {
                    return Ok(false);
                }
            }
            Ok(told(&watched.servers[1], "replication", "master_link_status")? == "up")
        })
        .await?;
        Ok(watched)
    }

    /// What stands in `REDIS_URL`.
    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{SERVICE}", sentinels.join(","))
    }

    /// Waits until the replica has all that the primary has been sent.
    pub(crate) fn until_replicated(&self) -> anyhow::Result<()> {
        let mut connection = redis::Client::open(self.servers[0].url())?.get_connection()?;
        redis::cmd("SET").arg("written").arg("last").exec(&mut connection)?;
        let replicas: usize = redis::cmd("WAIT").arg(1).arg(10_000).query(&mut connection)?;
        ensure!(replicas == 1, "the replica does not follow");
        Ok(())
    }

    /// Waits until the Sentinels agree that a server is the primary, and the server too.
    pub(crate) async fn until_primary(&self, number: usize) -> anyhow::Result<()> {
        let port = self.servers[number].port().to_string();
        until(TOGETHER, "the other server is the primary", async || {
            for sentinel in &self.sentinels {
                let named: Vec<String> = ask(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
                ensure!(named.len() == 2, "a Sentinel names nobody");
                if named[1] != port {
                    return Ok(false);
                }
            }
            Ok(told(&self.servers[number], "replication", "role")? == "master")
        })
        .await
    }
}
