//! Where Redis is: what may stand in `REDIS_URL`, and how to open a connection to it.
//!
//! A single server, a Cluster and a primary that Sentinels watch differ only here and in `connection`; everybody else
//! just has a connection. Passwords stay inside: they are in no error and in no debug output.

use std::{io, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use url::Url;

/// Longest wait for an answer. The library's default of 500 ms is shorter than a script on a busy server may take,
/// and would turn one slow answer into a broken connection.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

const SERVER_PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;

/// Where Redis is.
#[derive(Clone)]
pub struct Address {
    form: Form,
    certificates: Option<TlsCertificates>,
}

#[derive(Clone)]
enum Form {
    Server(ConnectionInfo),
    /// Nodes of a Cluster; from any of them the others are learnt.
    Cluster(Vec<ConnectionInfo>),
    /// Sentinels, and how their primary wants to be talked to.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        service: String,
        primary: RedisConnectionInfo,
    },
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (form, servers) = match &self.form {
            Form::Server(server) => ("server", std::slice::from_ref(server)),
            Form::Cluster(nodes) => ("cluster", nodes.as_slice()),
            Form::Sentinel { sentinels, .. } => ("sentinel", sentinels.as_slice()),
        };
        let servers: Vec<_> = servers.iter().map(|server| server.addr().to_string()).collect();
        f.debug_struct("Address").field("form", &form).field("servers", &servers).finish_non_exhaustive()
    }
}

impl From<ConnectionInfo> for Address {
    fn from(server: ConnectionInfo) -> Self {
        Self { form: Form::Server(server), certificates: None }
    }
}

