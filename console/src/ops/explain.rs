//! Why a job waits, in sentences for a person on call, each with what to do about it.
//!
//! Reads only. Redis may be away: then what cannot be told is said, because that is when people ask.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use queue::{
    Engine, JobId, Queue, State,
    controls::Scope,
    explain::{self, ExplainError, Reason},
};
use serde::Serialize;
use sqlx::PgConnection;

use crate::ops::controls::{self, Control, Setting};

/// One thing that stands between a job and its run, or what it does instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// What.
    #[serde(flatten)]
    pub reason: Reason,
    /// In a sentence.
    pub says: String,
    /// What a person can do.
    pub advice: Option<String>,
}

/// Longest wait for an answer; Redis may be away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says why a job waits, the strongest reason first.
///
/// # Errors
/// When there is no such job, Postgres or Redis fails, or Redis does not answer within five seconds.
pub async fn why(
    connection: &mut PgConnection,
    engine: &Engine,
    id: JobId,
) -> Result<Vec<Explained>, ExplainError> {
    let reasons = tokio::time::timeout(PATIENCE, explain::explain(connection, engine, id))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))
        .map_err(|silence| ExplainError::Redis(silence.into()))??;
    let job = sqlx::query!("select queue, kind, group_name from jobs where id = $1", id.0)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(ExplainError::Unknown(id))?;
    let Ok(queue) = job.queue.parse::<Queue>() else {
        return Err(ExplainError::Queue { id, queue: job.queue });
    };
    let controls = match reasons.iter().any(somebody_said) {
        true => controls::list(connection, Some(queue)).await?,
        false => Vec::new(),
    };
    let place = Place { id, queue, kind: &job.kind, group: &job.group_name, controls: &controls };
    let alone = reasons.len() == 1;
    Ok(reasons
        .into_iter()
        .map(|reason| {
            let (says, advice) = match reason {
                Reason::Turn { ahead_in_group, .. } if !alone => (then_its_turn(ahead_in_group), None),
                _ => place.words(&reason),
            };
            Explained { reason, says, advice }
        })
        .collect())
}

/// Whether a person's word may be behind it.
const fn somebody_said(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::QueuePaused
            | Reason::KindPaused
            | Reason::GroupPaused
            | Reason::KindAtLimit { .. }
            | Reason::GroupAtLimit { .. }
    )
}

/// What the sentences need to know beside the reason.
struct Place<'a> {
    id: JobId,
    queue: Queue,
    kind: &'a str,
    group: &'a str,
    controls: &'a [Control],
}

const SCHEDULER: &str = "start a scheduler, or look at the log of the one that leads";

