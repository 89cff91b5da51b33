//! Settings of the console, from the environment.

use std::net::SocketAddr;

use jobs::config::leads_to_amazon;
use runtime::env::{EnvError, Environment, Variable};
use thiserror::Error;

use crate::origin::Origin;

/// The variables that only the console reads.
pub const VARIABLES: &[Variable] = &[LISTEN, ORIGIN, API_LISTEN];

/// Where the pages are.
pub const LISTEN: Variable = Variable {
    name: "AMZIGO_CONSOLE_LISTEN",
    doc: "Address of the console's pages, /livez, /readyz and /metrics; port 0 picks a free one. Others than loopback need AMZIGO_CONSOLE_ORIGIN.",
    default: Some("127.0.0.1:8480"),
    example: "127.0.0.1:8480",
    secret: false,
};

/// Where browsers find the pages.
pub const ORIGIN: Variable = Variable {
    name: "AMZIGO_CONSOLE_ORIGIN",
    doc: "Where browsers find the console, through a proxy that ends TLS and leaves Host and Origin as they are. Without it: http://localhost and the port.",
    default: None,
    example: "https://console.example",
    secret: false,
};

/// Where the API is.
pub const API_LISTEN: Variable = Variable {
    name: "AMZIGO_API_LISTEN",
    doc: "Address of the HTTP API for programs; port 0 picks a free one. Others than loopback only behind a proxy that ends TLS, as AMZIGO_CONSOLE_ORIGIN says.",
    default: Some("127.0.0.1:8481"),
    example: "127.0.0.1:8481",
    secret: false,
};

/// Why the console does not listen where it was told to.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The setting is not an address.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// Others could read what passes.
    #[error(
        "the console does not listen on {0}: others could read what passes. Set AMZIGO_CONSOLE_ORIGIN to the https:// \
         address of a proxy before it, or use a loopback address as 127.0.0.1:8480 and an SSH tunnel"
    )]
    NotLoopback(SocketAddr),
}

/// Where to listen, and where browsers find that.
#[derive(Debug, PartialEq, Eq)]
pub struct Listen {
    /// To listen on.
    pub address: SocketAddr,
    /// As browsers have it; `None` is this host, at the port that is listened on.
    pub origin: Option<Origin>,
}

/// The address to listen on: the one given, else the environment's, else the default.
///
/// # Errors
/// When a setting cannot be read, or others than this host could reach the address and browsers would come unencrypted.
pub fn listen(given: Option<SocketAddr>, environment: &dyn Environment) -> Result<Listen, ListenError> {
    let address = match given {
        Some(address) => address,
        None => LISTEN.parse(environment)?,
    };
    let origin = match environment.get(ORIGIN.name) {
        Some(_) => Some(ORIGIN.parse::<Origin>(environment)?),
        None => None,
    };
    let encrypted = origin.as_ref().is_some_and(|origin| !origin.is_this_host());
    if address.ip().is_loopback() || encrypted {
        Ok(Listen { address, origin })
    } else {
        Err(ListenError::NotLoopback(address))
    }
}

/// Why a console signs nobody in without a factor.
#[derive(Debug, Error)]
pub enum NoDemo {
    /// A setting cannot be read.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// Others could use the link.
    #[error(
        "--demo signs in whoever has its link, so the console must be for this host alone: listen on loopback, as on \
         127.0.0.1:8480, and leave AMZIGO_CONSOLE_ORIGIN away"
    )]
    NotThisHost,
    /// Amazon's own data could be reached.
    #[error(
        "--demo signs in whoever has its link, so Amazon must be a stand-in on this host: {variable} does not lead to one. \
         `cargo xtask demo` starts everything as it should be"
    )]
    Amazon {
        /// The setting that leads to Amazon.
        variable: &'static str,
    },
}

/// Whether somebody may be signed in without a factor by a console with these settings: only this host reaches it, and it
/// belongs to a system that does not reach Amazon.
///
/// # Errors
/// When that is not so, or a setting is wrong.
pub fn demo_is_safe(
    address: SocketAddr,
    origin: Option<&Origin>,
    environment: &dyn Environment,
) -> Result<(), NoDemo> {
    if !address.ip().is_loopback() || origin.is_some_and(|origin| !origin.is_this_host()) {
        return Err(NoDemo::NotThisHost);
    }
    match leads_to_amazon(environment)? {
        Some(variable) => Err(NoDemo::Amazon { variable: variable.name }),
        None => Ok(()),
    }
}

