//! Where people's browsers find the console: the one origin whose pages may send it anything.

use std::{fmt, net::SocketAddr, str::FromStr};

use thiserror::Error;
use url::{Host, Url};

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Url);

/// Why an origin was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OriginError {
    /// Not an address.
    #[error("`{0}` is not an origin; one looks like https://console.example")]
    Unreadable(String),
    /// Others could read what passes.
    #[error("`{0}` must begin with https://: only on this host (localhost) may pages travel unencrypted")]
    NotEncrypted(String),
}

impl Origin {
    /// The origin of a console that is reached on this host only.
    ///
    /// # Panics
    /// Never: the text is well formed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the text is well formed, whatever the port")]
    pub fn of_this_host(address: SocketAddr) -> Self {
        // Passkeys belong to a name; a number can have none.
        Self(Url::parse(&format!("http://localhost:{}", address.port())).expect("it is well formed"))
    }

    /// The name that passkeys belong to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// As browsers write it in `Origin`.
    #[must_use]
    pub fn ascii(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The origin as an address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The address of a page.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.ascii())
    }

    /// Whether only this host can reach it.
    #[must_use]
    pub fn is_this_host(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ascii())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| OriginError::Unreadable(text.to_owned()))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let named = url.host().is_some() && url.username().is_empty() && url.password().is_none();
        if !(bare && named && matches!(url.scheme(), "http" | "https")) {
            return Err(OriginError::Unreadable(text.to_owned()));
        }
        let origin = Self(url);
        if origin.0.scheme() == "http" && !origin.is_this_host() {
            return Err(OriginError::NotEncrypted(text.to_owned()));
        }
        Ok(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_encrypted_or_of_this_host() {
        for (text, ascii) in [
            ("https://console.example", "https://console.example"),
            ("https://console.example:8443/", "https://console.example:8443"),
            ("http://localhost:8480", "http://localhost:8480"),
        ] {
            assert_eq!(text.parse::<Origin>().map(|origin| origin.ascii()), Ok(ascii.to_owned()));
        }
        for text in [
            "",
            "console.example",
            "https://console.example/path",
            "https://user@console.example",
            "ftp://a.example",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError::Unreadable(text.to_owned())));
        }
        let open = "http://console.example";
        assert_eq!(open.parse::<Origin>(), Err(OriginError::NotEncrypted(open.to_owned())));
        let own = Origin::of_this_host(([127, 0, 0, 1], 81).into());
        assert_eq!((own.page("/jobs").as_str(), own.host()), ("http://localhost:81/jobs", "localhost"));
    }
}