impl Address {
    /// Reads what stands in `REDIS_URL`. The error says what is wrong, without the value.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("there is no `://` after its scheme")?;
        let form = match scheme {
            "redis" | "rediss" | "unix" | "redis+unix" | "valkey" | "valkeys" => {
                Form::Server(url.into_connection_info().map_err(|error| why(&error))?)
            }
            "redis+cluster" => Many::parse("redis", rest, SERVER_PORT)?.cluster()?,
            "rediss+cluster" => Many::parse("rediss", rest, SERVER_PORT)?.cluster()?,
            "redis+sentinel" => Many::parse("redis", rest, SENTINEL_PORT)?.sentinel()?,
            "rediss+sentinel" => Many::parse("rediss", rest, SENTINEL_PORT)?.sentinel()?,
            other
                if !other.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter)) =>
            {
                return Err("what stands before `://` is not a scheme".to_owned());
            }
            other => {
                let meant = ["rediss", "redis"]
                    .iter()
                    .find(|one| other.starts_with(*one))
                    .zip(["cluster", "sentinel"].iter().find(|one| other.ends_with(*one)));
                return Err(match meant {
                    Some((one, many)) => format!("`{other}` is not a scheme; write `{one}+{many}`"),
                    None => format!("`{other}` is not a scheme"),
                });
            }
        };
        Ok(Self { form, certificates: None })
    }

    /// Trusts these certificates, and shows these, in place of what the host has.
    pub(super) fn with_certificates(mut self, certificates: TlsCertificates) -> Result<Self, String> {
        let first = match &self.form {
            Form::Server(server) => Some(server),
            Form::Cluster(servers) | Form::Sentinel { sentinels: servers, .. } => servers.first(),
        };
        if !first.is_some_and(|server| is_tls(server.addr())) {
            return Err("certificates are given, but REDIS_URL does not begin with `rediss`".to_owned());
        }
        self.certificates = Some(certificates);
        Ok(self)
    }

    /// Whether one fixed server is meant.
    pub(super) fn is_one_server(&self) -> bool {
        matches!(self.form, Form::Server(_))
    }

    /// The number of the database; the first one in a Cluster.
    pub(super) fn database(&self) -> i64 {
        match &self.form {
            Form::Server(server) => server.redis_settings().db(),
            Form::Cluster(_) => 0,
            Form::Sentinel { primary, .. } => primary.db(),
        }
    }

    /// What opens connections to it.
    pub(super) fn opener(&self) -> RedisResult<Opener> {
        Ok(match &self.form {
            Form::Server(server) => Opener::Server(Box::new(self.client(server.clone())?)),
            Form::Cluster(nodes) => Opener::Cluster(Box::new(self.cluster(nodes)?)),
            Form::Sentinel { sentinels, service, primary } => {
                Opener::Sentinel(Box::new(self.sentinel(sentinels, service, primary)?))
            }
        })
    }

    /// What opens connections to a server that tells of messages.
    pub(super) fn listener(&self) -> RedisResult<Listener> {
        let resp3 = |server: &ConnectionInfo| {
            let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            server.clone().set_redis_settings(settings)
        };
        Ok(match &self.form {
            Form::Server(server) => Listener::Server(Box::new(self.client(resp3(server))?)),
            Form::Cluster(nodes) => {
                let nodes = nodes.iter().map(|node| self.client(resp3(node)));
                Listener::Cluster(nodes.collect::<RedisResult<_>>()?)
            }
            Form::Sentinel { sentinels, service, primary } => {
                let primary = primary.clone().set_protocol(ProtocolVersion::RESP3);
                Listener::Primary(Box::new(self.sentinel(sentinels, service, &primary)?))
            }
        })
    }

    fn client(&self, server: ConnectionInfo) -> RedisResult<Client> {
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(server, certificates.clone()),
            None => Client::open(server),
        }
    }

    fn cluster(&self, nodes: &[ConnectionInfo]) -> RedisResult<ClusterClient> {
        let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            // Within the time-out of the whole answer; a failover takes longer than that, and callers try again.
            .retries(6)
            .min_retry_wait(50)
            .max_retry_wait(1_000);
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()
    }

    fn sentinel(
        &self,
        sentinels: &[ConnectionInfo],
        service: &str,
        primary: &RedisConnectionInfo,
    ) -> RedisResult<SentinelClient> {
        let addresses = sentinels.iter().map(|sentinel| sentinel.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?
            .set_client_to_redis_db(primary.db())
            .set_client_to_redis_protocol(primary.protocol());
        if let Some(username) = primary.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = primary.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(first) = sentinels.first() {
            if let Some(username) = first.redis_settings().username() {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = first.redis_settings().password() {
                builder = builder.set_client_to_sentinel_password(password);
            }
            if is_tls(first.addr()) {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}

/// Reads the certificates of a private authority, and our own with its key.
pub(super) fn read_certificates(
    authority: Option<&Path>,
    own: Option<(&Path, &Path)>,
) -> io::Result<TlsCertificates> {
    let client_tls = match own {
        Some((certificate, key)) => Some(redis::ClientTlsConfig {
            client_cert: std::fs::read(certificate)?,
            client_key: std::fs::read(key)?,
        }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: authority.map(std::fs::read).transpose()? })
}

fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}

fn why(error: &RedisError) -> String {
    // The library's own words are about the form and never hold the value.
    error.to_string()
}

/// A URL that names several servers: `user:password@host:port,host:port/path?name=value`.
struct Many {
    servers: Vec<ConnectionInfo>,
    /// The URL with its first server alone.
    first: Url,
}

impl Many {
    fn parse(scheme: &str, rest: &str, usual_port: u16) -> Result<Self, String> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let (login, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let mut servers = Vec::new();
        let mut first = None;
        for host in hosts.split(',') {
            let has_port = host.rfind(':') > host.rfind(']');
            let port = if has_port { String::new() } else { format!(":{usual_port}") };
            let url = Url::parse(&format!("{scheme}://{login}{host}{port}{after}"))
                .map_err(|error| format!("one of its servers cannot be read ({error})"))?;
            if url.host_str().is_none_or(str::is_empty) {
                return Err("one of its servers has no host".to_owned());
            }
            let mut server = url.clone();
            server.set_path("");
            server.set_query(None);
            servers.push(server.into_connection_info().map_err(|error| why(&error))?);
            first.get_or_insert(url);
        }
        let first = first.ok_or("it names no server")?;
        Ok(Self { servers, first })
    }

    fn cluster(self) -> Result<Form, String> {
        if !matches!(self.first.path(), "" | "/" | "/0") {
            return Err("a Redis Cluster has one database only; end the URL after its servers".to_owned());
        }
        match self.first.query() {
            Some(_) => Err("nothing may follow a `?` where a Redis Cluster is meant".to_owned()),
            None => Ok(Form::Cluster(self.servers)),
        }
    }

    fn sentinel(self) -> Result<Form, String> {
        let mut path = self.first.path().trim_start_matches('/').splitn(2, '/');
        let service = path.next().filter(|service| !service.is_empty()).ok_or(
            "it lacks the name of the service that the Sentinels watch; write that after the servers, as in \
             redis+sentinel://host:26379,host:26379/mymaster",
        )?;
        let database = match path.next().filter(|database| !database.is_empty()) {
            Some(database) => database
                .parse()
                .map_err(|_| "what follows the service's name is not the number of a database")?,
            None => 0,
        };
        let mut sentinel_login = RedisConnectionInfo::default();
        for (name, value) in self.first.query_pairs() {
            sentinel_login = match &*name {
                "sentinel_username" => sentinel_login.set_username(value),
                "sentinel_password" => sentinel_login.set_password(value),
                // Not shown: it may be what follows an unescaped `?` in a password.
                _ => return Err("only sentinel_username and sentinel_password may follow the `?`".to_owned()),
            };
        }
        let primary = self.servers[0].redis_settings().clone().set_db(database);
        let service = service.to_owned();
        let sentinels = self
            .servers
            .into_iter()
            .map(|server| server.set_redis_settings(sentinel_login.clone()))
            .collect();
        Ok(Form::Sentinel { sentinels, service, primary })
    }
}

/// Opens connections for commands.
pub(super) enum Opener {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Box<SentinelClient>),
}

/// A connection for commands.
#[derive(Clone)]
pub(super) enum Opened {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Opener {
    pub(super) async fn open(&mut self) -> RedisResult<Opened> {
        let config = configuration();
        Ok(match self {
            Self::Server(client) => {
                Opened::Server(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Self::Cluster(client) => Opened::Cluster(client.get_async_connection().await?),
            // Asks the Sentinels anew, and asks who they name whether it really is the primary.
            Self::Sentinel(client) => Opened::Server(client.get_async_connection_with_config(&config).await?),
        })
    }
}

/// Opens connections for messages.
pub(super) enum Listener {
    Server(Box<Client>),
    /// Any of these will do: a Cluster passes a message on to all its nodes.
    Cluster(Vec<Client>),
    /// Whom the Sentinels name.
    Primary(Box<SentinelClient>),
}

pub(super) fn configuration() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> Vec<String> {
        let address = Address::parse(url).unwrap_or_else(|why| panic!("{url}: {why}"));
        match address.form {
            Form::Server(server) => vec![server.addr().to_string()],
            Form::Cluster(servers) | Form::Sentinel { sentinels: servers, .. } => {
                servers.iter().map(|server| server.addr().to_string()).collect()
            }
        }
    }

    #[test]
    fn one_server_is_what_it_always_was() {
        assert_eq!(servers("redis://127.0.0.1"), ["127.0.0.1:6379"]);
        assert_eq!(servers("rediss://user:secret@redis.example:7000/3"), ["redis.example:7000"]);
        assert_eq!(servers("unix:///run/redis.sock"), ["/run/redis.sock"]);
        assert_eq!(Address::parse("redis://localhost/3").map(|address| address.database()), Ok(3));
    }

    #[test]
    fn a_cluster_has_several_nodes_with_one_login() {
        let url = "redis+cluster://amzigo:p%40ss@a:7000,b,[::1]:7002/";
        assert_eq!(servers(url), ["a:7000", "b:6379", "::1:7002"]);
        let Ok(Address { form: Form::Cluster(nodes), .. }) = Address::parse(url) else { panic!("a Cluster") };
        for node in nodes {
            let login = node.redis_settings();
            assert_eq!((login.username(), login.password()), (Some("amzigo"), Some("p@ss")));
            assert!(!is_tls(node.addr()));
        }
        let Ok(Address { form: Form::Cluster(nodes), .. }) = Address::parse("rediss+cluster://a") else {
            panic!("a Cluster")
        };
        assert!(is_tls(nodes[0].addr()));
    }

    #[test]
    fn sentinels_name_their_service_and_may_have_a_login_of_their_own() {
        let url =
            "redis+sentinel://amzigo:one@a,b:7001/mymaster/2?sentinel_username=s&sentinel_password=t%26o";
        let Ok(Address { form: Form::Sentinel { sentinels, service, primary }, .. }) = Address::parse(url)
        else {
            panic!("Sentinels")
        };
        assert_eq!((service.as_str(), primary.db()), ("mymaster", 2));
        assert_eq!((primary.username(), primary.password()), (Some("amzigo"), Some("one")));
        let addresses: Vec<_> = sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        assert_eq!(addresses, ["a:26379", "b:7001"]);
        for sentinel in &sentinels {
            let login = sentinel.redis_settings();
            assert_eq!((login.username(), login.password(), login.db()), (Some("s"), Some("t&o"), 0));
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        let wrong = [
            ("127.0.0.1:6379", "`://`"),
            ("http://hunter2@host", "`http` is not a scheme"),
            ("redis-cluster://:hunter2@host", "write `redis+cluster`"),
            ("rediss-sentinel://:hunter2@host", "write `rediss+sentinel`"),
            (":hunter2@redis://host", "not a scheme"),
            ("redis://:hunter2@host:port", "did not parse"),
            ("redis://:hunter2@host/db", "database"),
            ("redis+cluster://:hunter2@host:port", "cannot be read"),
            ("redis+cluster://:hunter2@", "host"),
            ("redis+cluster://:hunter2@host,", "host"),
            ("redis+cluster://:hunter2@host/1", "one database only"),
            ("redis+cluster://a:h?hunter2@host", "cannot be read"),
            ("redis+cluster://host?hunter2", "nothing may follow"),
            ("redis+sentinel://:hunter2@host", "lacks the name of the service"),
            ("redis+sentinel://host/mymaster/hunter2", "not the number of a database"),
            ("redis+sentinel://host/mymaster?hunter2=1", "only sentinel_username"),
        ];
        for (url, expected) in wrong {
            let why = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(why.contains(expected), "{url}: {why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn nothing_secret_is_in_the_debug_output() {
        for url in [
            "redis://:hunter2@host",
            "redis+cluster://:hunter2@host",
            "redis+sentinel://:hunter2@host/m?sentinel_password=hunter2",
        ] {
            let shown = format!("{:?}", Address::parse(url).expect(url));
            assert!(shown.contains("host") && !shown.contains("hunter2"), "{shown}");
        }
    }
}
