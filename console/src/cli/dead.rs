//! `amzigo dead`: the dead letters, and what a person decides about them.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use queue::{
    JobId, Queue,
    bulk::{Change, Filter, MAX_SLICE},
    dead::DeadLetter,
};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, jobs,
    stop::Stop,
    why,
};
use crate::ops::{
    bulk::{self, ChangeError, Changed},
    dead::{self, DeadGroup},
};

/// See and decide about jobs that ended in failure.
#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    List(List),
    Groups(Groups),
    Show(Show),
    Requeue(Requeue),
    Discard(Discard),
}

impl Dead {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::List(list) => list.run(answers).await,
            Self::Groups(groups) => groups.run(answers).await,
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
pub(super) struct Which {
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
    /// Only those of a group of `amzigo dead groups`, by its key.
    #[arg(long, value_name = "KEY")]
    pattern: Option<String>,
    /// Only those that died at this moment or later, as 2026-11-23T10:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    died_after: Option<DateTime<Utc>>,
    /// Only those that died before this moment.
    #[arg(long, value_name = "MOMENT")]
    died_before: Option<DateTime<Utc>>,
}

/// The filters by their names, for rules about arguments.
pub(super) const FILTERS: [&str; 7] =
    ["kind", "queue", "seller", "error", "pattern", "died_after", "died_before"];

impl Which {
    pub(super) fn filter(self) -> Filter {
        Filter {
            kind: self.kind,
            queue: self.queue,
            group: self.seller,
            error_contains: self.error,
            pattern: self.pattern,
            since: self.died_after,
            until: self.died_before,
        }
    }
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let letters = dead::list(&mut *pool.acquire().await?, &self.which.filter(), self.limit).await?;
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

/// Show dead letters by what they have in common: their kind, and their error without what differs from one to the next.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo dead groups\n  amzigo dead list --pattern 4f0c2a9d7b13e588\n  amzigo bulk plan requeue --pattern 4f0c2a9d7b13e588"
)]
pub(super) struct Groups {
    /// At most so many, the largest first.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl Groups {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let groups = dead::groups(&mut connection, i64::from(self.limit), now).await?;
        answers.give(&json!({ "now": now, "groups": groups }), |_| {
            if groups.is_empty() {
                return "No dead letters.".to_owned();
            }
            groups_table(&groups)
        })
    }
}

fn groups_table(groups: &[DeadGroup]) -> String {
    let mut table = answer::table(&[
        "key",
        "kind",
        "letters",
        "last hour",
        "sellers",
        "first died",
        "last died",
        "error",
    ]);
    for group in groups {
        table.add_row([
            answer::text(&group.key),
            answer::text(&group.kind),
            answer::text(&group.letters.to_string()),
            answer::text(&group.last_hour.to_string()),
            answer::text(&group.groups.to_string()),
            answer::text(&answer::moment(group.first_at)),
            answer::text(&answer::moment(group.last_at)),
            answer::text(&answer::short(&group.pattern, 120)),
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

/// Run dead letters again, with all their attempts. More than 500 at once are a bulk operation: `amzigo bulk`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo dead requeue 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the seller authorised again'\n  amzigo dead requeue --kind sync_orders --error 'connection reset' --dry-run\n  amzigo dead requeue --kind sync_orders --error 'connection reset' --reason 'the network is back'"
)]
pub(super) struct Requeue {
    #[command(flatten)]
    decision: Decision,
}

/// Give dead letters up. They stay in the ledger, as cancelled, with their errors. More than 500 at once
/// are a bulk operation: `amzigo bulk`.
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
            let now = database::now(&mut connection).await?;
            let filter = self.which.filter();
            let done = bulk::change_dead(&mut connection, change, &filter, self.most, &act, now).await;
            add(done.map_err(|error| match error {
                ChangeError::TooMany { .. } => Stop::refused(error),
                ChangeError::Database(_) => error.into(),
            })?);
        } else {
            for ids in self.ids.chunks(MAX_SLICE) {
                let now = database::now(&mut connection).await?;
                add(bulk::change(&mut connection, change, ids, &act, now).await?);
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
            let filter = self.which.filter();
            let count = dead::count(&mut connection, &filter, self.most).await?;
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
        Change::Cancel => "cancelled",
    }
}