/// The address on which the API listens: the one given, else the environment's, else the default. `origin` is that of
/// [`listen`].
///
/// # Errors
/// When a setting cannot be read, or others than this host could reach the address and would come unencrypted.
pub fn api_listen(
    given: Option<SocketAddr>,
    origin: Option<&Origin>,
    environment: &dyn Environment,
) -> Result<SocketAddr, ListenError> {
    let address = match given {
        Some(address) => address,
        None => API_LISTEN.parse(environment)?,
    };
    let encrypted = origin.is_some_and(|origin| !origin.is_this_host());
    if address.ip().is_loopback() || encrypted { Ok(address) } else { Err(ListenError::NotLoopback(address)) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_others_come_encrypted() {
        let nothing = HashMap::new();
        let everywhere = HashMap::from([(LISTEN.name, "0.0.0.0:8480".to_owned())]);
        let local = "127.0.0.1:9".parse().expect("an address");
        let address =
            |given, environment: &HashMap<_, _>| listen(given, environment).map(|listen| listen.address);
        assert_eq!(address(None, &nothing).expect("the default").to_string(), "127.0.0.1:8480");
        assert_eq!(address(Some(local), &everywhere).expect("the flag"), local);
        let six = "[::1]:1".parse().expect("an address");
        assert_eq!(address(Some(six), &nothing).expect("loopback too"), six);
        assert!(matches!(listen(None, &everywhere), Err(ListenError::NotLoopback(_))));
        let mut behind_a_proxy = everywhere;
        behind_a_proxy.insert(ORIGIN.name, "https://console.example".to_owned());
        let listens = listen(None, &behind_a_proxy).expect("a proxy ends TLS");
        assert_eq!(listens.origin.map(|origin| origin.ascii()), Some("https://console.example".to_owned()));
        behind_a_proxy.insert(ORIGIN.name, "http://localhost:8480".to_owned());
        assert!(matches!(listen(None, &behind_a_proxy), Err(ListenError::NotLoopback(_))));
        behind_a_proxy.insert(ORIGIN.name, "http://console.example".to_owned());
        assert!(matches!(listen(None, &behind_a_proxy), Err(ListenError::Setting(_))));
    }

    #[test]
    fn a_demo_is_for_this_host_and_a_stand_in() {
        let sandbox = HashMap::from([
            ("SP_API_ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("LWA_ENDPOINT", "http://127.0.0.1:9/auth/o2/token".to_owned()),
        ]);
        let local: SocketAddr = "127.0.0.1:8480".parse().expect("an address");
        let origin = |text: &str| text.parse::<Origin>().expect("an origin");
        demo_is_safe(local, None, &sandbox).expect("it is");
        demo_is_safe(local, Some(&origin("http://localhost:8480")), &sandbox).expect("it is");
        let outside = "0.0.0.0:8480".parse().expect("an address");
        for (address, origin) in [(outside, None), (local, Some(origin("https://console.example")))] {
            let refused = demo_is_safe(address, origin.as_ref(), &sandbox);
            assert!(matches!(refused, Err(NoDemo::NotThisHost)), "{address} {origin:?}");
        }
        let real = HashMap::new();
        assert!(matches!(demo_is_safe(local, None, &real), Err(NoDemo::Amazon { .. })));
    }

    #[test]
    fn the_api_listens_to_others_only_behind_the_same_proxy() {
        let everywhere = HashMap::from([(API_LISTEN.name, "0.0.0.0:8481".to_owned())]);
        assert_eq!(
            api_listen(None, None, &HashMap::new()).expect("the default").to_string(),
            "127.0.0.1:8481"
        );
        assert!(matches!(api_listen(None, None, &everywhere), Err(ListenError::NotLoopback(_))));
        let origin = |text: &str| text.parse::<Origin>().expect("an origin");
        assert!(api_listen(None, Some(&origin("http://localhost:8480")), &everywhere).is_err());
        assert!(api_listen(None, Some(&origin("https://console.example")), &everywhere).is_ok());
    }

    #[test]
    fn examples_are_accepted() {
        let examples: HashMap<_, _> = VARIABLES.iter().map(|v| (v.name, v.example.to_owned())).collect();
        listen(None, &examples).expect("the example is right");
    }
}
