//! `amzigo schedules`: when kinds fire by themselves, and what people do about that.

use clap::{Args, Subcommand};
use queue::{JobId, outbox::Cause};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
    why,
};
use crate::ops::{
    Act,
    schedules::{self, ScheduleError, on_its_clock},
};

/// See schedules, run one now, pause and resume one.
#[derive(Debug, Subcommand)]
pub(super) enum Schedules {
    List(List),
    Run(RunIt),
    Pause(Pause),
    Resume(Resume),
}

impl Schedules {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::List(list) => list.run(answers).await,
            Self::Run(run) => run.run(answers).await,
            Self::Pause(pause) => pause.said.pause(true, answers).await,
            Self::Resume(resume) => resume.said.pause(false, answers).await,
        }
    }
}

fn from_schedule(error: ScheduleError) -> Stop {
    if error.refused() { Stop::refused(error) } else { error.into() }
}

/// List all schedules with their next ticks, on the clock of their own time zones.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo schedules list")]
pub(super) struct List {}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let lines = schedules::list(&mut connection, now).await.map_err(from_schedule)?;
        answers.give(&json!({ "now": now, "schedules": lines }), |_| {
            let mut table =
                answer::table(&["kind", "when", "next tick", "last tick", "made", "missed ticks", "paused"]);
            for line in &lines {
                let next = line.next.first().map(|at| on_its_clock(*at, line.time_zone));
                let paused = line.paused.as_ref().map(|paused| {
                    let by = paused.by.as_deref().unwrap_or("somebody");
                    format!("by {by}: {}", paused.reason.as_deref().unwrap_or_default())
                });
                table.add_row([
                    answer::text(line.kind),
                    answer::text(&line.in_words),
                    answer::text(&next.unwrap_or_else(|| "–".to_owned())),
                    answer::text(&line.last_fire_at.map_or_else(|| "never".to_owned(), answer::moment)),
                    answer::text(&line.last_made.map_or_else(String::new, |made| made.to_string())),
                    answer::text(if line.catches_up { "once" } else { "let go" }),
                    answer::text(&paused.unwrap_or_default()),
                ]);
            }
            table.trim_fmt()
        })
    }
}

#[derive(Debug, Args)]
struct Said {
    /// Whose schedule.
    kind: String,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Said {
    fn act(&self) -> Result<Act, Stop> {
        why::act(self.actor.as_deref(), &self.reason)
    }

    async fn pause(self, paused: bool, answers: Answers) -> Result<(), Stop> {
        let act = self.act()?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let kind = &self.kind;
        let changed =
            schedules::set_paused(&mut connection, kind, paused, &act, now).await.map_err(from_schedule)?;
        answers.give(&json!({ "kind": kind, "paused": paused, "changed": changed }), |_| {
            match (paused, changed) {
                (true, true) => {
                    format!("The schedule of {kind} is paused: it fires no more until it is resumed.")
                }
                (false, true) => format!("The schedule of {kind} fires again."),
                (true, false) => format!("Nothing new: the schedule of {kind} is paused already."),
                (false, false) => format!("Nothing new: the schedule of {kind} is not paused."),
            }
        })
    }
}

/// Enqueue the jobs of a schedule's tick now. Its ticks come all the same.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo schedules run sync_orders --reason 'orders of the morning are missing'\n\nA job that is there already is not made twice: the kind is unique, or the same --once was given before."
)]
pub(super) struct RunIt {
    #[command(flatten)]
    said: Said,
    /// A word for this run: with the same one nothing is enqueued again. Without it, a new one.
    #[arg(long, value_name = "WORD", value_parser = word)]
    once: Option<String>,
}

/// What may stand in an idempotency key.
fn word(text: &str) -> Result<String, String> {
    if (1..=60).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("a word has 1 to 60 letters or digits, without spaces".to_owned())
    }
}

impl RunIt {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = self.said.act()?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let kind = &self.said.kind;
        let once = self.once.unwrap_or_else(|| JobId::new().to_string());
        let ran = schedules::run_now(&mut connection, kind, &once, Cause::Cli, &act, now)
            .await
            .map_err(from_schedule)?;
        answers.give(&ran, |ran| {
            format!("{} jobs of {kind} enqueued; {} were there already.", ran.new, ran.there)
        })
    }
}

/// Let a schedule fire no more, until it is resumed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo schedules pause sync_listings --reason 'Amazon is ill'")]
pub(super) struct Pause {
    #[command(flatten)]
    said: Said,
}

/// Let a schedule fire again. For ticks that were missed meanwhile it fires once or not at all, as its kind says.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo schedules resume sync_listings --reason 'Amazon is well again'")]
pub(super) struct Resume {
    #[command(flatten)]
    said: Said,
}
