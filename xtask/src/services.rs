//! Redis and Postgres for a checkout: found, started, shared by the commands that need them, stopped.
//!
//! `REDIS_URL` and `DATABASE_URL` are used where they are set, each on its own. What is not given runs as a private server where its
//! program is on the machine, else as a container where a Docker engine answers, else the program is installed first. Starting twice
//! is starting once. Two commands at once share the servers, and the last one out stops them, unless `services start` asked for them
//! to stay. A killed command stops nothing; the next one to end does.
//!
//! [`RedisServer`] and [`PostgresServer`] are apart from all that: servers of a test's own, to be killed and restarted.

mod account;
mod docker;
mod install;
mod lease;
mod port;
mod postgres;
mod redis;
mod state;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Child;

pub use self::lease::Lease;
pub use self::port::free_port;
pub use self::postgres::PostgresServer;
pub use self::redis::RedisServer;

use self::account::{Home, remove_folder};
use self::docker::Compose;
use self::port::on_a_free_port;
use self::postgres::Postgres;
use self::redis::Redis;
use self::state::{Host, Place, State};
use crate::error::{Error, Result};
use crate::process::{self, Interrupts};
use crate::turn::{lock_file, take_turn};

/// What a command does while others wait for their turn.
const TURN: &str = "starting or stopping services";

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Redis or Valkey.
    Redis,
    /// Postgres.
    Postgres,
}

impl Service {
    /// Both, in the order they are started.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Postgres];

    /// Its name in messages, in the state file and in `deploy/compose.yaml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// The environment variable that gives its URL.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_URL",
            Self::Postgres => "DATABASE_URL",
        }
    }
}

/// Where both services are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    /// As for `REDIS_URL`.
    pub redis: String,
    /// As for `DATABASE_URL`.
    pub postgres: String,
}

/// URLs that are given from outside, by service; for what is not given, a service is started.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The value of `REDIS_URL`.
    pub redis: Option<String>,
    /// The value of `DATABASE_URL`.
    pub postgres: Option<String>,
}

/// The services of one checkout.
pub struct Services {
    root: PathBuf,
    folder: PathBuf,
    given: Given,
    say: fn(&str),
    interrupts: Interrupts,
    /// The servers this very command started: it is their parent, so they vanish only when it has waited for them.
    children: RefCell<Vec<Child>>,
}

impl Services {
    /// The services of the checkout at `root`, whose data lies in `folder`. What is done is told through `say`, a line at a time;
    /// waiting for another command ends with an interrupt.
    pub fn new(root: &Path, folder: &Path, given: Given, say: fn(&str), interrupts: Interrupts) -> Self {
        Self {
            root: root.to_owned(),
            folder: folder.to_owned(),
            given,
            say,
            interrupts,
            children: RefCell::default(),
        }
    }

    /// Starts what does not run, and keeps it until [`Services::stop`].
    ///
    /// # Errors
    /// When a server does not come up, or its program is missing and cannot be installed.
    pub fn start(&self) -> Result<Urls> {
        let _turn = take_turn(&self.folder, TURN, self.say, &self.interrupts)?;
        let mut state = State::load(&self.folder)?;
        state.keep = true;
        state.save(&self.folder)?;
        self.bring_up(&mut state)
    }

    /// Stops what this checkout started. While a command uses them it only takes back that they stay; returns false then.
    ///
    /// # Errors
    /// When a server does not end.
    pub fn stop(&self) -> Result<bool> {
        let _turn = take_turn(&self.folder, TURN, self.say, &self.interrupts)?;
        let mut state = State::load(&self.folder)?;
        state.keep = false;
        state.save(&self.folder)?;
        let (in_use, _) = lock_file(&self.folder, "in-use")?;
        if in_use.try_lock().is_err() {
            return Ok(false);
        }
        self.bring_down(&state).map(|()| true)
    }

    /// Where the services are that run now.
    ///
    /// # Errors
    /// When one does not run.
    pub fn urls(&self) -> Result<Urls> {
        let state = State::load(&self.folder)?;
        let url = |service: Service| {
            self.url(service, &state)
                .filter(|_| self.given(service).is_some() || self.is_running(service, &state))
                .ok_or_else(|| {
                    Error::Advice(format!(
                        "{} does not run: start it with `cargo xtask services start`",
                        service.name()
                    ))
                })
        };
        Ok(Urls { redis: url(Service::Redis)?, postgres: url(Service::Postgres)? })
    }

