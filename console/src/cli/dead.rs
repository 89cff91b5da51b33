//! `amzigo dead`: the dead letters, and what a person decides about them.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use queue::{JobId, Queue, dead::DeadLetter};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, jobs,
    stop::Stop,
    why,
};
use crate::ops::dead::{self, Bulk, Change, Changed, Filter, MAX_SLICE};

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
    after_help = "Examples:\n  amzigo dead list\n  amzigo dead list --kind sync_orders --error 'quota'"
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
    /// Only this queue: urgent, sync, mail, heavy or upkeep.
    #[arg(long)]
    queue: Option<Queue>,
    /// Only this seller's (any group's name).
    #[arg(long, value_name = "ID")]
    seller: Option<String>,
    /// Only those whose last error contains this text.
    #[arg(long, value_name = "TEXT", visible_alias = "error-contains")]
    error: Option<String>,
    /// Only those that died at this moment or later, as 2026-11-23T10:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    died_after: Option<DateTime<Utc>>,
    /// Only those that died before this moment.
    #[arg(long, value_name = "MOMENT")]
    died_before: Option<DateTime<Utc>>,
}

/// The filters by their names, for rules about arguments.
const FILTERS: [&str; 6] = ["kind", "queue", "seller", "error", "died_after", "died_before"];

impl Which {
    fn filter(self, most: Option<u32>) -> Filter {
        Filter {
            kind: self.kind,
            queue: self.queue,
            group: self.seller,
            error_contains: self.error,
            died_after: self.died_after,
            died_before: self.died_before,
            most,
        }
    }
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let letters = dead::list(&mut *pool.acquire().await?, &self.which.filter(None), self.limit).await?;
        answers.give(&json!({ "dead": letters }), |_| {
            if letters.is_empty() {
                return "No dead letters.".to_owned();
            }
            table(&letters)
        })
    }
}

fn table(letters: &[DeadLetter]) -> String {
    let mut table = answer::table(&["id", "kind", "for", "died", "attempts", "error"]);
    for letter in letters {
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
    after_help = "Examples:\n  amzigo dead requeue 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the seller authorised again'\n  amzigo dead requeue --kind sync_orders --error 'connection reset' --dry-run\n  amzigo dead requeue --kind sync_orders --error 'connection reset' --reason 'the network is back'"
)]
pub(super) struct Requeue {
    #[command(flatten)]
    decision: Decision,
}

/// Give dead letters up. They stay in the ledger, as cancelled, with their errors.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo dead discard 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the order was deleted'\n  amzigo dead discard --kind sync_orders --error 'no such seller' --died-before 2026-11-01T00:00:00Z --reason 'test sellers'"
)]
pub(super) struct Discard {
    #[command(flatten)]
    decision: Decision,
}

#[derive(Debug, Args)]
struct Decision {
    /// Which dead letters; or let filters choose them.
    #[arg(value_name = "ID", required_unless_present_any = FILTERS.into_iter().chain(["all"]),
        conflicts_with_all = FILTERS.into_iter().chain(["all", "most"]))]
    ids: Vec<JobId>,
    /// All that there are, or that the filters let through.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// At most so many of those that the filters let through, the first enqueued first.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    most: Option<u32>,
    /// Only say how many there are, and show a few.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

/// Letters that a dry run shows.
const SHOWN: u16 = 5;

impl Decision {
    async fn run(self, change: Change, answers: Answers) -> Result<(), Stop> {
        if self.dry_run {
            return self.show(change, answers).await;
        }
        let act = why::act(self.actor.as_deref(), self.reason.as_deref().unwrap_or_default())?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let mut outcome = Changed::default();
        let mut add = |some: Changed| {
            outcome.changed.extend(some.changed);
            outcome.refused.extend(some.refused);
        };
        if self.ids.is_empty() {
            let mut bulk = Bulk::new(change, self.which.filter(self.most), act);
            loop {
                let now = database::now(&mut connection).await?;
                let Some(some) = bulk.next(&mut connection, now).await? else { break };
                add(some);
            }
        } else {
            for ids in self.ids.chunks(MAX_SLICE) {
                let now = database::now(&mut connection).await?;
                add(dead::change(&mut connection, change, ids, &act, now).await?);
            }
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

    async fn show(self, change: Change, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let (count, some) = if self.ids.is_empty() {
            let filter = self.which.filter(self.most);
            let count = dead::count(&mut connection, &filter).await?;
            (count, dead::list(&mut connection, &filter, SHOWN).await?)
        } else {
            let mut dead = dead::dead_of(&mut connection, &self.ids).await?;
            let count = i64::try_from(dead.len())?;
            dead.truncate(usize::from(SHOWN));
            (count, dead)
        };
        answers.give(&json!({ "would_change": count, "some": some }), |_| {
            let mut shown = format!("{} would be {}.", letters(count), done(change));
            if !some.is_empty() {
                shown.push_str("\n\n");
                shown.push_str(&table(&some));
            }
            shown
        })
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
