//! The services as containers of `deploy/compose.yaml`, for machines with a Docker engine and without the programs.
//!
//! A client without an engine that answers does not count, nor an engine without `docker compose`. Starting what runs already changes
//! nothing. The project is named after the checkout's folder, so that two checkouts do not share containers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Service;
use crate::error::Result;
use crate::process;

/// How long the engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether containers can be started here.
pub(super) fn is_usable() -> bool {
    process::succeeds_within(Command::new("docker").arg("info"), PATIENCE)
        && process::succeeds_within(Command::new("docker").args(["compose", "version"]), PATIENCE)
}

/// What the containers of one checkout are started with.
pub(super) struct Compose<'a> {
    /// The checkout.
    pub(super) root: &'a Path,
    pub(super) redis_port: u16,
    pub(super) postgres_port: u16,
    pub(super) password: &'a str,
}

impl Compose<'_> {
    /// Starts these services and waits until they are healthy.
    pub(super) fn up(&self, services: &[Service]) -> Result<()> {
        self.call(&["up", "--detach", "--wait"], services)
    }

    /// Stops these services. Their data stays.
    pub(super) fn stop(&self, services: &[Service]) -> Result<()> {
        self.call(&["stop"], services)
    }

    /// Whether the service's container runs.
    pub(super) fn is_running(&self, service: Service) -> bool {
        let mut command = self.command();
        process::output(command.args(["ps", "--status", "running", "--quiet", service.name()]))
            .is_ok_and(|ids| !ids.is_empty())
    }

    fn call(&self, words: &[&str], services: &[Service]) -> Result<()> {
        process::output(self.command().args(words).args(services.iter().map(|service| service.name())))
            .map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--file"]).arg(self.root.join("deploy/compose.yaml"));
        command.args(["--project-name", &project(self.root)]);
        command.env("AMZIGO_REDIS_PORT", self.redis_port.to_string());
        command.env("AMZIGO_POSTGRES_PORT", self.postgres_port.to_string());
        command.env("AMZIGO_POSTGRES_PASSWORD", self.password);
        command
    }
}

/// A project name Docker accepts: lower-case letters, digits and dashes.
fn project(root: &Path) -> String {
    let path = root.to_string_lossy().to_lowercase();
    format!("amzigo{}", path.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_after_the_checkout() {
        assert_eq!(project(Path::new("/home/Me/main.2")), "amzigo-home-me-main-2");
    }
}
