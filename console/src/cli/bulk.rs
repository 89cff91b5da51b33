//! `amzigo bulk`: changing many jobs at once, with a dry run, progress and a stop.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use queue::{
    Queue,
    bulk::{self as operations, BulkError, BulkId, Change, Filter, Operation},
};
use serde_json::json;
use sqlx::PgPool;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
    why,
};
use crate::ops::{
    bulk::{self, Plan, StartError},
    search,
};

/// Change many jobs at once: a scheduler does it, a slice after the other, and it can be watched and stopped.
#[derive(Debug, Subcommand)]
pub(super) enum Bulk {
    Plan(PlanIt),
    Start(Start),
    Show(Show),
    List(List),
    Stop(StopIt),
}

impl Bulk {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::Plan(plan) => plan.run(answers).await,
            Self::Start(start) => start.run(answers).await,
            Self::Show(show) => show.run(answers).await,
            Self::List(list) => list.run(answers).await,
            Self::Stop(stop) => stop.run(answers).await,
        }
    }
}

/// What is done, and to which jobs.
#[derive(Debug, Args)]
struct What {
    /// requeue or discard dead letters, or cancel jobs that have not ended.
    change: Change,
    /// All that there are, or that the filters let through.
    #[arg(long, required_unless_present_any = FILTERS)]
    all: bool,
    /// Only this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only this queue: urgent, sync, mail, heavy or upkeep.
    #[arg(long)]
    queue: Option<Queue>,
    /// Only this seller's (any group's name).
    #[arg(long, value_name = "ID")]
    seller: Option<String>,
    /// Only those whose last error contains this text.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those of a group of `amzigo dead groups`, by its key.
    #[arg(long, value_name = "KEY")]
    pattern: Option<String>,
    /// Only those that died (of unfinished ones: were enqueued) since then: 2h ago, or 2026-11-23T10:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Only those that died (or were enqueued) before then.
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
}

/// The filters by their names.
const FILTERS: [&str; 7] = ["kind", "queue", "seller", "error", "pattern", "since", "until"];

impl What {
    fn filter(&self, now: DateTime<Utc>) -> Result<Filter, Stop> {
        let moment = |text: &Option<String>| {
            let read = text.as_deref().map(|text| search::moment(text, now)).transpose();
            read.map_err(|error| Stop::usage(anyhow::anyhow!(error)))
        };
        Ok(Filter {
            kind: self.kind.clone(),
            queue: self.queue,
            group: self.seller.clone(),
            error_contains: self.error.clone(),
            pattern: self.pattern.clone(),
            since: moment(&self.since)?,
            until: moment(&self.until)?,
        })
    }
}

/// Say what an operation would do: how many jobs, for how many sellers, which budgets it takes, and how long. Changes nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo bulk plan requeue --kind sync_orders --error 'connection reset'\n  amzigo bulk plan cancel --kind sync_listings --since 2h"
)]
pub(super) struct PlanIt {
    #[command(flatten)]
    what: What,
}

impl PlanIt {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let filter = self.what.filter(now)?;
        let plan = bulk::plan(&mut connection, self.what.change, &filter).await?;
        answers.give(&plan, told)
    }
}

fn told(plan: &Plan) -> String {
    let more = if plan.matched.more { "more than " } else { "" };
    let mut text =
        format!("{}: {more}{} jobs for {} sellers.", plan.change, plan.matched.jobs, plan.matched.groups);
    if let Some(seconds) = plan.eta_seconds {
        match seconds {
            0 => text.push_str(" Their budgets have saved up enough calls for it."),
            seconds => text.push_str(&format!(" Their budgets need at least {} for it.", length(seconds))),
        }
        let mut table = answer::table(&["budget", "calls", "per second", "takes"]);
        for need in &plan.budgets {
            table.add_row([
                answer::text(&need.budget),
                answer::text(&need.calls.to_string()),
                answer::text(&need.per_second.to_string()),
                answer::text(&length(need.seconds)),
            ]);
        }
        text.push_str(&format!("\n\n{}", table.trim_fmt()));
    }
    if plan.second_look {
        text.push_str(&format!("\n\nTo start it, say how many they are: --count {}", plan.matched.jobs));
    }
    text
}

