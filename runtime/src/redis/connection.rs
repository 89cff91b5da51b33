//! The connection that everybody shares: to a server, to a Cluster, or to whom Sentinels name as the primary.
//!
//! A connection that was lost is opened anew by whoever needs it next; while that goes on the others wait for the same
//! attempt, and a failure is theirs too. An error is always told to the caller, whose command may or may not have been
//! carried out: everything that is sent through it may be repeated.
//!
//! Lost is also a server that no longer takes writes (after a failover the old primary lives on as a replica, behind a
//! connection that nothing ever closes), and one that leaves an answer out: its host may be gone without a word.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use redis::{
    Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
    aio::ConnectionLike,
    cluster_async::ClusterConnection,
    cluster_routing::{
        MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo, SingleNodeRoutingInfo, Slot, SlotAddr,
    },
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    address::{Address, Opened, Opener},
    advice::advise,
};
use crate::retry::{Decision, Limits, retry};

/// How long opening is tried before those who wait are told that it fails.
const OPENING: Limits = Limits {
    attempts: 4,
    total: Duration::from_secs(2),
    first_wait: Duration::from_millis(100),
    longest_wait: Duration::from_millis(500),
};
/// A connection that is younger than this is not opened anew because of an error: that would not help.
const YOUNG: Duration = Duration::from_secs(1);
/// Longest wait for any node of a Cluster to say that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A connection to Redis that comes back by itself. Cloning is cheap; all clones share what is below, on which commands
/// are pipelined.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    database: i64,
    /// Where in a Cluster a script was not known: that node has to load it, and no other.
    unknown_script_at: Option<Slot>,
}

struct Shared {
    current: RwLock<Option<Current>>,
    opening: Mutex<Opening>,
}

#[derive(Clone)]
struct Current {
    opened: Opened,
    number: u64,
    since: Instant,
}

struct Opening {
    opener: Opener,
    count: u64,
    failed: Option<(Instant, RedisError)>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is below would show the password.
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens it for the first time.
    pub(super) async fn open(address: &Address) -> RedisResult<Self> {
        let opening = Opening { opener: address.opener()?, count: 0, failed: None };
        let shared = Arc::new(Shared { current: RwLock::new(None), opening: Mutex::new(opening) });
        shared.current().await.map_err(advise)?;
        Ok(Self { shared, database: address.database(), unknown_script_at: None })
    }

    /// What `INFO` says of each server: of the only one, of all primaries of a Cluster, or of `all` its nodes that can
    /// be reached.
    pub(super) async fn info(&mut self, section: &str, all: bool) -> RedisResult<Vec<String>> {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        let current = self.shared.current().await.map_err(advise)?;
        let answer = match current.opened.clone() {
            Opened::Cluster(mut cluster) if all => {
                let everywhere = MultipleNodeRoutingInfo::AllNodes;
                let routing = RoutingInfo::MultiNode((everywhere, Some(ResponsePolicy::Special)));
                let answer = cluster.route_command(command, routing).await;
                self.shared.look_at(&current, answer.as_ref().err()).await;
                answer.map_err(advise)?
            }
            _ => self.req_packed_command(&command).await?,
        };
        match answer {
            Value::Map(nodes) => {
                nodes.into_iter().map(|(_, answer)| text_of(answer)).collect::<RedisResult<Vec<_>>>()
            }
            one => Ok(vec![text_of(one)?]),
        }
        .map_err(advise)
    }

