//! One of our programs as a process of its own: started, asked to stop, killed outright, its log kept.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use xtask::guarded::Guarded;

/// Longest wait for a program to say that it is up.
const START: Duration = Duration::from_secs(40);
/// Longest wait for a program to stop when asked; longer than any grace time that tests give.
const STOP: Duration = Duration::from_secs(45);

/// The environment of a program: nothing but this.
pub type Environment = BTreeMap<String, String>;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    guarded: Guarded,
    hello: Value,
    log: PathBuf,
}

/// A program that stands beside the running one: all of the workspace are built into one folder.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("`{name}` is not built; run `cargo build --workspace --bins` first"))
}

fn command(name: &str, arguments: &[&str], environment: &Environment) -> anyhow::Result<Command> {
    let mut command = Command::new(program(name)?);
    command.args(arguments).env_clear().envs(environment);
    Ok(command)
}

impl Process {
    /// Starts a program and waits for its first line, which says in JSON that it is up. Its log goes to `folder`.
    ///
    /// # Errors
    /// When it is not up in time; the error has the end of its log.
    pub fn start(
        name: &str,
        program: &str,
        arguments: &[&str],
        environment: &Environment,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).context("opening a log")?;
        let mut child = command(program, arguments, environment)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let stdout = child.stdout.take().context("a program without output")?;
        let guarded = Guarded::new(child, "TERM")?;
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut first = String::new();
            // Whoever waits sees an empty line when the program ends early.
            drop(reader.read_line(&mut first));
            drop(sender.send(first));
            // What else it prints must not block it.
            drop(std::io::copy(&mut reader, &mut std::io::sink()));
        });
        let first = line.recv_timeout(START).unwrap_or_default();
        match serde_json::from_str(&first) {
            Ok(hello) => Ok(Self { name: name.to_owned(), guarded, hello, log }),
            Err(_) => bail!("{name} did not come up; the end of its log:\n{}", tail(&log)),
        }
    }

    /// What it said when it was up.
    #[must_use]
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    /// Its address, under this name in what it said.
    ///
    /// # Errors
    /// When it said none.
    pub fn address(&self, field: &str) -> anyhow::Result<&str> {
        self.hello[field].as_str().with_context(|| format!("{} did not say its {field}", self.name))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guarded.pid()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.guarded.ended()
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it had to be killed, or ended with another exit code than 0.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self { name, guarded, log, .. } = self;
        let status = guarded.stop("a program", "TERM", STOP).with_context(|| tail(&log))?;
        ensure!(status.success(), "{name} ended with {status}; the end of its log:\n{}", tail(&log));
        Ok(())
    }

    /// Kills it outright (`kill -9`).
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(self) -> anyhow::Result<()> {
        Ok(self.guarded.kill_hard()?)
    }
}

/// Returns when this program is asked to stop, from the terminal or by its parent.
///
/// # Errors
/// When it cannot listen to signals.
pub async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started. A program that fails is an answer.
pub fn run(
    program: &str,
    arguments: &[&str],
    environment: &Environment,
    input: &str,
) -> anyhow::Result<Output> {
    let mut child = command(program, arguments, environment)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it; what it thinks of that, it says itself.
        drop(stdin.write_all(input.as_bytes()));
    }
    child.wait_with_output().with_context(|| format!("waiting for {program}"))
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