    /// Tells of each service whether it is there (or given), and a line about it for people.
    ///
    /// # Errors
    /// When what is remembered cannot be read.
    pub fn status(&self) -> Result<Vec<(Service, bool, String)>> {
        let state = State::load(&self.folder)?;
        Ok(Service::ALL
            .into_iter()
            .map(|service| {
                let running = self.is_running(service, &state);
                let line = match (self.given(service), state.place(service)) {
                    (Some(_), _) => return (service, true, format!("given by {}", service.variable())),
                    (None, Some(Place { host: Host::Docker, port })) if running => {
                        format!("running in Docker on 127.0.0.1:{port}")
                    }
                    (None, Some(Place { port, .. })) if running => {
                        let pid = self.pid(service).map(|pid| pid.to_string()).unwrap_or_default();
                        let stays = if state.keep { "" } else { ", until the command that needs it ends" };
                        let folder = self.folder.join(service.name());
                        format!(
                            "running on 127.0.0.1:{port}, process {pid}, data in {}{stays}",
                            folder.display()
                        )
                    }
                    _ => "stopped".to_owned(),
                };
                (service, running, line)
            })
            .collect())
    }

    /// Starts what is neither given nor running, by the first way that this machine offers.
    fn bring_up(&self, state: &mut State) -> Result<Urls> {
        let mut missing = Vec::new();
        for service in Service::ALL {
            if self.given(service).is_none()
                && !self.is_running(service, state)
                && !self.start_private(service, state)?
            {
                missing.push(service);
            }
        }
        if !missing.is_empty() && docker::is_usable() {
            self.start_containers(&missing, state)?;
        } else if !missing.is_empty() {
            install::install(&missing, self.say)?;
            for service in missing {
                if !self.start_private(service, state)? {
                    let why =
                        format!("{} was installed, and still no program of it can be found", service.name());
                    return Err(Error::Advice(install::advice(&[service], &why)));
                }
            }
        }
        let url = |service| self.url(service, state).unwrap_or_default();
        Ok(Urls { redis: url(Service::Redis), postgres: url(Service::Postgres) })
    }

    /// Starts a private server, unless its program is not on this machine (false).
    fn start_private(&self, service: Service, state: &mut State) -> Result<bool> {
        let folder = self.folder.join(service.name());
        let preferred =
            state.place(service).filter(|place| place.host == Host::Private).map(|place| place.port);
        let (port, child) = match service {
            Service::Redis => {
                let Some(program) = Redis::find() else { return Ok(false) };
                (self.say)(&format!("starting Redis ({})", program.display()));
                on_a_free_port(preferred, |port| {
                    let redis = Redis {
                        program: program.clone(),
                        folder: folder.clone(),
                        port,
                        config: None,
                        options: Vec::new(),
                    };
                    Ok((port, redis.launch()?))
                })?
            }
            Service::Postgres => {
                let Some(programs) = Postgres::find() else { return Ok(false) };
                (self.say)(&format!("starting Postgres ({})", programs.display()));
                if preferred.is_none() {
                    self.forget_cluster()?;
                }
                on_a_free_port(preferred, |port| {
                    let home = Home::prepare(&folder)?;
                    let password = state.password.clone();
                    let postgres =
                        Postgres { programs: programs.clone(), home, port, password, options: Vec::new() };
                    Ok((port, postgres.launch()?))
                })?
            }
        };
        // The server may outlive this command: dropping the handle of a child leaves it alone.
        self.children.borrow_mut().push(child);
        state.set_place(service, Place { host: Host::Private, port });
        state.save(&self.folder)?;
        Ok(true)
    }

    /// A cluster that is not remembered (after `cargo clean`, where it lies outside target/) has a password nobody knows.
    fn forget_cluster(&self) -> Result<()> {
        let folder = Home::prepare(&self.folder.join("postgres"))?.folder;
        if let Some(pid) = Postgres::running_in(&folder) {
            end(Service::Postgres, pid, &folder.join("data"))?;
        }
        remove_folder(&folder.join("data"))
    }

