//! A private Redis (or Valkey): own folder, own loopback port, append-only file, no eviction.
//!
//! [`RedisServer`] is for tests, which kill and restart it; it ends with its owner. The workspace's own server is started through the
//! same [`Redis`], and outlives the command that starts it.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::port::on_a_free_port;
use crate::error::{Error, Result};
use crate::guarded::{Guarded, not_ready, spawn_logged};
use crate::process;

/// How long a Redis may take to come up or to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How a Redis is started: everything but the process.
#[derive(Debug)]
pub(super) struct Redis {
    /// The program, redis-server or valkey-server.
    pub(super) program: PathBuf,
    /// Where its append-only file, log and pid file are.
    pub(super) folder: PathBuf,
    /// The loopback port.
    pub(super) port: u16,
    /// A file of settings, where it must have one: it may write into it.
    pub(super) config: Option<PathBuf>,
    /// Options after ours, which they may override.
    pub(super) options: Vec<String>,
}

impl Redis {
    /// The program on this machine.
    pub(super) fn find() -> Option<PathBuf> {
        let usual = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/homebrew/opt/valkey/bin"];
        ["redis-server", "valkey-server"].into_iter().find_map(|name| {
            process::on_path(name).or_else(|| {
                usual.iter().map(|folder| Path::new(folder).join(name)).find(|program| program.is_file())
            })
        })
    }

    /// The URL of the server on this port.
    pub(super) fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}/0")
    }

    /// The process that serves `folder`, if one does: a pid file may name a process that is gone, or somebody else by now.
    pub(super) fn running_in(folder: &Path) -> Option<u32> {
        let pid = fs::read_to_string(pid_file(folder)).ok()?.trim().parse().ok()?;
        process::works_in(pid, folder).then_some(pid)
    }

    /// Whether the server on this port answers.
    pub(super) fn answers(port: u16) -> bool {
        Self::ping(port).is_ok_and(|answer| &answer == b"+PONG")
    }

    /// Whether the server on this port has not read all its data yet.
    fn loads(port: u16) -> bool {
        Self::ping(port).is_ok_and(|answer| &answer == b"-LOAD")
    }

    /// How its answer begins.
    fn ping(port: u16) -> std::io::Result<[u8; 5]> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    /// Starts it and waits until it answers.
    pub(super) fn launch(&self) -> Result<Child> {
        self.launch_until(Self::answers)
    }

    fn launch_until(&self, is_up: impl Fn(u16) -> bool) -> Result<Child> {
        let private = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        private.map_err(Error::file("creating", &self.folder))?;
        let folder = &fs::canonicalize(&self.folder).map_err(Error::file("looking up", &self.folder))?;
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(folder);
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.args(&self.config);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"]);
        command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]);
        command.args(["--maxmemory-policy", "noeviction"]);
        command.arg("--dir").arg(folder).arg("--pidfile").arg(pid_file(folder));
        command.args(&self.options);
        let log = folder.join("redis.log");
        let mut child = spawn_logged(&mut command, &log)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(not_ready("Redis", &mut child, format!("ended at once ({status})"), &log));
            }
            // The answer may come from a stranger who took the port first; ours then ends, which the next look sees.
            if is_up(self.port)
                && fs::read_to_string(pid_file(folder)).is_ok_and(|pid| pid.trim() == child.id().to_string())
            {
                return Ok(child);
            }
            if Instant::now() >= deadline {
                let what = format!("did not answer within {} s", PATIENCE.as_secs());
                return Err(not_ready("Redis", &mut child, what, &log));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("redis.pid")
}

/// A Redis of a test's own, which ends with the test's process at the latest.
#[derive(Debug)]
pub struct RedisServer {
    settings: Redis,
    running: Option<Guarded>,
}

impl RedisServer {
    /// Starts a Redis on a free loopback port that keeps its data in `folder` (made where it does not exist).
    ///
    /// # Errors
    /// When this machine has no Redis, or it does not answer within 10 s: then with the end of its log.
    pub fn start_in(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// Like [`RedisServer::start_in`], with options such as `["--maxmemory", "100mb"]` after ours, which they may override.
    ///
    /// # Errors
    /// As [`RedisServer::start_in`].
    pub fn start_with(folder: &Path, options: &[&str]) -> Result<Self> {
        Self::start(folder, None, options)
    }

    /// Starts a Sentinel with these lines of settings, such as `sentinel monitor NAME HOST PORT QUORUM`.
    ///
    /// # Errors
    /// As [`RedisServer::start_in`].
    pub fn start_sentinel(folder: &Path, lines: &[String]) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::file("creating", folder))?;
        let folder = &fs::canonicalize(folder).map_err(Error::file("looking up", folder))?;
        let config = folder.join("sentinel.conf");
        fs::write(&config, format!("{}\n", lines.join("\n"))).map_err(Error::file("writing", &config))?;
        Self::start(folder, Some(&config), &["--sentinel"])
    }

    fn start(folder: &Path, config: Option<&Path>, options: &[&str]) -> Result<Self> {
        let program = Redis::find().ok_or_else(|| {
            Error::Advice("this machine has neither redis-server nor valkey-server: run `cargo xtask services start`, which installs it".to_owned())
        })?;
        on_a_free_port(None, |port| {
            let settings = Redis {
                program: program.clone(),
                folder: folder.to_owned(),
                port,
                config: config.map(Path::to_owned),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
            };
            let mut server = Self { settings, running: None };
            server.start_again()?;
            Ok(server)
        })
    }

    /// Its URL; the same for its whole life, also while it is down.
    pub fn url(&self) -> String {
        Redis::url(self.settings.port)
    }

    /// Its loopback port; the same for its whole life.
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Guarded::pid)
    }

    /// Kills it with SIGKILL, as a crash would. What was not yet in the append-only file is lost. Does nothing when it is down.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), Guarded::kill_hard)
    }

    /// Stops it in good order: the append-only file is complete. Does nothing when it is down.
    ///
    /// # Errors
    /// When it had to be killed because it did not end within 10 s.
    pub fn stop(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), |guarded| guarded.stop("Redis", "TERM", PATIENCE).map(drop))
    }

    /// Starts it again on the same port, with the data it had. Does nothing when it runs.
    ///
    /// # Errors
    /// As [`RedisServer::start_in`].
    pub fn start_again(&mut self) -> Result<()> {
        if self.running.is_none() {
            self.running = Some(Guarded::new(self.settings.launch()?, "KILL")?);
        }
        Ok(())
    }

    /// As [`RedisServer::start_again`], but waits only until it has begun to read its data: options such as
    /// `--key-load-delay` make that last. Gives back whether it still reads.
    ///
    /// # Errors
    /// As [`RedisServer::start_in`].
    pub fn start_again_loading(&mut self) -> Result<bool> {
        if self.running.is_none() {
            let is_up = |port| Redis::loads(port) || Redis::answers(port);
            self.running = Some(Guarded::new(self.settings.launch_until(is_up)?, "KILL")?);
        }
        Ok(Redis::loads(self.settings.port))
    }

    /// Options for the next start, in place of those it was started with.
    pub fn set_options(&mut self, options: &[&str]) {
        self.settings.options = options.iter().map(|option| (*option).to_owned()).collect();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Err(error) = self.kill_hard() {
            eprintln!("ending a private Redis: {error}");
        }
    }
}
