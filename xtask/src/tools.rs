//! What tests need beside Redis and Postgres: a browser, node with packages from npm, Python with an API fuzzer, curl.
//!
//! What the machine has is used; what it lacks is installed with its package manager. The packages of npm and of Python are pinned by
//! exact version and lie below one folder, which `cargo clean` removes with all that is built. Each of them is made aside under a
//! lock and renamed when it is whole, so a killed command leaves no half, and doing it again changes nothing. No root is needed where
//! the programs are there already, and no network where the folders are.
//!
//! It does not watch over versions of what the machine brings itself, except that a node or Python too old counts as missing.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::packages::{self, Package};
use crate::process::{self, Interrupts, last_lines, spawning, succeeds_within, words};
use crate::turn::take_turn;

/// What runs in node: the driver of the browser, the judge of accessibility, and a compiler for the TypeScript of the README. All that
/// they need is in the list, so that it says every version; a lock file would name the host they come from.
const NODE_PACKAGES: [&str; 5] = [
    "playwright-core@1.61.0",
    "axe-core@4.14.1",
    "typescript@5.9.3",
    "@types/node@18.19.130",
    "undici-types@5.26.5",
];
/// Serves Amazon's own models, and judges requests by them.
const PRISM: &str = "@stoplight/prism-cli@5.14.2";
/// The fuzzer, and every version that it stands on.
const REQUIREMENTS: &str = include_str!("tools/requirements.txt");
/// The oldest node that the packages run in.
const OLDEST_NODE: u32 = 18;
/// Where browsers are that are not on PATH.
const APPLICATIONS: [&str; 2] = [
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
/// Where machines keep fonts.
const FONTS: [&str; 3] = ["/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts"];
/// Longest time for the packages of one folder to come.
const INSTALL: Duration = Duration::from_secs(300);
/// Longest time for a program to say its version.
const VERSION: Duration = Duration::from_secs(30);
/// In each folder, what it was made of.
const MADE_OF: &str = "made-of";

/// One of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Chromium, or Chrome: the program.
    Chromium,
    /// node, 18 or newer: the program.
    Node,
    /// The folder `node_modules` with `playwright-core`, `axe-core` and `typescript`.
    NodePackages,
    /// Python, of an environment that has schemathesis (`-m schemathesis.cli`): the program.
    Python,
    /// curl: the program.
    Curl,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Chromium, Self::Node, Self::NodePackages, Self::Python, Self::Curl];

    /// The environment variable that says where it is. Set by hand, it replaces what would be found.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Chromium => "TEST_CHROMIUM",
            Self::Node => "TEST_NODE",
            Self::NodePackages => "TEST_NODE_MODULES",
            Self::Python => "TEST_PYTHON",
            Self::Curl => "TEST_CURL",
        }
    }
}

/// The tools of one checkout.
pub struct Tools {
    folder: PathBuf,
    say: fn(&str),
    interrupts: Interrupts,
}

impl Tools {
    /// The tools of the checkout whose folder for them is `folder` (`tools` in the target folder). What is done is told through
    /// `say`, a line at a time; an interrupt ends it.
    pub fn new(folder: &Path, say: fn(&str), interrupts: Interrupts) -> Self {
        Self { folder: folder.to_owned(), say, interrupts }
    }

    /// Where a tool is; `None` where it is not. Installs nothing.
    pub fn find(&self, tool: Tool) -> Option<PathBuf> {
        if let Some(given) = env::var_os(tool.variable()).filter(|given| !given.is_empty()) {
            return Some(given.into());
        }
        match tool {
            Tool::Chromium => chromium(),
            Tool::Node => node(),
            Tool::NodePackages => {
                let folder = self.folder.join("node");
                is_made_of(&folder, &NODE_PACKAGES.join("\n")).then(|| folder.join("node_modules"))
            }
            Tool::Python => {
                let folder = self.folder.join("python");
                is_made_of(&folder, REQUIREMENTS).then(|| folder.join("bin/python"))
            }
            Tool::Curl => process::on_path("curl"),
        }
    }

