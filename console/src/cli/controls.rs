//! `amzigo pause`, `resume`, `limit` and `controls`: what may run, and how much of it at once.

use std::{str::FromStr, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};
use queue::{Engine, Queue, controls::Scope, failure};
use runtime::redis::RedisStartError;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    answer::{self, Answers},
    database, redis,
    stop::Stop,
    why,
};
use crate::ops::controls::{self, Change, Control};

/// Take no more jobs of a queue, of a kind, or for a group. What runs goes on; what waits keeps its place.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo pause sync --reason 'Amazon is ill'\n  amzigo pause sync --kind sync_orders --reason 'a bug in the import'\n  amzigo pause sync --group 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the seller asked for it'\n\n`amzigo resume` takes it back, `amzigo controls` shows what is paused."
)]
pub(super) struct Pause {
    #[command(flatten)]
    said: Said,
}

/// Take jobs again of what was paused.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo resume sync --reason 'Amazon is well again'\n  amzigo resume sync --kind sync_orders --reason 'the import is mended'"
)]
pub(super) struct Resume {
    #[command(flatten)]
    said: Said,
}

/// Let at most so many jobs run at once, in all workers: of a kind, for a group, or (with neither) for each group of the
/// queue.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo limit sync 3 --reason 'no seller may fill the workers'   # of each group\n  amzigo limit sync --kind sync_orders 10 --reason 'spare the database'\n  amzigo limit sync --kind sync_orders none --reason 'the database is well'   # the kind's own limit holds again"
)]
pub(super) struct Limit {
    #[command(flatten)]
    said: Said,
    /// How many, or `none`.
    #[arg(value_name = "N|none")]
    most: Most,
}

#[derive(Debug, Clone, Args)]
struct Said {
    /// Which queue: urgent, sync, mail, heavy or upkeep.
    queue: Queue,
    /// Only this kind.
    #[arg(long, conflicts_with = "group")]
    kind: Option<String>,
    /// Only this group, which is usually a seller's id.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

/// How many may run, from the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Most(Option<u32>);

impl FromStr for Most {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(0) => Err("nothing at all is `amzigo pause`"),
            Ok(most) if i32::try_from(most).is_ok() => Ok(Self(Some(most))),
            _ => Err("a limit is a whole number from 1 on, or `none`"),
        }
    }
}

impl Pause {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        self.said.run(Change::Pause, answers).await
    }
}

impl Resume {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        self.said.run(Change::Resume, answers).await
    }
}

impl Limit {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        self.said.run(Change::Limit(self.most.0), answers).await
    }
}

/// Longest wait until Redis has heard of a change; its groups that were parked are brought back in the same call.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a change did.
#[derive(Serialize)]
struct Done {
    queue: Queue,
    #[serde(flatten)]
    scope: Scope,
    /// Whether it was not so before.
    changed: bool,
    /// Whether Redis obeys already.
    told_redis: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_error: Option<String>,
}

impl Said {
    async fn run(self, change: Change, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let queue = self.queue;
        let scope = match (self.kind, self.group) {
            (Some(kind), _) => Scope::Kind(kind),
            (None, Some(group)) => Scope::Group(group),
            (None, None) => Scope::Queue,
        };
        // First, so that a missing setting is said before anything is changed.
        let engine = redis::engine_if_there().await?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let changed =
            controls::change(&mut connection, queue, &scope, change, &act, now).await.map_err(|error| {
                match error.refused() {
                    true => Stop::refused(error),
                    false => error.into(),
                }
            })?;
        let told = tell(&mut connection, engine, queue).await;
        let unknown_group = match &scope {
            Scope::Group(group) if changed => {
                !controls::group_has_jobs(&mut connection, queue, group).await?
            }
            _ => false,
        };
        let done = Done { queue, scope, changed, told_redis: told.is_ok(), redis_error: told.err() };
        answers.give(&done, |done| {
            let mut shown = words(done, change);
            if unknown_group {
                shown.push_str("\nNo job of that group waits or runs there now; check its name if you expected some.");
            }
            if let Some(error) = &done.redis_error {
                shown.push_str("\nIt is written down, but Redis could not be told: ");
                shown.push_str(&answer::plain(error));
                shown.push_str("\nA scheduler tells it as soon as it is back; until then workers that reach it may go on as before.");
            }
            shown
        })
    }
}

/// Tells Redis; the error is for people, because a change that is written is no failure.
async fn tell(
    connection: &mut PgConnection,
    engine: Result<Engine, RedisStartError>,
    queue: Queue,
) -> Result<(), String> {
    let engine = engine.map_err(|error| failure::chain(&error))?;
    match tokio::time::timeout(PATIENCE, controls::tell(connection, &engine, queue)).await {
        Ok(told) => told.map_err(|error| failure::chain(&error)),
        Err(_) => Err("it did not answer in time".to_owned()),
    }
}

fn words(done: &Done, change: Change) -> String {
    let of = answer::plain(&controls::described(done.queue, &done.scope));
    let each = if done.scope == Scope::Queue { "each group of " } else { "" };
    match (change, done.changed) {
        (Change::Pause, true) => format!("Paused {of}. What runs goes on; nothing more of it is taken."),
        (Change::Pause, false) => format!("Nothing new: {of} is paused already."),
        (Change::Resume, true) => format!("Resumed {of}."),
        (Change::Resume, false) => format!("Nothing new: {of} is not paused."),
        (Change::Limit(Some(most)), true) => format!("At most {most} at once now of {each}{of}."),
        (Change::Limit(Some(most)), false) => {
            format!("Nothing new: at most {most} at once of {each}{of} already.")
        }
        (Change::Limit(None), true) => {
            format!("Took the limit of {each}{of} away; where a kind's policy has one, that holds again.")
        }
        (Change::Limit(None), false) => format!("Nothing new: nobody has limited {each}{of}."),
    }
}

/// Show what is paused, limited and weighted: by whom and since when, or by a kind's policy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amzigo controls\n  amzigo controls sync --json")]
pub(super) struct Controls {
    /// Only this queue: urgent, sync, mail, heavy or upkeep.
    queue: Option<Queue>,
}

impl Controls {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let all = controls::list(&mut *pool.acquire().await?, self.queue).await?;
        answers.give(&json!({ "controls": all }), |_| {
            if all.is_empty() {
                return "Nothing is paused, limited or weighted.".to_owned();
            }
            table(&all)
        })
    }
}

fn table(all: &[Control]) -> String {
    let mut table = answer::table(&["queue", "of", "what", "since", "by", "why"]);
    for control in all {
        let of = match &control.scope {
            Scope::Queue => "all of it".to_owned(),
            Scope::Kind(name) => format!("kind {name}"),
            Scope::Group(name) => format!("group {name}"),
        };
        let what =
            if control.in_force { control.says() } else { format!("{} (not in force)", control.says()) };
        let decided = control.decided.as_ref();
        let by = decided.map_or("its policy", |decided| decided.by.as_deref().unwrap_or("unknown"));
        table.add_row([
            answer::text(control.queue.name()),
            answer::text(&of),
            answer::text(&what),
            answer::text(&decided.map(|decided| answer::moment(decided.since)).unwrap_or_default()),
            answer::text(by),
            answer::text(decided.and_then(|decided| decided.reason.as_deref()).unwrap_or_default()),
        ]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!("none".parse(), Ok(Most(None)));
        assert_eq!("3".parse(), Ok(Most(Some(3))));
        for wrong in ["0", "-1", "", "many", "2147483648", "99999999999"] {
            assert!(wrong.parse::<Most>().is_err(), "{wrong}");
        }
    }
}
