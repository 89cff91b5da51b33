//! Installs missing server programs with the machine's package manager, saying what it does before it does it.
//!
//! The packages' own daemons are not started: we start private servers. Installing what is there changes nothing. Nothing is ever
//! removed.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use super::Service;
use crate::error::{Error, Result};
use crate::process::{self, spawning};

/// A package manager and how it is told to install.
struct Manager {
    program: &'static str,
    /// A shell script; the packages are its arguments.
    script: &'static str,
    redis: &'static str,
    postgres: &'static str,
    /// Whether only root may use it.
    needs_root: bool,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        script: APT,
        redis: "redis-server",
        postgres: "postgresql",
        needs_root: true,
    },
    Manager {
        program: "dnf",
        script: r#"dnf install -y "$@""#,
        redis: "redis",
        postgres: "postgresql-server",
        needs_root: true,
    },
    Manager {
        program: "apk",
        script: r#"apk add --no-cache "$@""#,
        redis: "redis",
        postgres: "postgresql",
        needs_root: true,
    },
    Manager {
        program: "pacman",
        script: r#"pacman -Sy --noconfirm --needed "$@""#,
        redis: "valkey",
        postgres: "postgresql",
        needs_root: true,
    },
    Manager {
        program: "brew",
        script: r#"brew install "$@""#,
        redis: "redis",
        postgres: "postgresql@17",
        needs_root: false,
    },
];

/// Debian's packages start their daemons unless /usr/sbin/policy-rc.d forbids it, and enable them for the next boot. A policy that is
/// there already is the machine's own and stays.
const APT: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
made=
trap '[ -z "$made" ] || rm -f "$policy"' EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "$@"
if [ -d /run/systemd/system ]; then
    for unit in redis-server postgresql; do
        case " $* " in *" $unit "*) systemctl disable --quiet "$unit" ;; esac
    done
fi
"#;

/// Installs the programs of these services.
pub(super) fn install(missing: &[Service], say: fn(&str)) -> Result<()> {
    let Some(manager) = MANAGERS.iter().find(|manager| process::on_path(manager.program).is_some()) else {
        return Err(Error::Advice(advice(
            missing,
            "this machine has none of the package managers known here",
        )));
    };
    let packages: Vec<&str> = missing.iter().map(|service| manager.package(*service)).collect();
    let root = process::output(Command::new("id").arg("-u"))? == "0";
    let mut command = if root || !manager.needs_root {
        Command::new("sh")
    } else if process::on_path("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            // Without a terminal nobody can type a password: fail instead of waiting for one.
            sudo.arg("-n");
        }
        sudo.arg("sh");
        sudo
    } else {
        return Err(Error::Advice(advice(
            missing,
            &format!("installing with {} needs root or sudo", manager.program),
        )));
    };
    let with = if root || !manager.needs_root { "" } else { " with sudo" };
    let packages_said = packages.join(" ");
    say(&format!(
        "not on this machine, and no Docker engine answers; installing{with}: {} {packages_said} (their own daemons stay off)",
        manager.program
    ));
    command.args(["-c", manager.script, "install"]).args(&packages);
    // In the terminal's foreground group, where sudo may ask for a password and a Ctrl-C reaches the package manager itself. What it
    // prints goes to stderr: stdout belongs to the command's own answer.
    let stderr = std::io::stderr();
    let status = command
        .stdout(Stdio::from(
            std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned().map_err(spawning(&command))?,
        ))
        .status();
    let status = status.map_err(spawning(&command))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Advice(advice(
        missing,
        &format!("`{} install {packages_said}` failed ({status})", manager.program),
    )))
}

impl Manager {
    fn package(&self, service: Service) -> &'static str {
        match service {
            Service::Redis => self.redis,
            Service::Postgres => self.postgres,
        }
    }
}

/// What to do by hand.
pub(super) fn advice(missing: &[Service], why: &str) -> String {
    let mut advice = format!("{why}. Then one of these is needed:\n");
    for service in missing {
        let (program, variable, example) = match service {
            Service::Redis => (
                "Redis 7 or Valkey (the program redis-server or valkey-server)",
                "REDIS_URL",
                "redis://127.0.0.1:6379/0",
            ),
            Service::Postgres => (
                "Postgres 15 or newer (the programs postgres and initdb)",
                "DATABASE_URL",
                "postgres://user:password@127.0.0.1/database",
            ),
        };
        advice.push_str(&format!("  install {program}, or set {variable}={example}\n"));
    }
    advice.push_str("  or start a Docker engine that has `docker compose`");
    advice
}