    fn start_containers(&self, missing: &[Service], state: &mut State) -> Result<()> {
        (self.say)("starting what is missing with Docker (deploy/compose.yaml)");
        for service in missing {
            let preferred = state.place(*service).map(|place| place.port);
            let port = on_a_free_port(preferred, Ok)?;
            state.set_place(*service, Place { host: Host::Docker, port });
        }
        state.save(&self.folder)?;
        self.compose(state).up(missing)
    }

    fn bring_down(&self, state: &State) -> Result<()> {
        for service in Service::ALL {
            let folder = self.folder.join(service.name());
            if let Some(pid) = self.pid(service) {
                (self.say)(&format!("stopping {}", service.name()));
                let data = if service == Service::Postgres { folder.join("data") } else { folder };
                end(service, pid, &data)?;
                for child in self.children.borrow_mut().iter_mut().filter(|child| child.id() == pid) {
                    child.wait().map_err(Error::file("waiting for the server in", &data))?;
                }
            } else if state.place(service).is_some_and(|place| place.host == Host::Docker)
                && self.is_running(service, state)
            {
                (self.say)(&format!("stopping {} in Docker", service.name()));
                self.compose(state).stop(&[service])?;
            }
        }
        Ok(())
    }

    fn given(&self, service: Service) -> Option<&str> {
        let url = match service {
            Service::Redis => &self.given.redis,
            Service::Postgres => &self.given.postgres,
        };
        url.as_deref().filter(|url| !url.is_empty())
    }

    fn url(&self, service: Service, state: &State) -> Option<String> {
        if let Some(url) = self.given(service) {
            return Some(url.to_owned());
        }
        let port = state.place(service)?.port;
        Some(match service {
            Service::Redis => Redis::url(port),
            Service::Postgres => Postgres::url(port, &state.password),
        })
    }

    fn is_running(&self, service: Service, state: &State) -> bool {
        match state.place(service).map(|place| place.host) {
            Some(Host::Private) => self.pid(service).is_some(),
            Some(Host::Docker) => self.compose(state).is_running(service),
            None => false,
        }
    }

    /// The process of a private server that runs.
    fn pid(&self, service: Service) -> Option<u32> {
        let folder = self.folder.join(service.name());
        match service {
            Service::Redis => Redis::running_in(&folder),
            Service::Postgres => Postgres::running_in(&folder),
        }
    }

    fn compose<'a>(&'a self, state: &'a State) -> Compose<'a> {
        let port = |service| state.place(service).map_or(0, |place| place.port);
        Compose {
            root: &self.root,
            redis_port: port(Service::Redis),
            postgres_port: port(Service::Postgres),
            password: &state.password,
        }
    }
}

/// Installs those of the programs that this machine lacks, for whoever starts a [`RedisServer`] or [`PostgresServer`]; says so
/// first. Starts nothing.
///
/// # Errors
/// When they cannot be installed; then with what to do.
pub fn install_programs(services: &[Service], say: fn(&str)) -> Result<()> {
    let found = |service: &Service| match service {
        Service::Redis => Redis::find().is_some(),
        Service::Postgres => Postgres::find().is_some(),
    };
    let missing: Vec<_> = services.iter().filter(|service| !found(service)).copied().collect();
    if missing.is_empty() { Ok(()) } else { install::install(&missing, say) }
}

/// A program that came with this machine's Postgres server, as `psql` often does.
pub fn postgres_program(name: &str) -> Option<PathBuf> {
    Postgres::find().map(|folder| folder.join(name)).filter(|program| program.is_file())
}

/// Ends a server that is not our child, and waits until it is gone.
fn end(service: Service, pid: u32, data: &Path) -> Result<()> {
    let (server, signal, within) = match service {
        Service::Redis => ("Redis", "TERM", redis::PATIENCE),
        // INT is Postgres' fast shutdown: it cuts open connections instead of waiting for them.
        Service::Postgres => ("Postgres", "INT", postgres::PATIENCE),
    };
    process::signal(&pid.to_string(), signal);
    let gone = process::wait_until(within, || !process::works_in(pid, data));
    if gone { Ok(()) } else { Err(Error::StillRunning { server, pid, within }) }
}
