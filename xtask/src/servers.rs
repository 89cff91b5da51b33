//! `cargo xtask services`: the Redis and Postgres of this checkout, for daily work. Repeating changes nothing.

use std::process::ExitCode;

use xtask::services::Urls;

use crate::Ended;
use crate::session::{Session, say, say_done};

pub(crate) const HELP: &str = "\
Usage: cargo xtask services start|stop|status|env

Uses what REDIS_URL and DATABASE_URL name, where they are set. Else runs private servers with their data under target/services, on free
loopback ports; where their programs are missing, containers (deploy/compose.yaml), if a Docker engine answers; else installs the
programs with the machine's package manager, saying so first.

  start   start what does not run; it stays until `stop`
  stop    stop what was started here; the data stays
  status  say what runs and where; exit code 1 when something does not run
  env     print the two variables for a shell

Examples:
  cargo xtask services start
  eval \"$(cargo xtask services env)\"
  DATABASE_URL=postgres://me@db.internal/dev cargo xtask services start    # only Redis is started";

pub(crate) fn misunderstood(arguments: &[String]) -> Option<String> {
    match arguments {
        [word] if ["start", "stop", "status", "env"].contains(&word.as_str()) => None,
        [] => Some("`services` needs to know what to do".to_owned()),
        words => Some(format!("`services {}` is not understood", words.join(" "))),
    }
}

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let services = session.services();
    match arguments.first().map(String::as_str) {
        Some("start") => {
            services.start()?;
            say_done("the services run; `eval \"$(cargo xtask services env)\"` tells a shell where");
        }
        Some("stop") if services.stop()? => say_done("stopped"),
        Some("stop") => say("another command uses the services: they stop when it ends"),
        Some("env") => print!("{}", exports(&services.urls()?)),
        _ => {
            let status = services.status()?;
            for (service, _, line) in &status {
                println!("{:<10}{line}", service.name());
            }
            let all_run = status.iter().all(|(_, runs, _)| *runs);
            return Ok(if all_run { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines for a shell's `eval`. A given URL may hold any letter, so each is quoted.
fn exports(urls: &Urls) -> String {
    let quoted = |url: &str| format!("'{}'", url.replace('\'', r"'\''"));
    format!("export REDIS_URL={}\nexport DATABASE_URL={}\n", quoted(&urls.redis), quoted(&urls.postgres))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_url_does_not_end_the_shells_word() {
        let urls = Urls { redis: "redis://h/0".to_owned(), postgres: "postgres://u:it's@h/d".to_owned() };
        assert_eq!(
            exports(&urls),
            "export REDIS_URL='redis://h/0'\nexport DATABASE_URL='postgres://u:it'\\''s@h/d'\n"
        );
    }

    #[test]
    fn only_the_four_words_are_understood() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for known in ["start", "stop", "status", "env"] {
            assert_eq!(misunderstood(&words(known)), None);
        }
        for unknown in ["", "restart", "start now"] {
            assert!(misunderstood(&words(unknown)).is_some(), "{unknown:?}");
        }
    }
}
