//! Free loopback ports, and randomness for passwords.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::error::{Error, Result};

/// Below the range the kernel takes outgoing connections' ports from: a server that is down for a moment, as in a test that restarts
/// it, must find its port again.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// Whether a server could listen on this port now.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Starts a server on a free port, the preferred one if it can be. Another process may take the port between the look and the start;
/// then a few others are tried.
pub(super) fn on_a_free_port<T>(
    preferred: Option<u16>,
    mut start: impl FnMut(u16) -> Result<T>,
) -> Result<T> {
    let mut port = preferred.filter(|port| is_free(*port)).map_or_else(free_port, Ok)?;
    for _ in 0..3 {
        match start(port) {
            Err(_) if !is_free(port) => port = free_port()?,
            ended => return ended,
        }
    }
    start(port)
}

/// A loopback port nobody listens on at this moment, for a server that needs one more.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    // A RandomState is keyed by the operating system, which is random enough for two processes not to search in step.
    let start = RandomState::new().hash_one(0) % u64::from(COUNT);
    (0..u64::from(COUNT))
        .map(|step| FIRST + u16::try_from((start + step) % u64::from(COUNT)).unwrap_or(0))
        .find(|port| is_free(*port))
        .ok_or_else(|| {
            Error::Advice(format!("no loopback port from {FIRST} to {} is free", FIRST + COUNT - 1))
        })
}

/// A password of 128 random bits, in letters and digits that need no escaping in a URL.
pub(super) fn random_password() -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::file("reading", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
