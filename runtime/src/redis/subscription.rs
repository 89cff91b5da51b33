//! Messages from channels, on a connection of their own that subscribes again whenever it was lost.
//!
//! A message that was sent meanwhile is gone. So after a gap every channel is reported once, as if it had a message: who
//! listens looks at what the channel tells of. All the same they should look now and then by themselves.

use std::{collections::VecDeque, time::Duration};

use redis::{
    Client, ConnectionAddr, PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    address::{Address, Listener, configuration},
    advice::advise,
};

/// How often a connection without messages is asked whether it still lives.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Between two attempts to subscribe.
const PAUSE: Duration = Duration::from_millis(500);

/// Messages from subscribed channels.
pub struct Subscription {
    listener: Listener,
    channels: Vec<String>,
    live: Option<Live>,
    /// Channels to report because messages may have been missed.
    missed: VecDeque<String>,
}

struct Live {
    connection: MultiplexedConnection,
    messages: mpsc::UnboundedReceiver<PushInfo>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Subscription {
    /// Subscribes.
    pub(super) async fn open(address: &Address, channels: &[String]) -> RedisResult<Self> {
        let mut listener = address.listener()?;
        let live = listener.subscribe(channels).await.map_err(advise)?;
        Ok(Self { listener, channels: channels.to_owned(), live: Some(live), missed: VecDeque::new() })
    }

    /// The channel of the next message, however long Redis is away. Dropping the wait loses nothing.
    pub async fn next_channel(&mut self) -> String {
        loop {
            if let Some(channel) = self.missed.pop_front() {
                return channel;
            }
            match &mut self.live {
                Some(live) => match live.next().await {
                    Ok(channel) => return channel,
                    Err(error) => {
                        let error = advise(error);
                        tracing::warn!(%error, "lost the connection for wake-ups; looking without them until it is back");
                        self.live = None;
                    }
                },
                None => match self.listener.subscribe(&self.channels).await {
                    Ok(live) => {
                        tracing::info!("wake-ups are heard again");
                        self.live = Some(live);
                        self.missed.extend(self.channels.iter().cloned());
                    }
                    Err(error) => {
                        tracing::debug!(error = %advise(error), "could not subscribe; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

impl Live {
    async fn next(&mut self) -> RedisResult<String> {
        loop {
            match timeout(ASK_EVERY, self.messages.recv()).await {
                Ok(Some(push)) if push.kind == PushKind::Message => {
                    if let Some(Ok(channel)) = push.data.first().map(redis::from_redis_value_ref::<String>) {
                        return Ok(channel);
                    }
                }
                Ok(Some(push)) if push.kind == PushKind::Disconnection => return Err(gone()),
                Ok(Some(_)) => {}
                Ok(None) => return Err(gone()),
                Err(_) => self
                    .connection
                    .req_packed_command(&redis::cmd("PING"))
                    .await?
                    .extract_error()
                    .map(drop)?,
            }
        }
    }
}

fn gone() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()
}

impl Listener {
    async fn subscribe(&mut self, channels: &[String]) -> RedisResult<Live> {
        match self {
            Self::Server(server) => subscribe_at(server, channels).await,
            Self::Primary(sentinels) => subscribe_at(&sentinels.async_get_client().await?, channels).await,
            Self::Cluster(nodes) => {
                let mut failed = gone();
                for nth in 0..nodes.len() {
                    match subscribe_at(&nodes[nth], channels).await {
                        Ok(mut live) => {
                            nodes.rotate_left(nth);
                            learn(nodes, &mut live.connection).await?;
                            return Ok(live);
                        }
                        Err(error) => failed = error,
                    }
                }
                // Should this one fail next time, another one is asked first.
                nodes.rotate_left(1);
                Err(failed)
            }
        }
    }
}

async fn subscribe_at(server: &Client, channels: &[String]) -> RedisResult<Live> {
    let (sender, messages) = mpsc::unbounded_channel();
    let config = configuration().set_push_sender(sender);
    let mut connection = server.get_multiplexed_async_connection_with_config(&config).await?;
    connection.subscribe(channels).await?;
    Ok(Live { connection, messages })
}

/// Adds the nodes that a Cluster has by now: those that were named at first may all be gone one day.
async fn learn(nodes: &mut Vec<Client>, connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let slots: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
    for node in slots.into_iter().flat_map(|range| range.into_iter().skip(2)) {
        let Value::Array(node) = node else { continue };
        let mut node = node.into_iter();
        let (Some(host), Some(port)) = (node.next(), node.next()) else { continue };
        let (host, port) = (redis::from_redis_value::<String>(host)?, redis::from_redis_value::<u16>(port)?);
        let Some(info) = nodes.first().map(|known| known.get_connection_info().clone()) else { continue };
        let address = match info.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let known = |node: &Client| node.get_connection_info().addr().to_string() == address.to_string();
        if !nodes.iter().any(known) {
            nodes.push(Client::open(info.set_addr(address))?);
        }
    }
    Ok(())
}
