//! A private Postgres: own cluster, own loopback port, a random password, an unprivileged user when root asks.
//!
//! [`PostgresServer`] is for tests, which kill and restart it; it ends with its owner. The workspace's own server is started through
//! the same [`Postgres`], and outlives the command that starts it. A cluster is made beside its place and moved there when complete,
//! so that an interrupted start is simply begun again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::account::{Home, remove_file, remove_folder};
use super::port::{on_a_free_port, random_password};
use crate::error::{Error, Result};
use crate::guarded::{Guarded, not_ready, spawn_logged};
use crate::process::{self, spawning};

/// How long a Postgres may take to come up or to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Tests run side by side, each with a pool or two.
const OPTIONS: [&str; 4] =
    ["max_connections=200", "timezone=UTC", "log_timezone=UTC", "logging_collector=off"];

/// How a Postgres is started: everything but the process.
#[derive(Debug)]
pub(super) struct Postgres {
    /// The folder of `postgres` and `initdb`.
    pub(super) programs: PathBuf,
    /// Where the cluster and the log are.
    pub(super) home: Home,
    /// The loopback port.
    pub(super) port: u16,
    /// Of the superuser `amzigo`.
    pub(super) password: String,
    /// Settings after ours, as in `fsync=off`, which they may override.
    pub(super) options: Vec<String>,
}

impl Postgres {
    /// The folder of this machine's newest Postgres programs.
    pub(super) fn find() -> Option<PathBuf> {
        let complete =
            |folder: &PathBuf| folder.join("postgres").is_file() && folder.join("initdb").is_file();
        let versioned = [
            ("/usr/lib/postgresql", "", "bin"),
            ("/usr", "pgsql-", "bin"),
            ("/usr/libexec", "postgresql", ""),
            ("/opt/homebrew/opt", "postgresql@", "bin"),
            ("/usr/local/opt", "postgresql@", "bin"),
        ];
        let mut found: Vec<(u32, PathBuf)> = versioned
            .iter()
            .flat_map(|(parent, prefix, below)| {
                fs::read_dir(parent).into_iter().flatten().flatten().filter_map(move |entry| {
                    let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
                    Some((version, entry.path().join(below)))
                })
            })
            .filter(|(_, folder)| complete(folder))
            .collect();
        found.sort();
        let usual = ["/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/bin"];
        let on_path = process::on_path("postgres").and_then(|program| program.parent().map(Path::to_owned));
        let newest = found.pop().map(|(_, folder)| folder);
        newest.or(on_path.filter(complete)).or_else(|| usual.iter().map(PathBuf::from).find(complete))
    }

    /// The URL of the server on this port.
    pub(super) fn url(port: u16, password: &str) -> String {
        format!("postgres://amzigo:{password}@127.0.0.1:{port}/amzigo")
    }

    /// The process that serves the cluster in `folder`, if one does.
    pub(super) fn running_in(folder: &Path) -> Option<u32> {
        let cluster = folder.join("data");
        let pid = pid_in(&cluster)?;
        process::works_in(pid, &cluster).then_some(pid)
    }

    /// Whether there is a cluster in `folder`.
    pub(super) fn has_cluster(folder: &Path) -> bool {
        folder.join("data/PG_VERSION").is_file()
    }

