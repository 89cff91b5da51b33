//! `amzigo jobs` and `amzigo job`: what the ledger knows.

use clap::{Args, Subcommand};
use queue::{JobId, Queue, State, failure, progress::Progress};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    answer::{self, Answers},
    cancel::Cancel,
    database,
    explain::Explain,
    redis,
    run_now::RunNow,
    stop::Stop,
};
use crate::ops::{
    explain::{self, Explained},
    jobs::{self, Filter, JobRecord, MAX_PAGE},
    search::{self, Search},
    story::{self, Story},
};

/// List jobs, the last enqueued first; or ask about one, or cancel it.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  amzigo jobs --state running\n  amzigo jobs --kind sync_orders --seller 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --limit 20\n  amzigo jobs --search 'state:dead error:\"timed out\" since:2d'\n  amzigo jobs --json --limit 500 --before 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10   # the next page\n  amzigo jobs explain 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10   # why it waits"
)]
pub(super) struct Jobs {
    #[command(subcommand)]
    one: Option<One>,
    #[command(flatten)]
    list: List,
}

/// What can be asked and done about one job.
#[derive(Debug, Subcommand)]
enum One {
    Explain(Explain),
    Cancel(Cancel),
    RunNow(RunNow),
}

impl Jobs {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self.one {
            None => self.list.run(answers).await,
            Some(One::Explain(explain)) => explain.run(answers).await,
            Some(One::Cancel(cancel)) => cancel.run(answers).await,
            Some(One::RunNow(run_now)) => run_now.run(answers).await,
        }
    }
}

#[derive(Debug, Args)]
struct List {
    /// Only this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only this state: ready, delayed, running, done, dead or cancelled.
    #[arg(long)]
    state: Option<State>,
    /// Only this queue: urgent, sync, mail, heavy or upkeep.
    #[arg(long)]
    queue: Option<Queue>,
    /// Only this seller's (any group's name).
    #[arg(long, value_name = "ID")]
    seller: Option<String>,
    /// Only those whose last error contains this text.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those enqueued since then: 2h ago, or 2026-11-23T10:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Only those enqueued before then.
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// All of that and more in one line, as on the page of jobs: kind:sync_orders error:"timed out" ended_since:2h.
    #[arg(long, value_name = "LINE", default_value = "", hide_default_value = true)]
    search: String,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PAGE)))]
    limit: u16,
    /// Only those enqueued before this job: `next` of the page before.
    #[arg(long, value_name = "ID")]
    before: Option<JobId>,
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let wrong = |error: String| Stop::usage(anyhow::anyhow!(error));
        let searched = Search::read(&self.search).and_then(|search| search.filter(now)).map_err(wrong)?;
        let moment =
            |text: Option<String>| text.map(|text| search::moment(&text, now)).transpose().map_err(wrong);
        let filter = Filter {
            kind: self.kind.or(searched.kind),
            state: self.state.or(searched.state),
            queue: self.queue.or(searched.queue),
            group: self.seller.or(searched.group),
            error_contains: self.error.or(searched.error_contains),
            since: moment(self.since)?.or(searched.since),
            until: moment(self.until)?.or(searched.until),
            before: self.before.or(searched.before),
            ..searched
        };
        let page = jobs::list(&mut connection, &filter, self.limit).await?;
        answers.give(&page, |page| {
            if page.jobs.is_empty() {
                return page.looked_at.zip(page.next).map_or_else(
                    || "No such jobs.".to_owned(),
                    |(jobs, next)| {
                        format!("None among the last {jobs}. Look further back with --before {next}")
                    },
                );
            }
            let mut table =
                answer::table(&["id", "kind", "state", "queue", "for", "attempts", "enqueued", "why"]);
            for job in &page.jobs {
                let why = job.waits_for.as_deref().or(job.last_error.as_deref()).unwrap_or_default();
                table.add_row([
                    answer::text(&job.id.to_string()),
                    answer::text(&job.kind),
                    answer::state(&job.state),
                    answer::text(&job.queue),
                    answer::text(&job.group),
                    answer::text(&job.attempts.to_string()),
                    answer::text(&answer::moment(job.created_at)),
                    answer::text(&answer::short(why, 80)),
                ]);
            }
            let looked =
                page.looked_at.map(|jobs| format!(" ({jobs} jobs were looked at)")).unwrap_or_default();
            let more = page.next.map(|id| format!("\n\nMore with --before {id}{looked}")).unwrap_or_default();
            format!("{}{more}", table.trim_fmt())
        })
    }
}

/// Show everything that is known of a job, with every error it had; of one that has not ended, also why it waits.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo job 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10")]
pub(super) struct Job {
    /// Its id.
    id: JobId,
}

impl Job {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        show(self.id, answers).await
    }
}

/// Shows one job; dead letters are shown the same way.
pub(super) async fn show(id: JobId, answers: Answers) -> Result<(), Stop> {
    let pool = database::migrated_pool().await?;
    let mut connection = pool.acquire().await?;
    let now = database::now(&mut connection).await?;
    let Some(job) = jobs::show(&mut connection, id, now).await? else {
        return Err(Stop::refused(anyhow::anyhow!(
            "there is no job {id}; `amzigo jobs` lists those that there are"
        )));
    };
    let (why, why_unknown) = match why(&mut connection, &job).await {
        Ok(why) => (why, None),
        Err(unknown) => (Vec::new(), Some(unknown)),
    };
    let story = story::of(&mut connection, id).await?;
    answers.give(&Shown { job, why, why_unknown, story }, describe)
}