/// `2 h 5 min`, at least a second.
fn length(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(1)),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Start an operation. A scheduler begins it within about a second; it goes on when this command ends.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo bulk start requeue --kind sync_orders --error 'connection reset' --reason 'the network is back'\n  amzigo bulk start discard --pattern 4f0c2a9d7b13e588 --count 48210 --reason 'test sellers' --follow\n\nMore than 1,000 jobs want their count, as `amzigo bulk plan` tells it."
)]
pub(super) struct Start {
    #[command(flatten)]
    what: What,
    /// How many they are, where they are more than 1,000.
    #[arg(long, value_name = "JOBS")]
    count: Option<i64>,
    /// Show how far it is until it has ended.
    #[arg(long)]
    follow: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Start {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let filter = self.what.filter(now)?;
        let id = bulk::start(&mut connection, self.what.change, &filter, self.count, &act, now)
            .await
            .map_err(|error| match error {
                StartError::Nothing(_) | StartError::SecondLook { .. } => Stop::refused(error),
                StartError::Database(_) => error.into(),
            })?;
        drop(connection);
        let operation = if self.follow { follow(&pool, id).await? } else { read(&pool, id).await? };
        answers.give(&operation, |operation| {
            format!("{}\n\n`amzigo bulk show {id} --follow` shows how far it is, `amzigo bulk stop {id}` stops it.", describe(operation))
        })
    }
}

/// Show an operation.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo bulk show 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --follow")]
pub(super) struct Show {
    /// Its id.
    id: BulkId,
    /// Show how far it is until it has ended.
    #[arg(long)]
    follow: bool,
}

impl Show {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let operation =
            if self.follow { follow(&pool, self.id).await? } else { read(&pool, self.id).await? };
        answers.give(&operation, describe)
    }
}

async fn read(pool: &PgPool, id: BulkId) -> Result<Operation, Stop> {
    operations::show(&mut *pool.acquire().await?, id).await.map_err(from_bulk)
}

fn from_bulk(error: BulkError) -> Stop {
    match error {
        BulkError::Unknown(_) | BulkError::Ended { .. } => Stop::refused(error),
        BulkError::Unreadable { .. } | BulkError::Database(_) => error.into(),
    }
}

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until an operation has ended; on a terminal with a line that says how far it is.
async fn follow(pool: &PgPool, id: BulkId) -> Result<Operation, Stop> {
    let mut terminal = std::io::stderr();
    let shown = terminal.is_terminal();
    loop {
        let operation = read(pool, id).await?;
        let ended = operation.stage.ended();
        if shown {
            let end = if ended { "\n" } else { "" };
            write!(terminal, "\r\u{1b}[2K{}{end}", progress(&operation))?;
            terminal.flush()?;
        }
        if ended {
            return Ok(operation);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn progress(operation: &Operation) -> String {
    format!(
        "{}: {} of {} changed, {} refused, {} left",
        operation.stage,
        operation.changed,
        operation.matched,
        operation.refused,
        operation.left()
    )
}

fn describe(operation: &Operation) -> String {
    let mut facts = answer::table(&["operation", &operation.id.to_string()]);
    let mut fact = |name: &str, value: String| {
        facts.add_row([answer::text(name), answer::text(&value)]);
    };
    fact("what", format!("{} {}", operation.change, operation.filter.describe(operation.change)));
    fact("by", format!("{}: {}", operation.actor, operation.reason));
    fact("started", answer::moment(operation.created_at));
    fact("how far", progress(operation));
    if let Some(at) = operation.finished_at {
        fact("ended", answer::moment(at));
    }
    if let Some(error) = &operation.error {
        fact("last slice failed", error.clone());
    }
    for refused in &operation.refusals {
        fact("refused", format!("{}: {}", refused.id, refused.why));
    }
    facts.trim_fmt()
}

/// List the operations, those that have not ended first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo bulk list")]
pub(super) struct List {
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let found = operations::list(&mut *pool.acquire().await?, i64::from(self.limit)).await?;
        answers.give(&json!({ "operations": found }), |_| {
            if found.is_empty() {
                return "No bulk operation was ever started; `amzigo bulk plan --help` shows how.".to_owned();
            }
            let mut table = answer::table(&[
                "id", "what", "stage", "matched", "changed", "refused", "started", "by", "why",
            ]);
            for operation in &found {
                table.add_row([
                    answer::text(&operation.id.to_string()),
                    answer::text(operation.change.name()),
                    answer::text(operation.stage.name()),
                    answer::text(&operation.matched.to_string()),
                    answer::text(&operation.changed.to_string()),
                    answer::text(&operation.refused.to_string()),
                    answer::text(&answer::moment(operation.created_at)),
                    answer::text(&operation.actor),
                    answer::text(&answer::short(&operation.reason, 60)),
                ]);
            }
            table.trim_fmt()
        })
    }
}

/// Stop an operation after the slice that runs. What it has changed stays changed.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo bulk stop 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the wrong filter'"
)]
pub(super) struct StopIt {
    /// Its id.
    id: BulkId,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl StopIt {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let id = self.id;
        let new = bulk::stop(&mut connection, id, &act, now).await.map_err(from_bulk)?;
        answers.give(&json!({ "id": id, "new": new }), |_| match new {
            true => format!("Operation {id} stops after the slice that runs; `amzigo bulk show {id}` shows how far it came."),
            false => format!("Nothing new: operation {id} is stopping already."),
        })
    }
}
