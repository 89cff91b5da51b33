//! Installs packages with the machine's package manager, saying what it does before it does it.
//!
//! The packages' own daemons are not started: whoever needs a server starts one of its own. Installing what is there changes nothing.
//! Nothing is ever removed.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::process::{self, spawning};

/// What may be missing on a machine. Each package manager has names of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    Redis,
    Postgres,
    Chromium,
    /// Letters for Chromium: without any font its pages are rows of boxes.
    Fonts,
    Node,
    Npm,
    /// With its module `venv`.
    Python,
    Curl,
}

/// A package manager and how it is told to install.
struct Manager {
    program: &'static str,
    /// A shell script; the packages are its arguments.
    script: &'static str,
    name: fn(Package) -> &'static str,
    /// Whether only root may use it.
    needs_root: bool,
}

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        script: APT,
        name: |package| match package {
            Package::Redis => "redis-server",
            Package::Postgres => "postgresql",
            Package::Chromium => "chromium",
            Package::Fonts => "fonts-dejavu-core",
            Package::Node => "nodejs",
            Package::Npm => "npm",
            Package::Python => "python3-venv",
            Package::Curl => "curl",
        },
        needs_root: true,
    },
    Manager {
        program: "dnf",
        script: r#"dnf install -y "$@""#,
        name: |package| match package {
            Package::Redis => "redis",
            Package::Postgres => "postgresql-server",
            Package::Chromium => "chromium",
            Package::Fonts => "dejavu-sans-fonts",
            Package::Node => "nodejs",
            Package::Npm => "nodejs-npm",
            Package::Python => "python3",
            Package::Curl => "curl",
        },
        needs_root: true,
    },
    Manager {
        program: "apk",
        script: r#"apk add --no-cache "$@""#,
        name: |package| match package {
            Package::Redis => "redis",
            Package::Postgres => "postgresql",
            Package::Chromium => "chromium",
            Package::Fonts => "font-dejavu",
            Package::Node => "nodejs",
            Package::Npm => "npm",
            Package::Python => "python3",
            Package::Curl => "curl",
        },
        needs_root: true,
    },
    Manager {
        program: "pacman",
        script: r#"pacman -Sy --noconfirm --needed "$@""#,
        name: |package| match package {
            Package::Redis => "valkey",
            Package::Postgres => "postgresql",
            Package::Chromium => "chromium",
            Package::Fonts => "ttf-dejavu",
            Package::Node => "nodejs",
            Package::Npm => "npm",
            Package::Python => "python",
            Package::Curl => "curl",
        },
        needs_root: true,
    },
    Manager {
        program: "brew",
        script: r#"brew install "$@""#,
        name: |package| match package {
            Package::Redis => "redis",
            Package::Postgres => "postgresql@17",
            Package::Chromium => "chromium",
            Package::Fonts => "font-dejavu",
            Package::Node | Package::Npm => "node",
            Package::Python => "python3",
            Package::Curl => "curl",
        },
        needs_root: false,
    },
];

/// Debian's packages start their daemons unless /usr/sbin/policy-rc.d forbids it, and enable them for the next boot. A policy that is
/// there already is the machine's own and stays. A browser and npm are hundreds of packages, so what apt says is shown when it fails.
const APT: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
made=
log=$(mktemp)
trap '[ -z "$made" ] || rm -f "$policy"; rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
quietly() { "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }; }
quietly apt-get update -qq
quietly apt-get install -qq -y --no-install-recommends "$@"
if [ -d /run/systemd/system ]; then
    for unit in redis-server postgresql; do
        case " $* " in *" $unit "*) systemctl disable --quiet "$unit" ;; esac
    done
fi
"#;

/// Installs these packages. `because` opens the line that says so; `advice` makes of a reason the whole text for whoever must do it
/// by hand.
pub(crate) fn install(
    wanted: &[Package],
    because: &str,
    say: fn(&str),
    advice: impl Fn(&str) -> String,
) -> Result<()> {
    let Some(manager) = MANAGERS.iter().find(|manager| process::on_path(manager.program).is_some()) else {
        return Err(Error::Advice(advice("this machine has none of the package managers known here")));
    };
    let mut packages: Vec<&str> = wanted.iter().map(|package| (manager.name)(*package)).collect();
    packages.dedup();
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
        return Err(Error::Advice(advice(&format!(
            "installing with {} needs root or sudo",
            manager.program
        ))));
    };
    let with = if root || !manager.needs_root { "" } else { " with sudo" };
    let packages_said = packages.join(" ");
    say(&format!("{because}; installing{with}: {} {packages_said}", manager.program));
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
    Err(Error::Advice(advice(&format!("`{} install {packages_said}` failed ({status})", manager.program))))
}
