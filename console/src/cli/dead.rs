//! `amzigo dead`: the dead letters, and what a person decides about them.

use clap::{Args, Subcommand};
use queue::JobId;
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, jobs,
    stop::Stop,
};
use crate::ops::{
    Act,
    dead::{self, Change, Changed, Filter, MAX_SLICE},
};

/// See and decide about jobs that ended in failure.
#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    List(List),
    Show(Show),
    Requeue(Requeue),
    Discard(Discard),
}

impl Dead {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::List(list) => list.run(answers).await,
            Self::Show(show) => jobs::show(show.id, answers).await,
            Self::Requeue(requeue) => requeue.decision.run(Change::Requeue, answers).await,
            Self::Discard(discard) => discard.decision.run(Change::Discard, answers).await,
        }
    }
}

/// List dead letters, the last to die first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo dead list\n  amzigo dead list --kind sync_orders --error-contains 'quota'"
)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// Only this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only those whose last error contains this text.
    #[arg(long, value_name = "TEXT")]
    error_contains: Option<String>,
}

impl From<Which> for Filter {
    fn from(which: Which) -> Self {
        Self { kind: which.kind, error_contains: which.error_contains }
    }
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let letters = dead::list(&mut *pool.acquire().await?, &self.which.into(), self.limit).await?;
        answers.give(&json!({ "dead": letters }), |_| {
            if letters.is_empty() {
                return "No dead letters.".to_owned();
            }
            let mut table = answer::table(&["id", "kind", "for", "died", "attempts", "error"]);
            for letter in &letters {
                table.add_row([
                    answer::text(&letter.id.to_string()),
                    answer::text(&letter.kind),
                    answer::text(&letter.group),
                    answer::text(&answer::moment(letter.finished_at)),
                    answer::text(&letter.attempts.to_string()),
                    answer::text(&answer::short(&letter.error, 200)),
                ]);
            }
            table.trim_fmt()
        })
    }
}

/// Show a dead letter with every error it had.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo dead show 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10")]
pub(super) struct Show {
    /// Its id.
    id: JobId,
}

/// Run dead letters again, with all their attempts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo dead requeue 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the seller authorised again'\n  amzigo dead requeue --all --kind sync_orders --error-contains 'connection reset' --dry-run\n  amzigo dead requeue --all --kind sync_orders --error-contains 'connection reset' --reason 'network is back'"
)]
pub(super) struct Requeue {
    #[command(flatten)]
    decision: Decision,
}

/// Give dead letters up. They stay in the ledger, as cancelled, with their errors.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo dead discard 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the order was deleted'\n  amzigo dead discard --all --kind sync_orders --error-contains 'no such seller' --reason 'test sellers'"
)]
pub(super) struct Discard {
    #[command(flatten)]
    decision: Decision,
}

#[derive(Debug, Args)]
struct Decision {
    /// Which dead letters.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with_all = ["all", "kind", "error_contains"])]
    ids: Vec<JobId>,
    /// All that --kind and --error-contains let through, in slices of 500.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Only say how many there are.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Decision {
    async fn run(self, change: Change, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool;
        let filter = Filter::from(self.which.clone());
        if self.dry_run {
            let pool = pool().await?;
            let count = match self.all {
                true => dead::count(&mut *pool.acquire().await?, &filter).await?,
                false => i64::try_from(self.ids.len())?,
            };
            return answers.give(&json!({ "would_change": count }), |_| {
                format!("{} would be {}.", letters(count), done(change))
            });
        }
        let act =
            Act::new(self.actor.as_deref().unwrap_or_default(), self.reason.as_deref().unwrap_or_default())
                .map_err(Stop::usage)?;
        let pool = pool().await?;
        let mut connection = pool.acquire().await?;
        let mut outcome = Changed::default();
        let mut given = self.ids.chunks(MAX_SLICE).map(<[JobId]>::to_vec);
        let mut after = None;
        loop {
            let slice = if self.all {
                dead::slice(&mut connection, &filter, after).await?
            } else {
                given.next().unwrap_or_default()
            };
            let Some(last) = slice.last() else { break };
            after = Some(*last);
            let now = database::now(&mut connection).await?;
            let some = dead::change(&mut connection, change, &slice, &act, now).await?;
            outcome.changed.extend(some.changed);
            outcome.refused.extend(some.refused);
        }
        answers.give(&outcome, |outcome| format!("{} {}.", letters(outcome.changed.len()), done(change)))?;
        match outcome.refused.first() {
            None => Ok(()),
            Some(first) => Err(Stop::refused(anyhow::anyhow!(
                "{} refused; the first: {}",
                letters(outcome.refused.len()),
                first.why
            ))),
        }
    }
}

fn letters(count: impl TryInto<u64>) -> String {
    match count.try_into().unwrap_or_default() {
        1 => "1 dead letter".to_owned(),
        count => format!("{count} dead letters"),
    }
}

const fn done(change: Change) -> &'static str {
    match change {
        Change::Requeue => "requeued",
        Change::Discard => "discarded",
    }
}