    /// Installs whatever is missing, saying so first.
    ///
    /// # Errors
    /// When something cannot be installed; then with what to do.
    pub fn install(&self) -> Result<()> {
        if Tool::ALL.iter().all(|tool| self.find(*tool).is_some()) && has_fonts() {
            return Ok(());
        }
        let _turn = self.turn()?;
        // Another command may have done it while this one waited.
        let missing = self.missing_packages();
        if !missing.is_empty() {
            packages::install(&missing, "tests need what is not on this machine", self.say, advice)?;
            let still: Vec<_> = self.missing_packages();
            if let Some(package) = still.first() {
                return Err(Error::Advice(advice(&format!(
                    "{package:?} was installed, and still cannot be found, or is too old"
                ))));
            }
        }
        if self.find(Tool::NodePackages).is_none() {
            self.make_of_npm("node", &NODE_PACKAGES)?;
        }
        if self.find(Tool::Python).is_none() {
            self.make_python()?;
        }
        Ok(())
    }

    /// Prism's program for node. It is large and few tests want it, so it comes when it is first asked for; it needs node and npm.
    ///
    /// # Errors
    /// When npm is missing, or cannot install it.
    pub fn prism(&self) -> Result<PathBuf> {
        let program = self.folder.join("prism/node_modules/@stoplight/prism-cli/dist/index.js");
        if !is_made_of(&self.folder.join("prism"), PRISM) {
            let _turn = self.turn()?;
            if !is_made_of(&self.folder.join("prism"), PRISM) {
                self.make_of_npm("prism", &[PRISM])?;
            }
        }
        Ok(program)
    }

    fn turn(&self) -> Result<File> {
        take_turn(&self.folder, "installing what tests need", self.say, &self.interrupts)
    }

    /// What the package manager has to bring.
    fn missing_packages(&self) -> Vec<Package> {
        let given = |tool: Tool| env::var_os(tool.variable()).is_some_and(|given| !given.is_empty());
        let mut missing = Vec::new();
        let mut need = |package, is_there: bool| {
            if !is_there {
                missing.push(package);
            }
        };
        need(Package::Chromium, self.find(Tool::Chromium).is_some());
        need(Package::Fonts, has_fonts());
        need(Package::Node, self.find(Tool::Node).is_some());
        need(Package::Npm, given(Tool::NodePackages) || process::on_path("npm").is_some());
        need(Package::Python, given(Tool::Python) || python().is_some());
        need(Package::Curl, self.find(Tool::Curl).is_some());
        missing
    }