/// A job, and what stands between it and its run.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobRecord,
    /// The strongest reason first; of a job that has ended, nothing.
    why: Vec<Explained>,
    /// Why that cannot be told.
    why_unknown: Option<String>,
    /// What caused it, what it caused, and what people did about it.
    #[serde(flatten)]
    story: Story,
}

/// Redis may be away or not set up here; the job is shown all the same.
async fn why(connection: &mut PgConnection, job: &JobRecord) -> Result<Vec<Explained>, String> {
    if job.finished_at.is_some() {
        return Ok(Vec::new());
    }
    let engine = redis::engine().await.map_err(|error| failure::chain(&error))?;
    explain::why(connection, &engine, job.id).await.map_err(|error| failure::chain(&error))
}

fn describe(shown: &Shown) -> String {
    let Shown { job, why, why_unknown, story } = shown;
    let mut facts = answer::table(&["job", &job.id.to_string()]);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.add_row([answer::text(name), answer::text(&value)]);
        }
    };
    fact("kind", Some(job.kind.clone()));
    fact("state", Some(job.state.clone()));
    fact("waits for", job.waits_for.clone());
    for (n, reason) in why.iter().enumerate() {
        let advice = reason.advice.as_ref().map(|advice| format!(" → {advice}")).unwrap_or_default();
        fact(if n == 0 { "why" } else { "and" }, Some(format!("{}{advice}", reason.says)));
    }
    fact("why", why_unknown.as_ref().map(|unknown| format!("cannot be told: {unknown}")));
    fact("progress", job.progress.as_ref().map(progress));
    fact(
        "cancel",
        job.cancel.as_ref().map(|request| {
            let by = request.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let reason = request.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("asked for at {}{by}{reason}", answer::moment(request.at))
        }),
    );
    fact("queue", Some(job.queue.clone()));
    fact("for", Some(job.group.clone()));
    fact("payload", Some(job.payload.to_string()));
    let counts = format!("{} failed, {} crashed, {} snoozed", job.attempts, job.crashes, job.snoozes);
    fact("runs", Some(counts));
    let cause = job.caused_by.map_or_else(|| job.cause.clone(), |by| format!("{} {by}", job.cause));
    fact("cause", Some(cause));
    let held = job.unique_key.as_ref().zip(job.unique.as_ref());
    fact("unique key", held.map(|(key, how_long)| format!("{key} ({how_long})")));
    fact("idempotency key", job.idempotency_key.clone());
    fact("enqueued", Some(answer::moment(job.created_at)));
    fact("due", Some(answer::moment(job.due_at)));
    fact("deadline", job.deadline_at.map(answer::moment));
    let outlook = job.deadline.as_ref();
    fact("latest safe start", outlook.map(|deadline| answer::moment(deadline.latest_safe_start)));
    fact("outlook", outlook.map(|deadline| format!("{}: {}", deadline.level, deadline.why)));
    fact("expires", job.expires_at.map(answer::moment));
    fact("batch", job.batch.map(|batch| batch.to_string()));
    fact("trace", job.traceparent.clone());
    fact("last run began", job.started_at.map(answer::moment));
    fact("ended", job.finished_at.map(answer::moment));
    fact("worker", job.worker.map(|worker| worker.to_string()));
    fact("in outbox", job.in_outbox.then(|| "yes: Redis has not been told of it yet".to_owned()));
    fact("report", job.report.as_ref().map(ToString::to_string));
    fact("last error", job.last_error.clone());
    for related in &story.follow {
        fact("it caused", Some(format!("{} {} ({})", related.kind, related.id, related.state)));
    }
    for act in &story.acts {
        fact(
            "an act",
            Some(format!("{} {} by {}: {}", answer::moment(act.at), act.action, act.actor, act.reason)),
        );
    }
    let mut shown = facts.trim_fmt();
    let escalations = outlook.map_or(&[][..], |deadline| &deadline.escalations);
    if !escalations.is_empty() {
        let mut levels = answer::table(&["escalated", "level", "latest safe start", "why"]);
        for reached in escalations {
            levels.add_row([
                answer::text(&answer::moment(reached.at)),
                answer::text(reached.level.name()),
                answer::text(&answer::moment(reached.latest_safe_start)),
                answer::text(&reached.why),
            ]);
        }
        shown.push_str("\n\n");
        shown.push_str(&levels.trim_fmt());
    }
    if !job.failures.is_empty() {
        let mut runs = answer::table(&["failed run", "what followed", "error"]);
        for run in &job.failures {
            runs.add_row([
                answer::text(&answer::moment(run.at)),
                answer::text(&run.decision),
                answer::text(&run.error),
            ]);
        }
        shown.push_str("\n\n");
        shown.push_str(&runs.trim_fmt());
    }
    shown
}

/// `120 of 400 (30 %): reading the report`.
fn progress(told: &Progress) -> String {
    let far = match told.total {
        Some(total) if total > 0 => {
            let percent = u128::from(told.done.min(total)) * 100 / u128::from(total);
            format!("{} of {total} ({percent} %)", told.done)
        }
        _ => told.done.to_string(),
    };
    let message = told.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{far}{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_with_and_without_a_total() {
        let told = |done, total, message: Option<&str>| {
            progress(&Progress { done, total, message: message.map(str::to_owned) })
        };
        assert_eq!(told(120, Some(400), Some("reading")), "120 of 400 (30 %): reading");
        assert_eq!(told(7, None, None), "7");
        assert_eq!(told(7, Some(0), None), "7");
        assert_eq!(told(u64::MAX, Some(3), None), format!("{} of 3 (100 %)", u64::MAX));
    }
}
