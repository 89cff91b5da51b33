//! Programs of the crate `tests` that commands build and then become: standard output, arguments and exit code are theirs.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use xtask::Error;
use xtask::process::succeed;

use crate::session::{Session, say};

/// Builds all binaries of the workspace.
pub(crate) fn build(session: &Session) -> xtask::Result<()> {
    say("building");
    // Cargo's own words belong on stderr, where they are anyway; its stdout would mix with the program's.
    let mut build = session.cargo(&["build", "--workspace", "--bins", "--locked"]);
    succeed(&mut build, &session.interrupts)
}

/// A program that cargo has just built: it puts all binaries of the workspace beside this one.
pub(crate) fn program(session: &Session, name: &str, arguments: &[String]) -> xtask::Result<Command> {
    let own = env::current_exe().map_err(|source| Error::Spawn { program: format!("the {name}"), source })?;
    let program = own.with_file_name(name);
    if !program.is_file() {
        return Err(Error::Advice(format!(
            "{} was not built: has the crate `tests` a binary `{name}`?",
            program.display()
        )));
    }
    let mut command = Command::new(program);
    command.args(arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments)).current_dir(&session.root);
    Ok(command)
}

/// A program that cargo has just built with optimisation: its folder lies beside this one's.
pub(crate) fn optimised(session: &Session, name: &str, arguments: &[String]) -> xtask::Result<Command> {
    let own = env::current_exe().map_err(|source| Error::Spawn { program: format!("the {name}"), source })?;
    let folders = own.parent().and_then(|folder| folder.parent());
    let program = folders.map(|folder| folder.join("release").join(name)).filter(|program| program.is_file());
    let Some(program) = program else {
        return Err(Error::Advice(format!("the optimised {name} was not built beside {}", own.display())));
    };
    let mut command = Command::new(program);
    command.args(arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments)).current_dir(&session.root);
    Ok(command)
}

/// The program's exit code; one that a signal has ended failed.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_programs() {
        let ended = |wait_status| exit_code(ExitStatus::from_raw(wait_status));
        assert_eq!(ended(0), ExitCode::SUCCESS);
        assert_eq!(ended(3 << 8), ExitCode::from(3));
        assert_eq!(ended(9), ExitCode::from(137), "killed with SIGKILL");
    }
}
