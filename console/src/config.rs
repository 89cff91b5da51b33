//! Settings of the console, from the environment.

use std::net::SocketAddr;

use runtime::env::{EnvError, Environment, Variable};
use thiserror::Error;

/// The variables that only the console reads.
pub const VARIABLES: &[Variable] = &[LISTEN];

/// Where the pages are.
pub const LISTEN: Variable = Variable {
    name: "AMZIGO_CONSOLE_LISTEN",
    doc: "Loopback address of the console's pages, /livez, /readyz and /metrics; port 0 picks a free one.",
    default: Some("127.0.0.1:8480"),
    example: "127.0.0.1:8480",
    secret: false,
};

/// Why the console does not listen where it was told to.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The setting is not an address.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// Others than this host could reach it.
    #[error(
        "the console does not listen on {0}: its pages have no sign-in yet, so only this host may reach them; \
         use a loopback address as 127.0.0.1:8480, and from elsewhere an SSH tunnel to it"
    )]
    NotLoopback(SocketAddr),
}

/// The address to listen on: the one given, else the environment's, else the default.
///
/// # Errors
/// When it is not an address, or not one of this host alone.
pub fn listen(given: Option<SocketAddr>, environment: &dyn Environment) -> Result<SocketAddr, ListenError> {
    let address = match given {
        Some(address) => address,
        None => LISTEN.parse(environment)?,
    };
    if address.ip().is_loopback() { Ok(address) } else { Err(ListenError::NotLoopback(address)) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_both_must_be_loopback() {
        let nothing = HashMap::new();
        let everywhere = HashMap::from([(LISTEN.name, "0.0.0.0:8480".to_owned())]);
        let local = "127.0.0.1:9".parse().expect("an address");
        assert_eq!(listen(None, &nothing).expect("the default").to_string(), "127.0.0.1:8480");
        assert_eq!(listen(Some(local), &everywhere).expect("the flag"), local);
        let six = "[::1]:1".parse().expect("an address");
        assert_eq!(listen(Some(six), &nothing).expect("loopback too"), six);
        assert!(matches!(listen(None, &everywhere), Err(ListenError::NotLoopback(_))));
    }

    #[test]
    fn examples_are_accepted() {
        let examples: HashMap<_, _> = VARIABLES.iter().map(|v| (v.name, v.example.to_owned())).collect();
        listen(None, &examples).expect("the example is right");
    }
}