    async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        let current = self.shared.current().await?;
        let answer = match current.opened.clone() {
            Opened::Server(mut server) => server.req_packed_command(command).await,
            Opened::Cluster(cluster) => self.ask_cluster(cluster, command).await,
        };
        let answer = answer.and_then(Value::extract_error);
        self.shared.look_at(&current, answer.as_ref().err()).await;
        answer
    }

    /// Where the library's way to a node is not good enough.
    async fn ask_cluster(&mut self, mut cluster: ClusterConnection, command: &Cmd) -> RedisResult<Value> {
        let argument = |nth| match command.args_iter().nth(nth) {
            Some(Arg::Simple(argument)) => Some(argument),
            _ => None,
        };
        match argument(0) {
            // One and the same node for everybody: the nodes' clocks may differ.
            Some(b"TIME") => cluster.route_command(command.clone(), to(Slot::for_key("time"))).await,
            // It would go to all nodes, and fail while any of them is away.
            Some(b"SCRIPT") if argument(1) == Some(b"LOAD") => match self.unknown_script_at.take() {
                Some(slot) => cluster.route_command(command.clone(), to(slot)).await,
                None => cluster.req_packed_command(command).await,
            },
            Some(b"EVALSHA") => {
                let answer = cluster.req_packed_command(command).await.and_then(Value::extract_error);
                let unknown = answer.as_ref().is_err_and(|error| is(error, ServerErrorKind::NoScript));
                self.unknown_script_at = argument(3).filter(|_| unknown).map(Slot::for_key);
                answer
            }
            _ => cluster.req_packed_command(command).await,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { self.ask(command).await.map_err(advise) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let current = self.shared.current().await.map_err(advise)?;
            let answers = match current.opened.clone() {
                Opened::Server(mut server) => server.req_packed_commands(pipeline, offset, count).await,
                Opened::Cluster(mut cluster) => cluster.req_packed_commands(pipeline, offset, count).await,
            };
            self.shared.look_at(&current, answers.as_ref().err()).await;
            answers.map_err(advise)
        })
    }

    fn get_db(&self) -> i64 {
        self.database
    }
}

impl Shared {
    async fn current(&self) -> RedisResult<Current> {
        let asked_at = Instant::now();
        if let Some(current) = self.peek() {
            return Ok(current);
        }
        let mut opening = self.opening.lock().await;
        if let Some(current) = self.peek() {
            return Ok(current);
        }
        if let Some((_, error)) = opening.failed.as_ref().filter(|(at, _)| *at >= asked_at) {
            return Err(error.clone());
        }
        match opening.open().await {
            Ok(current) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
                Ok(current)
            }
            Err(error) => {
                opening.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn peek(&self) -> Option<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives a connection up if an error says that it is of no use any more.
    async fn look_at(&self, used: &Current, error: Option<&RedisError>) {
        let Some(error) = error else { return };
        let lost = match &used.opened {
            Opened::Server(_) => error.is_unrecoverable_error() || error.is_io_error() || no_writes(error),
            // It mends itself, as long as any node is there to tell of the others; but of a node that hangs it never
            // learns that another one has taken over.
            Opened::Cluster(cluster) => {
                error.is_timeout()
                    || (error.is_unrecoverable_error() || error.is_io_error())
                        && !lives(cluster.clone()).await
            }
        };
        let closed = error.is_connection_dropped();
        if lost && (closed || used.since.elapsed() >= YOUNG) {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|current| current.number == used.number) {
                *current = None;
                tracing::debug!(%error, "opening the connection to Redis anew");
            }
        }
    }
}

impl Opening {
    async fn open(&mut self) -> RedisResult<Current> {
        // The library's clients are opened through `&mut`, and `retry` may not hold on to a borrow between attempts.
        let opener = Mutex::new(&mut self.opener);
        let opened =
            retry(OPENING, |_| Decision::Again, || async { opener.lock().await.open().await }).await?;
        self.count += 1;
        Ok(Current { opened, number: self.count, since: Instant::now() })
    }
}

fn to(slot: Slot) -> RoutingInfo {
    RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(Route::with_slot(slot, SlotAddr::Master)))
}

async fn lives(mut cluster: ClusterConnection) -> bool {
    let anybody =
        RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, Some(ResponsePolicy::OneSucceeded)));
    let ping = cluster.route_command(redis::cmd("PING"), anybody);
    matches!(tokio::time::timeout(SIGN_OF_LIFE, ping).await, Ok(Ok(_)))
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == ErrorKind::Server(kind)
}

fn no_writes(error: &RedisError) -> bool {
    is(error, ServerErrorKind::ReadOnly) || is(error, ServerErrorKind::MasterDown)
}

fn text_of(value: Value) -> RedisResult<String> {
    Ok(redis::from_redis_value(value.extract_error()?)?)
}
