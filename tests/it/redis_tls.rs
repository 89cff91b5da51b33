//! Redis over TLS with an authority of one's own, which also wants to know who we are: one server, a Cluster, Sentinels.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use runtime::{
    env,
    redis::{Redis, RedisStartError},
};
use tests::system::until;
use xtask::services::{RedisServer, free_port};

use crate::{
    redis_pass::{Pass, settings},
    redis_servers::{SERVICE, ask},
    scene::{STEP, Scene, folder},
};

/// An authority, and what it signed.
struct Papers {
    folder: PathBuf,
}

impl Papers {
    fn issue(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        // Who signs and who is signed must not have the same name: that would look as if each signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(folder.join("ca.pem"), authority.pem())?;
        for name in ["server", "client"] {
            let key = KeyPair::generate()?;
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &authority)?;
            std::fs::write(folder.join(format!("{name}.pem")), certificate.pem())?;
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    /// Options of a server that speaks TLS on `port`, beside its usual one, and asks clients for a certificate.
    fn options(&self, port: u16) -> Vec<String> {
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", self.path("server.pem")),
            ("--tls-key-file", self.path("server.key")),
            ("--tls-ca-cert-file", self.path("ca.pem")),
            ("--tls-auth-clients", "yes".to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// Settings with all that a client needs.
    fn settings(&self, url: &str) -> HashMap<&'static str, String> {
        let mut settings = settings(url);
        settings.insert(env::REDIS_CA_FILE.name, self.path("ca.pem"));
        settings.insert(env::REDIS_CERT_FILE.name, self.path("client.pem"));
        settings.insert(env::REDIS_KEY_FILE.name, self.path("client.key"));
        settings
    }
}

fn start(folder: &Path, options: &[String]) -> anyhow::Result<RedisServer> {
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    Ok(RedisServer::start_with(folder, &options)?)
}

/// What a start that fails says, with its causes.
async fn refusal(settings: &HashMap<&'static str, String>) -> String {
    let refused: RedisStartError = Redis::connect(settings).await.expect_err("it was to be refused");
    format!("{:#}", anyhow::Error::from(refused))
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() -> anyhow::Result<()> {
    let folder = folder("tls_server")?;
    let papers = Papers::issue(&folder.join("papers"))?;
    let port = free_port()?;
    let _server = start(&folder.join("redis"), &papers.options(port))?;
    let url = format!("rediss://127.0.0.1:{port}");
    let right = papers.settings(&url);
    Pass::over(Redis::connect(&right).await?).await?.whole().await?;

    let mut distrusted = right.clone();
    distrusted.remove(env::REDIS_CA_FILE.name);
    let told = refusal(&distrusted).await;
    assert!(told.contains("UnknownIssuer"), "{told}");

    let mut unknown = right.clone();
    unknown.remove(env::REDIS_CERT_FILE.name);
    unknown.remove(env::REDIS_KEY_FILE.name);
    assert!(refusal(&unknown).await.contains("could not talk to Redis"));

    let mut half = right.clone();
    half.remove(env::REDIS_KEY_FILE.name);
    assert!(refusal(&half).await.contains("belong together"));

    let mut lost = right.clone();
    lost.insert(env::REDIS_CA_FILE.name, papers.path("no-such-file.pem"));
    assert!(refusal(&lost).await.contains("REDIS_CA_FILE"));

    let mut plain = right.clone();
    plain.insert(env::REDIS_URL.name, url.replacen("rediss", "redis", 1));
    assert!(refusal(&plain).await.contains("does not begin with `rediss`"));
    Ok(())
}

#[tokio::test]
async fn a_cluster_over_tls() -> anyhow::Result<()> {
    let folder = folder("tls_cluster")?;
    let papers = Papers::issue(&folder.join("papers"))?;
    let (port, bus) = (free_port()?, free_port()?.to_string());
    let mut options = papers.options(port);
    let cluster = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", bus.as_str()];
    options.extend(cluster.map(str::to_owned));
    let node = start(&folder.join("redis"), &options)?;
    ask::<()>(&node, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])?;
    until(STEP, "the node serves all slots", async || {
        let info: String = ask(&node, &["CLUSTER", "INFO"])?;
        Ok(info.contains("cluster_state:ok"))
    })
    .await?;
    let redis = Redis::connect(&papers.settings(&format!("rediss+cluster://127.0.0.1:{port}"))).await?;
    Pass::over(redis).await?.whole().await
}

#[tokio::test]
async fn sentinels_over_tls() -> anyhow::Result<()> {
    let folder = folder("tls_sentinel")?;
    let papers = Papers::issue(&folder.join("papers"))?;
    let (port, sentinel_port) = (free_port()?, free_port()?);
    let mut options = papers.options(port);
    options.extend(["--tls-replication", "yes"].map(str::to_owned));
    let _server = start(&folder.join("redis"), &options)?;
    let pairs = papers.options(sentinel_port);
    let mut lines: Vec<_> =
        pairs.chunks(2).map(|pair| format!("{} {}", pair[0].trim_start_matches('-'), pair[1])).collect();
    lines
        .extend(["tls-replication yes".to_owned(), format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 1")]);
    let _sentinel = RedisServer::start_sentinel(&folder.join("sentinel"), &lines)?;
    let settings = papers.settings(&format!("rediss+sentinel://127.0.0.1:{sentinel_port}/{SERVICE}"));
    Pass::over(Redis::connect(&settings).await?).await?.whole().await
}

#[tokio::test]
async fn real_processes_over_tls() -> anyhow::Result<()> {
    let folder = folder("tls_processes")?;
    let papers = Papers::issue(&folder.join("papers"))?;
    let port = free_port()?;
    let server = start(&folder.join("redis"), &papers.options(port))?;
    let mut scene = Scene::on_redis(folder, server.url(), 2, 20).await?;
    for (name, value) in papers.settings(&format!("rediss://127.0.0.1:{port}")) {
        if name != env::PREFIX.name {
            scene.system.set(name, &value);
        }
    }
    let (scheduler, worker) = (scene.system.scheduler()?, scene.system.worker()?);
    let asked = scene.sync_all()?;
    scene.must_end_well(&asked).await?;
    let over_tls: Vec<String> = vec![ask(&server, &["CLIENT", "LIST"])?];
    let clients = over_tls.first().context("a list")?.lines().count();
    assert!(clients >= 3, "the processes are connected: {over_tls:?}");
    scene.end([worker, scheduler]).await
}