    /// Makes the cluster where there is none, starts the server, and waits until it takes connections.
    pub(super) fn launch(&self) -> Result<Child> {
        let cluster = self.home.folder.join("data");
        if !Self::has_cluster(&self.home.folder) {
            self.make_cluster(&cluster)?;
        }
        // Postgres itself sees through a pid file whose process is gone, but not through one whose number a stranger got since.
        if pid_in(&cluster).is_some_and(|pid| process::is_alive(pid) && !process::works_in(pid, &cluster)) {
            remove_file(&cluster.join("postmaster.pid"))?;
        }
        let log = self.home.folder.join("postgres.log");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut command = self.home.command(&self.programs.join("postgres"));
            command.arg("-D").arg(&cluster);
            let port = format!("port={}", self.port);
            let fixed = [port.as_str(), "listen_addresses=127.0.0.1", "unix_socket_directories="];
            for option in fixed.into_iter().chain(OPTIONS).chain(self.options.iter().map(String::as_str)) {
                command.args(["-c", option]);
            }
            let mut child = spawn_logged(&mut command, &log)?;
            let Err(what) = wait_for_ready(&mut child, &cluster, deadline) else { return Ok(child) };
            // After a crash the old server's children hold its memory until they notice, and only then may another start.
            let says = fs::read_to_string(&log).unwrap_or_default();
            if !says.contains("is still in use") || Instant::now() >= deadline {
                return Err(not_ready("Postgres", &mut child, what, &log));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a cluster with the superuser and the database `amzigo`, reachable over TCP with the password only.
    fn make_cluster(&self, cluster: &Path) -> Result<()> {
        let unfinished = self.home.folder.join("data.new");
        let password = self.home.write_private("password.new", &self.password)?;
        let initialise = |locale: &str| {
            remove_folder(&unfinished)?;
            let mut command = self.home.command(&self.programs.join("initdb"));
            command.arg("-D").arg(&unfinished).arg("--pwfile").arg(&password);
            command.args([
                "--username=amzigo",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                locale,
                "--no-sync",
            ]);
            process::output(&mut command)
        };
        // C.UTF-8 does not exist everywhere; C sorts alike and knows only ASCII's upper and lower case.
        let made = initialise("--locale=C.UTF-8").or_else(|_| initialise("--locale=C"));
        remove_file(&password)?;
        made?;
        // Single-user mode needs no client program and no running server.
        let mut command = self.home.command(&self.programs.join("postgres"));
        command.arg("--single").arg("-D").arg(&unfinished).arg("postgres");
        let starting = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut single = starting.map_err(spawning(&command))?;
        if let Some(mut input) = single.stdin.take() {
            input.write_all(b"create database amzigo;\n").map_err(spawning(&command))?;
        }
        let output = single.wait_with_output().map_err(spawning(&command))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || said.contains("ERROR:") {
            let output_end = process::last_lines(&said);
            return Err(Error::Failed {
                command: process::words(&command),
                how: output.status.to_string(),
                output: output_end,
            });
        }
        fs::rename(&unfinished, cluster).map_err(Error::file("moving into place", cluster))
    }
}

/// The process id in a cluster's pid file.
fn pid_in(cluster: &Path) -> Option<u32> {
    fs::read_to_string(cluster.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Waits until the pid file says, in its eighth line, that this very process takes connections. Else says what happened instead.
fn wait_for_ready(child: &mut Child, cluster: &Path, deadline: Instant) -> std::result::Result<(), String> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("ended at once ({status})"));
        }
        let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() == Some(&child.id().to_string())
            && lines.nth(6).is_some_and(|state| state.trim() == "ready")
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("was not ready within {} s", PATIENCE.as_secs()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A Postgres of a test's own, which ends with the test's process at the latest.
#[derive(Debug)]
pub struct PostgresServer {
    settings: Postgres,
    running: Option<Guarded>,
}

impl PostgresServer {
    /// Starts a new Postgres on a free loopback port that keeps its data in `folder` (made where it does not exist). As root, and where
    /// the server's user cannot reach `folder`, that becomes a link to a folder which goes away with this server.
    ///
    /// # Errors
    /// When this machine has no Postgres, or it is not ready within 30 s: then with the end of its log.
    pub fn start_in(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// Like [`PostgresServer::start_in`], with settings such as `["fsync=off"]` after ours, which they may override.
    ///
    /// # Errors
    /// As [`PostgresServer::start_in`].
    pub fn start_with(folder: &Path, options: &[&str]) -> Result<Self> {
        let programs = Postgres::find().ok_or_else(|| {
            Error::Advice(
                "this machine has no Postgres server: run `cargo xtask services start`, which installs it"
                    .to_owned(),
            )
        })?;
        let password = random_password()?;
        // A cluster that is already there has a password nobody remembers.
        remove_folder(&Home::prepare(folder)?.folder.join("data"))?;
        on_a_free_port(None, |port| {
            let options = options.iter().map(|option| (*option).to_owned()).collect();
            let home = Home::prepare(folder)?;
            let settings =
                Postgres { programs: programs.clone(), home, port, password: password.clone(), options };
            let mut server = Self { settings, running: None };
            server.start_again()?;
            Ok(server)
        })
    }

    /// Its URL, of the superuser and database `amzigo`; the same for its whole life, also while it is down.
    pub fn url(&self) -> String {
        Postgres::url(self.settings.port, &self.settings.password)
    }

    /// Its loopback port; the same for its whole life.
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Its first process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Guarded::pid)
    }

    /// Kills its first process with SIGKILL; the others notice within moments. Does nothing when it is down.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_hard(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), Guarded::kill_hard)
    }

    /// Stops it in good order, cutting open connections. Does nothing when it is down.
    ///
    /// # Errors
    /// When it had to be killed because it did not end within 30 s.
    pub fn stop(&mut self) -> Result<()> {
        self.stop_with("INT")
    }

    /// Starts it again on the same port, with the data it had. Does nothing when it runs.
    ///
    /// # Errors
    /// As [`PostgresServer::start_in`].
    pub fn start_again(&mut self) -> Result<()> {
        if self.running.is_none() {
            self.running = Some(Guarded::new(self.settings.launch()?, "QUIT")?);
        }
        Ok(())
    }

    fn stop_with(&mut self, signal: &str) -> Result<()> {
        self.running.take().map_or(Ok(()), |guarded| guarded.stop("Postgres", signal, PATIENCE).map(drop))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // QUIT ends all its processes at once, without the shutdown checkpoint that nobody will read.
        if let Err(error) = self.stop_with("QUIT").and_then(|()| self.settings.home.remove_if_elsewhere()) {
            eprintln!("ending a private Postgres: {error}");
        }
    }
}
