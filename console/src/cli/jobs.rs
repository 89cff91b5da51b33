//! `amzigo jobs` and `amzigo job`: what the ledger knows.

use clap::Args;
use queue::{JobId, Queue, State};

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
};
use crate::ops::jobs::{self, Filter, JobRecord, MAX_PAGE};

/// List jobs, the last enqueued first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo jobs --state running\n  amzigo jobs --kind sync_orders --seller 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --limit 20\n  amzigo jobs --json --limit 500 --before 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10   # the next page"
)]
pub(super) struct Jobs {
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
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PAGE)))]
    limit: u16,
    /// Only those enqueued before this job: `next` of the page before.
    #[arg(long, value_name = "ID")]
    before: Option<JobId>,
}

impl Jobs {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let filter = Filter {
            kind: self.kind,
            state: self.state,
            queue: self.queue,
            group: self.seller,
            before: self.before,
        };
        let page = jobs::list(&mut *pool.acquire().await?, &filter, self.limit).await?;
        answers.give(&page, |page| {
            if page.jobs.is_empty() {
                return "No such jobs.".to_owned();
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
            let more = page.next.map(|id| format!("\n\nMore with --before {id}")).unwrap_or_default();
            format!("{}{more}", table.trim_fmt())
        })
    }
}

/// Show everything that is known of a job, with every error it had.
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
    answers.give(&job, describe)
}

fn describe(job: &JobRecord) -> String {
    let mut facts = answer::table(&["job", &job.id.to_string()]);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.add_row([answer::text(name), answer::text(&value)]);
        }
    };
    fact("kind", Some(job.kind.clone()));
    fact("state", Some(job.state.clone()));
    fact("waits for", job.waits_for.clone());
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
