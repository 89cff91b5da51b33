//! `amzigo doctor`: is everything there and well, and if not, what to do.

use anyhow::anyhow;
use clap::Args;
use comfy_table::{Cell, Color};
use runtime::env::ProcessEnvironment;
use serde_json::json;

use super::{
    answer::{self, Answers},
    stop::Stop,
};
use crate::ops::doctor::{self, Check, Verdict};

/// Check Redis, Postgres, migrations, clocks, scheduler, workers, schedules, budgets and keys, and say what to do. Exit code 1 when
/// something fails; a warning alone is no failure.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo doctor\n  amzigo doctor --json | jq '.checks[] | select(.verdict != \"ok\")'"
)]
pub(super) struct Doctor {}

impl Doctor {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let checks = doctor::examine(&ProcessEnvironment).await;
        let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
        answers.give(&json!({ "well": failed == 0, "checks": checks }), |_| told(&checks))?;
        match failed {
            0 => Ok(()),
            1 => Err(Stop::Failed(anyhow!("one check failed; its line says what to do"))),
            failed => Err(Stop::Failed(anyhow!("{failed} checks failed; their lines say what to do"))),
        }
    }
}

fn told(checks: &[Check]) -> String {
    let mut table = answer::table(&["", "what", "found, and what to do"]);
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => Cell::new("ok").fg(Color::Green),
            Verdict::Warn => Cell::new("warn").fg(Color::Yellow),
            Verdict::Fail => Cell::new("FAIL").fg(Color::Red),
            Verdict::Skip => Cell::new("-").fg(Color::DarkGrey),
        };
        let mut says = answer::plain(&check.says);
        if let Some(advice) = &check.advice {
            says.push_str("\n→ ");
            says.push_str(&answer::plain(advice));
        }
        table.add_row([verdict, answer::text(check.name), Cell::new(says)]);
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    format!(
        "{}\n\n{} well, {} to look at, {} failed",
        table.trim_fmt(),
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail)
    )
}
