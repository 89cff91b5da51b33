//! How often one client address may try to sign in.
//!
//! Kept in this process's memory, because it only slows down; what locks is counted in the database (see [`super::tries`]).
//! Passwords and passkeys have limits of their own, so that somebody who guesses passwords behind the same address keeps
//! nobody from a passkey.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use metrics::counter;

use crate::console::Console;

/// Tries of passwords, codes and links by one address in a minute, which may all come at once.
pub const GUESSES_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("not zero");
/// Ceremonies of passkeys that one address may begin in a minute, which may all come at once.
pub const PASSKEYS_A_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// So many addresses are remembered before those that have rested are forgotten.
const MOST_ADDRESSES: usize = 10_000;

/// The limits of this process.
#[derive(Debug)]
pub struct Limits {
    guesses: DefaultKeyedRateLimiter<IpAddr>,
    passkeys: DefaultKeyedRateLimiter<IpAddr>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            guesses: RateLimiter::keyed(Quota::per_minute(GUESSES_A_MINUTE)),
            passkeys: RateLimiter::keyed(Quota::per_minute(PASSKEYS_A_MINUTE)),
        }
    }
}

impl Limits {
    /// Counts a try of a password, a code or a link.
    ///
    /// # Errors
    /// With the time to wait, when this address has used up its tries.
    pub fn guess(&self, client: Client) -> Result<(), Duration> {
        count(&self.guesses, client)
    }

    /// Counts a ceremony of a passkey.
    ///
    /// # Errors
    /// With the time to wait, when this address has used up its ceremonies.
    pub fn passkey(&self, client: Client) -> Result<(), Duration> {
        count(&self.passkeys, client)
    }
}

fn count(limiter: &DefaultKeyedRateLimiter<IpAddr>, client: Client) -> Result<(), Duration> {
    if limiter.len() > MOST_ADDRESSES {
        limiter.retain_recent();
    }
    limiter.check_key(&client.0).map_err(|not_until| {
        counter!("sign_ins_limited_total").increment(1);
        not_until.wait_time_from(limiter.clock().now())
    })
}

/// Who asks, as far as limits go: an address, of IPv6 the network that one household has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(IpAddr);

impl Client {
    /// The peer; behind a proxy, which is where the console has a name of its own, the one that the proxy names last.
    fn of(peer: IpAddr, headers: &HeaderMap, behind_a_proxy: bool) -> Self {
        let named = headers
            .get_all("x-forwarded-for")
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok())
            .and_then(|hops| hops.rsplit(',').next())
            .and_then(|hop| hop.trim().parse().ok());
        let address = if behind_a_proxy { named.unwrap_or(peer) } else { peer };
        Self(match address.to_canonical() {
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            four @ IpAddr::V4(_) => four,
        })
    }
}

impl FromRequestParts<Console> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        Ok(Self::of(peer, &parts.headers, !console.origin.is_this_host()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_proxy_is_believed_and_only_its_own_word() {
        let peer: IpAddr = "10.0.0.9".parse().expect("an address");
        let client = |hops: &[&'static str], proxy| {
            let headers = hops
                .iter()
                .map(|hops| ("x-forwarded-for".parse().expect("a name"), HeaderValue::from_static(hops)));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value): (axum::http::HeaderName, _)| {
                map.append(name, value);
            });
            Client::of(peer, &map, proxy).0.to_string()
        };
        assert_eq!(client(&["1.2.3.4"], false), "10.0.0.9");
        assert_eq!(client(&["1.2.3.4, 5.6.7.8"], true), "5.6.7.8");
        assert_eq!(client(&["1.2.3.4", "9.9.9.9"], true), "9.9.9.9");
        assert_eq!(client(&["1.2.3.4, nonsense"], true), "10.0.0.9");
        assert_eq!(client(&[], true), "10.0.0.9");
        assert_eq!(client(&["2001:db8:1:2:3:4:5:6"], true), "2001:db8:1:2::");
        assert_eq!(client(&["::ffff:5.6.7.8"], true), "5.6.7.8");
    }

    #[test]
    fn an_address_that_guesses_too_much_waits_and_others_do_not() {
        let limits = Limits::default();
        let client = |text: &str| Client(text.parse().expect("an address"));
        for _ in 0..GUESSES_A_MINUTE.get() {
            assert_eq!(limits.guess(client("10.0.0.1")), Ok(()));
        }
        let wait = limits.guess(client("10.0.0.1")).expect_err("used up");
        assert!(wait <= Duration::from_secs(60), "{wait:?}");
        assert_eq!(limits.guess(client("10.0.0.2")), Ok(()));
        assert_eq!(limits.passkey(client("10.0.0.1")), Ok(()));
    }
}
