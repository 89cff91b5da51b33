//! What this checkout remembers of its services between two commands, and the locks that keep two commands apart.
//!
//! Everything lies in `target/services`: `state` (mode 0600, it holds the password), `lock` (held while services are started or stopped)
//! and `in-use` (held, shared, by every run that needs them). Locks belong to open files, so a killed command holds none.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Service;
use super::port::random_password;
use crate::error::{Error, Result};

/// Who runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A process of this checkout's own.
    Private,
    /// A container of `deploy/compose.yaml`.
    Docker,
}

/// Where a service was started last. It may have ended since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Host,
    /// On the loopback interface.
    pub(super) port: u16,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Whether the services stay when the run that needed them ends: `services start` was asked for by name.
    pub(super) keep: bool,
    pub(super) redis: Option<Place>,
    pub(super) postgres: Option<Place>,
    /// Of Postgres' superuser.
    pub(super) password: String,
}

impl State {
    /// Reads what is remembered in `folder`; where nothing is (or nothing legible), begins with a new password.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        match fs::read_to_string(folder.join("state")).ok().and_then(|text| Self::parse(&text)) {
            Some(state) => Ok(state),
            None => Ok(Self { keep: false, redis: None, postgres: None, password: random_password()? }),
        }
    }

    /// Writes it, in one step, so that a reader sees the old or the new.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let (path, unfinished) = (folder.join("state"), folder.join("state.new"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        file.and_then(|mut file| file.write_all(self.text().as_bytes()))
            .map_err(Error::file("writing", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(Error::file("writing", &path))
    }

    /// Where a service was started last.
    pub(super) fn place(&self, service: Service) -> Option<Place> {
        match service {
            Service::Redis => self.redis,
            Service::Postgres => self.postgres,
        }
    }

    /// Remembers where a service was started.
    pub(super) fn set_place(&mut self, service: Service, place: Place) {
        match service {
            Service::Redis => self.redis = Some(place),
            Service::Postgres => self.postgres = Some(place),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("keep={}\npassword={}\n", self.keep, self.password);
        for (name, place) in [("redis", self.redis), ("postgres", self.postgres)] {
            if let Some(Place { host, port }) = place {
                let host = if host == Host::Private { "private" } else { "docker" };
                text.push_str(&format!("{name}={host}:{port}\n"));
            }
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let place = |name| {
            let (host, port) = value(name)?.split_once(':')?;
            let host = match host {
                "private" => Host::Private,
                "docker" => Host::Docker,
                _ => return None,
            };
            Some(Place { host, port: port.parse().ok()? })
        };
        Some(Self {
            keep: value("keep")?.parse().ok()?,
            redis: place("redis"),
            postgres: place("postgres"),
            password: value("password")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let state = State {
            keep: true,
            redis: Some(Place { host: Host::Docker, port: 15_001 }),
            postgres: None,
            password: "0123abcd".to_owned(),
        };
        assert_eq!(State::parse(&state.text()), Some(state));
    }

    #[test]
    fn a_place_of_an_unknown_host_is_no_place() {
        let state = State::parse("keep=false\npassword=x\nredis=elsewhere:1\npostgres=private:15002\n")
            .expect("legible");
        assert_eq!((state.redis, state.postgres), (None, Some(Place { host: Host::Private, port: 15_002 })));
    }
}