    fn make_of_npm(&self, name: &str, wanted: &[&str]) -> Result<()> {
        let npm = process::on_path("npm").ok_or_else(|| Error::Advice(advice("npm is missing")))?;
        self.make(name, &wanted.join("\n"), &format!("{} from npm", wanted.join(", ")), |folder| {
            let mut install = Command::new(npm);
            install.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]);
            install.arg("--prefix").arg(folder).args(wanted);
            vec![install]
        })
    }

    fn make_python(&self) -> Result<()> {
        let python = python().ok_or_else(|| Error::Advice(advice("python3 is missing")))?;
        let fuzzer = REQUIREMENTS.lines().find(|line| line.starts_with("schemathesis")).unwrap_or_default();
        self.make("python", REQUIREMENTS, &format!("an environment of Python with {fuzzer}"), |folder| {
            let mut environment = Command::new(python);
            environment.args(["-m", "venv"]).arg(folder);
            let mut install = Command::new(folder.join("bin/python"));
            install.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
            install.arg("--requirement").arg(folder.join(MADE_OF));
            vec![environment, install]
        })
    }

    /// Makes a folder with these commands, aside, and puts it in its place.
    fn make(
        &self,
        name: &str,
        made_of: &str,
        said: &str,
        commands: impl FnOnce(&Path) -> Vec<Command>,
    ) -> Result<()> {
        let (folder, aside) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        (self.say)(&format!("getting {said} into {}", folder.display()));
        for old in [&aside, &folder] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(Error::file("removing", old))?;
            }
        }
        fs::create_dir_all(&aside).map_err(Error::file("creating", &aside))?;
        let note = aside.join(MADE_OF);
        fs::write(&note, made_of).map_err(Error::file("writing", &note))?;
        for mut command in commands(&aside) {
            self.run(&mut command, &self.folder.join(format!("{name}.log")))?;
        }
        fs::rename(&aside, &folder).map_err(Error::file("renaming", &aside))
    }

    /// Runs a command to its end, within the time, while it writes to a log. In our process group: a Ctrl-C at the terminal ends it.
    fn run(&self, command: &mut Command, log: &Path) -> Result<()> {
        let file = File::create(log).map_err(Error::file("creating", log))?;
        let copy = file.try_clone().map_err(Error::file("opening", log))?;
        let mut child =
            command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn().map_err(spawning(command))?;
        let (mut ended, mut interrupted) = (None, false);
        process::wait_until(INSTALL, || {
            ended = child.try_wait().ok().flatten();
            interrupted = self.interrupts.check().is_err();
            ended.is_some() || interrupted
        });
        if ended.is_none() {
            // Both fail only for a child that has ended meanwhile, and then there is nothing left to do.
            child.kill().ok();
            child.wait().ok();
        }
        self.interrupts.check()?;
        if ended.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let how =
            ended.map_or_else(|| format!("not within {} s", INSTALL.as_secs()), |status| status.to_string());
        let output = last_lines(&fs::read_to_string(log).unwrap_or_default());
        Err(Error::Failed { command: words(command), how, output })
    }
}

/// Whether a folder is whole, and made of this.
fn is_made_of(folder: &Path, wanted: &str) -> bool {
    fs::read_to_string(folder.join(MADE_OF)).is_ok_and(|made_of| made_of == wanted)
}

/// A browser that starts. On Ubuntu a program of that name may only tell people to install another.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let on_path = names.iter().filter_map(|name| process::on_path(name));
    let elsewhere = APPLICATIONS.iter().map(PathBuf::from).filter(|program| program.is_file());
    on_path.chain(elsewhere).find(|program| succeeds_within(Command::new(program).arg("--version"), VERSION))
}

fn node() -> Option<PathBuf> {
    let node = process::on_path("node")?;
    let version = process::output(Command::new(&node).arg("--version")).ok()?;
    let major: u32 = version.strip_prefix('v')?.split('.').next()?.parse().ok()?;
    (major >= OLDEST_NODE).then_some(node)
}

/// The machine's own Python, when it can make environments: Debian's cannot without a package.
fn python() -> Option<PathBuf> {
    let python = process::on_path("python3")?;
    let can = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    succeeds_within(Command::new(&python).args(["-c", can]), VERSION).then_some(python)
}

fn has_fonts() -> bool {
    FONTS.iter().any(|folder| Path::new(folder).is_dir())
}

/// What to do by hand.
fn advice(why: &str) -> String {
    format!(
        "{why}. Then these are needed on PATH: chromium (or set TEST_CHROMIUM to the program), node {OLDEST_NODE} or newer with npm, python3 \
         (3.10 or newer, with its module venv), curl. `cargo xtask test --without-tools` leaves out the tests that need them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_an_exact_version() {
        for package in NODE_PACKAGES.iter().chain([&PRISM]) {
            let version = package.rsplit_once('@').map(|(_, version)| version).unwrap_or_default();
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{package}");
        }
        for line in REQUIREMENTS.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.split_once("==").is_some_and(|(_, version)| !version.is_empty()), "{line}");
        }
    }

    #[test]
    fn a_folder_of_other_versions_is_not_whole() {
        let folder = env::temp_dir().join(format!("made-of-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        assert!(!is_made_of(&folder, "one@1.0.0"));
        fs::write(folder.join(MADE_OF), "one@1.0.0").expect("the folder can be written");
        assert!(is_made_of(&folder, "one@1.0.0"));
        assert!(!is_made_of(&folder, "one@1.0.1"));
        fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
}