impl Place<'_> {
    fn words(&self, reason: &Reason) -> (String, Option<String>) {
        let Self { id, queue, kind, group, .. } = self;
        match reason {
            Reason::Ended { state, at } => {
                let since = at.map(|at| format!(" since {}", moment(at))).unwrap_or_default();
                let advice = (*state == State::Dead).then(|| {
                    format!("see its errors with `amzigo job {id}`, then `amzigo dead requeue {id} --reason '…'`, or discard")
                });
                (format!("it waits for nothing: it is {}{since}", state.name()), advice)
            }
            Reason::Running { worker, since, lease_until } => {
                let since = since.map(|at| format!(" since {}", moment(at))).unwrap_or_default();
                match lease_until {
                    Some(end) => (
                        format!(
                            "worker {worker} runs it{since}; its lease lasts until {} and is renewed while the worker lives",
                            moment(*end)
                        ),
                        Some(format!(
                            "`amzigo job {id}` shows how far it has come; `amzigo jobs cancel {id} --reason '…'` asks it to stop"
                        )),
                    ),
                    None => (
                        format!(
                            "worker {worker} ran it{since} and no longer holds its lease: another worker takes it over within seconds"
                        ),
                        Some(format!(
                            "if that does not happen, {SCHEDULER}, and see that a worker is on queue {queue}"
                        )),
                    ),
                }
            }
            Reason::Delayed { until, waits_for } => {
                let what = waits_for.as_deref().unwrap_or("its moment");
                (format!("it is delayed until {} and waits for {what}", moment(*until)), None)
            }
            Reason::InOutbox => (
                "it waits in the outbox: Redis has not been told of it yet".to_owned(),
                Some(format!("that takes milliseconds while a scheduler leads; if it stays, {SCHEDULER}")),
            ),
            Reason::NotInRedis => (
                "Redis does not hold it; the scheduler's next census puts it back, within five minutes"
                    .to_owned(),
                Some(format!("if it stays, {SCHEDULER}")),
            ),
            Reason::QueueClosed => (
                format!("queue {queue} is closed: Redis has lost its data and was not told what is paused"),
                Some(SCHEDULER.to_owned()),
            ),
            Reason::QueuePaused => self.paused(&Scope::Queue),
            Reason::KindPaused => self.paused(&Scope::Kind((*kind).to_owned())),
            Reason::GroupPaused => self.paused(&Scope::Group((*group).to_owned())),
            Reason::KindAtLimit { running, most } => {
                self.full(&Scope::Kind((*kind).to_owned()), &format!("kind {kind}"), *running, *most)
            }
            Reason::GroupAtLimit { running, most } => {
                self.full(&Scope::Group((*group).to_owned()), &format!("group {group}"), *running, *most)
            }
            Reason::GroupOfKindAtLimit { running, most } => (
                format!(
                    "{} of kind {kind} for group {group}, which is as many as its policy lets",
                    run(*running, *most)
                ),
                None,
            ),
            Reason::NoWorker => (
                format!("no worker is on queue {queue}"),
                Some(format!("start a worker with slots for {queue}")),
            ),
            Reason::Turn { ahead_in_group, groups_ahead, other_rings } => (
                format!(
                    "it waits for its turn: {} of its group and kind and {} come first, and {} share the queue's turns",
                    count(*ahead_in_group, "job"),
                    count(*groups_ahead, "other group"),
                    count(Some(*other_rings), "other ring"),
                ),
                Some(format!(
                    "if it is too long, start another worker on queue {queue}, or pause what may wait"
                )),
            ),
        }
    }

    /// What a person said of a scope.
    fn said(&self, scope: &Scope, limit: bool) -> Option<&Control> {
        self.controls.iter().find(|control| {
            control.scope == *scope
                && control.decided.is_some()
                && limit == matches!(control.setting, Setting::Limit { .. })
        })
    }

    fn paused(&self, scope: &Scope) -> (String, Option<String>) {
        let of = controls::described(self.queue, scope);
        match self.said(scope, false) {
            Some(control) => (
                format!("the {of} is paused{}", by(control)),
                Some(format!("`amzigo resume {} --reason '…'`", arguments(self.queue, scope))),
            ),
            // Redis knows it and the table does not: it was resumed a moment ago.
            None => (
                format!("the {of} is paused in Redis, and no longer in the table"),
                Some(format!("look again in a second; if it stays, {SCHEDULER}")),
            ),
        }
    }

    fn full(&self, scope: &Scope, of: &str, running: u64, most: u64) -> (String, Option<String>) {
        // The limit of a group is its own, or the one of each group on the queue.
        let own = self.said(scope, true).map(|control| (control, scope));
        let of_each = || {
            let queue = &Scope::Queue;
            matches!(scope, Scope::Group(_))
                .then(|| self.said(queue, true).map(|control| (control, queue)))
                .flatten()
        };
        let running = run(running, most);
        match own.or_else(of_each) {
            Some((control, scope)) => (
                format!("{running} of {of} on {}, which is its limit{}", self.queue, by(control)),
                Some(format!(
                    "wait, or `amzigo limit {} none --reason '…'`, or a higher number",
                    arguments(self.queue, scope)
                )),
            ),
            None => (
                format!("{running} of {of} on {}, which is as many as its policy lets", self.queue),
                Some(format!(
                    "wait, or `amzigo limit {} N --reason '…'` with a higher number",
                    arguments(self.queue, scope)
                )),
            ),
        }
    }
}

/// What comes after everything else that is in its way.
fn then_its_turn(ahead_in_group: Option<u64>) -> String {
    format!("then it waits for its turn: {} of its group and kind come first", count(ahead_in_group, "job"))
}

fn count(count: Option<u64>, one: &str) -> String {
    match count {
        Some(1) => format!("1 {one}"),
        Some(count) => format!("{count} {one}s"),
        None => format!("more {one}s than are counted"),
    }
}

fn run(running: u64, most: u64) -> String {
    match running {
        1 => format!("1 of {most} runs"),
        _ => format!("{running} of {most} run"),
    }
}

fn by(control: &Control) -> String {
    control.decided.as_ref().map_or_else(String::new, |decided| {
        let since = format!(" since {}", moment(decided.since));
        match (&decided.by, &decided.reason) {
            (Some(by), Some(reason)) => format!("{since} by {by} (“{reason}”)"),
            _ => since,
        }
    })
}

/// As the commands take it. A group may be called anything, so its name is quoted.
fn arguments(queue: Queue, scope: &Scope) -> String {
    match scope {
        Scope::Queue => queue.to_string(),
        Scope::Kind(name) => format!("{queue} --kind {name}"),
        Scope::Group(name) => format!("{queue} --group '{}'", name.replace('\'', r"'\''")),
    }
}

/// In UTC, as everywhere in the console.
fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
