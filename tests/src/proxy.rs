//! A TCP proxy on loopback between our processes and a server, for breaking the way between them: cut, refused, slow, or
//! hanging, while both ends are well.
//!
//! It runs on a thread of its own, so that a caller which blocks (waiting for a process to start, say) does not hold up
//! what passes. It ends when it is dropped, with every connection. It knows nothing of what it carries.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

/// Most bytes that are carried at once; each such piece is late by the latency of a slow way.
const PIECE_BYTES: usize = 16 * 1024;

/// How the way between the two ends is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What comes in goes out.
    Open,
    /// Each piece is late by this much, in each direction.
    Slow(Duration),
    /// Connections stay and new ones are taken, but nothing passes. What waits goes out when the way is open again.
    Hung,
    /// New connections are reset at once, and those that there were.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct State {
    way: Way,
    cuts: u64,
}

/// A proxy before one server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    /// Listens on a free loopback port for connections to the server on loopback port `server`, which may come and go.
    ///
    /// # Errors
    /// When there is no free port, or no thread can be started.
    pub fn before(server: u16) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a proxy")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (sender, state) = watch::channel(State { way: Way::Open, cuts: 0 });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("proxy {port}")).spawn(move || {
            // Both ends of what fails see a closed connection, which is what this is for.
            runtime.block_on(serve(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, server)), state)).ok();
        })?;
        Ok(Self { port, state: sender })
    }

    /// Where it listens; the same for its whole life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection there is. New ones are taken as before.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Changes how the way is, for connections that there are and for new ones.
    pub fn set(&self, way: Way) {
        self.state.send_modify(|state| state.way = way);
    }
}

async fn serve(
    listener: std::net::TcpListener,
    server: SocketAddr,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    tokio::spawn(carry(client, server, state.clone()));
                }
                // Too many open files, or a client that is gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            changed = state.changed() => if changed.is_err() {
                return Ok(());
            },
        }
    }
}

/// Carries one connection until an end closes it or it is cut. A server that is away looks like one that resets.
async fn carry(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let State { way, cuts } = *state.borrow();
    let connected = if way == Way::Refused { None } else { TcpStream::connect(server).await.ok() };
    let Some(mut server) = connected else {
        client.set_zero_linger().ok();
        return;
    };
    // Small messages must not wait for more: that would be a slow way that nobody asked for.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (there, back) = (state.clone(), state.clone());
    let broken = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            carried = async { tokio::try_join!(pump(from_client, to_server, there), pump(from_server, to_client, back)) } => {
                carried.is_err()
            }
            _ = state.wait_for(|state| state.cuts != cuts || state.way == Way::Refused) => true,
        }
    };
    if broken {
        // As if the way had broken: no polite goodbye, and what is under way is lost.
        client.set_zero_linger().ok();
        server.set_zero_linger().ok();
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        pass(&mut state).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// Returns when a piece may pass.
async fn pass(state: &mut watch::Receiver<State>) {
    loop {
        let way = state.borrow_and_update().way;
        match way {
            Way::Open => return,
            Way::Slow(latency) => return tokio::time::sleep(latency).await,
            Way::Hung | Way::Refused => {
                if state.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read, Write},
        net::TcpListener,
        time::Instant,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A server that says what it is told.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut piece = [0; 64];
                    while let Ok(length @ 1..) = stream.read(&mut piece) {
                        if stream.write_all(&piece[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    fn connect(proxy: &Proxy) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(stream: &mut std::net::TcpStream) -> std::io::Result<[u8; 5]> {
        stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn what_comes_in_goes_out() {
        let proxy = Proxy::before(echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(&ask(&mut stream).unwrap(), b"hello");
        proxy.set(Way::Slow(Duration::from_millis(60)));
        let asked_at = Instant::now();
        assert_eq!(&ask(&mut stream).unwrap(), b"hello");
        assert!(asked_at.elapsed() >= Duration::from_millis(120), "late there and back");
    }

    #[test]
    fn a_cut_ends_connections_and_new_ones_are_taken() {
        let proxy = Proxy::before(echo()).unwrap();
        let mut stream = connect(&proxy);
        ask(&mut stream).unwrap();
        proxy.cut();
        let mut answer = [0; 1];
        assert_eq!(stream.read(&mut answer).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(&ask(&mut connect(&proxy)).unwrap(), b"hello");
    }

    #[test]
    fn while_refused_nobody_gets_through() {
        let proxy = Proxy::before(echo()).unwrap();
        let mut stream = connect(&proxy);
        ask(&mut stream).unwrap();
        proxy.set(Way::Refused);
        let mut answer = [0; 1];
        assert!(matches!(stream.read(&mut answer), Ok(0) | Err(_)), "what there was has ended");
        assert!(ask(&mut connect(&proxy)).is_err());
        proxy.set(Way::Open);
        assert_eq!(&ask(&mut connect(&proxy)).unwrap(), b"hello");
    }

    #[test]
    fn what_hangs_is_there_afterwards() {
        let proxy = Proxy::before(echo()).unwrap();
        let mut stream = connect(&proxy);
        ask(&mut stream).unwrap();
        proxy.set(Way::Hung);
        stream.write_all(b"later").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answer = [0; 5];
        let nothing = stream.read(&mut answer).unwrap_err().kind();
        assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing:?}");
        proxy.set(Way::Open);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"later");
    }

    #[test]
    fn a_server_that_is_away_is_like_one_that_hangs_up() {
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let proxy = Proxy::before(nobody).unwrap();
        assert!(ask(&mut connect(&proxy)).is_err());
    }
}
