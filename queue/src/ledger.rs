//! The memory: what every job became. A run begins and settles here before Redis is told.
//!
//! Two copies of a job may be in Redis (the relay or reconcile pushed it twice), and a worker that lost its lease may still
//! be running. The ledger decides all the same: a run begins only with a higher fencing token than the last, never beside
//! a run whose worker still holds the lease, and settles only under its own token.
//!
//! The statements that change many jobs test the state in a `case`, so that Postgres finds the jobs by their ids. By a plain
//! comparison it may take the index of unfinished jobs instead, and read the whole backlog for each batch.

mod notes;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::PgPool;

use crate::{
    JobId, State, WorkerId, expiry, memory::ledger::MemoryLedger, progress::Progress, retry::Verdict,
    storable, trace::TraceContext,
};

/// What the ledger says when a run wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Run it.
    Run {
        /// Failed attempts so far.
        attempts: i32,
        /// Workers lost while they ran it.
        crashes: i32,
        /// When it must be done.
        deadline_at: Option<DateTime<Utc>>,
        /// Where in a trace it was enqueued.
        trace: Option<TraceContext>,
    },
    /// It has ended already: forget this copy.
    Finished,
    /// It is delayed until then: put this copy back.
    NotDue(DateTime<Utc>),
    /// It runs at this worker, as far as the ledger knows.
    Running(WorkerId),
    /// The ledger knows a higher token: Redis' clock went back.
    FenceTooLow(i64),
    /// The ledger does not know it: forget this copy.
    Unknown,
}

/// How one run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The job.
    pub id: JobId,
    /// Token of its run.
    pub fence: i64,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What a job waits for after a retry; whatever else is written there names a moment that was set aside.
pub(crate) const NEXT_ATTEMPT: &str = "the next attempt";

/// Clocks of processes follow that of Redis, and may differ by this much.
pub(crate) const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(1);

/// The ledger. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Ledger {
    side: Side,
}

#[derive(Debug, Clone)]
enum Side {
    Postgres(PgPool),
    Memory(Arc<MemoryLedger>),
    None,
}

impl Ledger {
    /// The ledger behind this pool.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self { side: Side::Postgres(pool) }
    }

    /// A ledger in this process' memory, for tests: the same decisions, and gone with the process.
    pub(crate) const fn in_memory(memory: Arc<MemoryLedger>) -> Self {
        Self { side: Side::Memory(memory) }
    }

    /// No ledger: whatever is claimed runs, and every result is accepted. For measuring the engine alone.
    pub(crate) const fn none() -> Self {
        Self { side: Side::None }
    }

    /// Begins runs of the jobs of one claim. One statement in the usual case, more when a copy is odd.
    ///
    /// # Errors
    /// When the database fails; then none has begun.
    pub async fn begin(
        &self,
        worker: WorkerId,
        fence: i64,
        ids: &[JobId],
        now: DateTime<Utc>,
    ) -> Result<HashMap<JobId, Begun>, sqlx::Error> {
        let pool = match &self.side {
            Side::Postgres(pool) => pool,
            Side::Memory(memory) => return Ok(memory.begin(worker, fence, ids, now)),
            Side::None => {
                let run = Begun::Run { attempts: 0, crashes: 0, deadline_at: None, trace: None };
                return Ok(ids.iter().map(|id| (*id, run.clone())).collect());
            }
        };
        let raw: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"
            update jobs set state = 'running', worker = $2, fence = $3, started_at = $4, touched_at = $4, waits_for = null,
                waiting_key = null, expires_at = null
            where id = any($1) and fence < $3
                and case state when 'ready' then true when 'delayed' then due_at <= $5 else false end
                and (expires_at is null or expires_at > $4 or started_at is not null)
            returning id, attempts, crashes, deadline_at, traceparent
            "#,
            &raw,
            worker.0,
            fence,
            now,
            now + CLOCK_SLACK,
        )
        .fetch_all(pool)
        .await?;
        let mut begun: HashMap<_, _> = rows
            .into_iter()
            .map(|row| {
                let run = Begun::Run {
                    attempts: row.attempts,
                    crashes: row.crashes,
                    deadline_at: row.deadline_at,
                    trace: row.traceparent.as_deref().and_then(TraceContext::from_outside),
                };
                (JobId(row.id), run)
            })
            .collect();
        let odd: Vec<_> = raw.into_iter().filter(|id| !begun.contains_key(&JobId(*id))).collect();
        if !odd.is_empty() {
            begun.extend(why_not(pool, worker, fence, &odd, now).await?);
        }
        Ok(begun)
    }

    /// Begins runs of jobs whose workers lost their leases. Counts a crash each; a job with `max_crashes` of them is dead
    /// and answered as finished. A run that began before `data_since` lost its lease with Redis' data, through no fault of
    /// its own: that is no crash.
    ///
    /// # Errors
    /// When the database fails; then none has begun.
    pub async fn take_over(
        &self,
        worker: WorkerId,
        fence: i64,
        lost: &[(JobId, WorkerId, i32)],
        data_since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<HashMap<JobId, Begun>, sqlx::Error> {
        let pool = match &self.side {
            Side::Postgres(pool) => pool,
            Side::Memory(memory) => return Ok(memory.take_over(worker, fence, lost, data_since, now)),
            Side::None => return Ok(HashMap::new()),
        };
        let ids: Vec<_> = lost.iter().map(|(id, ..)| id.0).collect();
        let from: Vec<_> = lost.iter().map(|(_, worker, _)| worker.0).collect();
        let most: Vec<_> = lost.iter().map(|(.., most)| *most).collect();
        let rows = sqlx::query!(
            r#"
            with lost as (
                select jobs.id, given.worker, given.most, coalesce(jobs.started_at < $7, false) as excused,
                    case when jobs.cancel_requested_at is not null then 'cancelled'
                        when jobs.crashes + 1 >= given.most and not coalesce(jobs.started_at < $7, false) then 'dead'
                        else 'running' end as becomes
                from jobs join unnest($1::uuid[], $2::uuid[], $3::int[]) as given (id, worker, most) on given.id = jobs.id
                where jobs.state = 'running' and jobs.worker = given.worker and jobs.fence < $5
                for update of jobs
            ), noted as (
                insert into failures (job_id, at, fence, decision, error, worker)
                select id, $6, $5, 'crash', 'the worker that ran the job was lost', worker from lost where not excused
                on conflict do nothing
            )
            update jobs set
                crashes = jobs.crashes + (not lost.excused)::int, fence = $5, touched_at = $6,
                state = lost.becomes,
                finished_at = case when lost.becomes <> 'running' then $6 end,
                last_error = case when lost.becomes = 'dead'
                    then 'the job was running each of the ' || lost.most || ' times that its worker was lost'
                    else last_error end,
                worker = $4, started_at = $6, waits_for = null
            from lost where jobs.id = lost.id
            returning jobs.id, jobs.attempts, jobs.crashes, jobs.deadline_at, jobs.traceparent, lost.becomes as "becomes!"
            "#,
            &ids,
            &from,
            &most,
            worker.0,
            fence,
            now,
            data_since,
        )
        .fetch_all(pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let answer = if row.becomes != State::Running.name() {
                    Begun::Finished
                } else {
                    Begun::Run {
                        attempts: row.attempts,
                        crashes: row.crashes,
                        deadline_at: row.deadline_at,
                        trace: row.traceparent.as_deref().and_then(TraceContext::from_outside),
                    }
                };
                (JobId(row.id), answer)
            })
            .collect())
    }

    /// Writes how far runs have come; of those that have ended meanwhile, nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_progress(&self, told: &[(JobId, i64, Progress)]) -> Result<(), sqlx::Error> {
        if told.is_empty() {
            return Ok(());
        }
        let pool = match &self.side {
            Side::Postgres(pool) => pool,
            Side::Memory(memory) => {
                memory.note_progress(told);
                return Ok(());
            }
            Side::None => return Ok(()),
        };
        let ids: Vec<_> = told.iter().map(|(id, ..)| id.0).collect();
        let fences: Vec<_> = told.iter().map(|(_, fence, _)| *fence).collect();
        let progress: Vec<_> =
            told.iter().map(|(.., progress)| serde_json::to_value(progress).unwrap_or_default()).collect();
        sqlx::query!(
            r#"
            update jobs set progress = given.progress
            from unnest($1::uuid[], $2::bigint[], $3::jsonb[]) as given (id, fence, progress)
            where jobs.id = given.id and jobs.fence = given.fence
                and case jobs.state when 'running' then true else false end
            "#,
            &ids,
            &fences,
            &progress,
        )
        .execute(pool)
        .await?;
        Ok(())
    }

    /// Which of a worker's running jobs somebody wants cancelled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_requested(&self, worker: WorkerId) -> Result<Vec<JobId>, sqlx::Error> {
        let pool = match &self.side {
            Side::Postgres(pool) => pool,
            Side::Memory(memory) => return Ok(memory.cancel_requested(worker)),
            Side::None => return Ok(Vec::new()),
        };
        let ids = sqlx::query_scalar!(
            r#"
            select id from jobs
            where cancel_requested_at is not null and finished_at is null and worker = $1 and state = 'running'
            "#,
            worker.0
        )
        .fetch_all(pool)
        .await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// Settles runs. One that ended by itself starts the count of crashes anew. Returns the jobs it accepted, now or
    /// before: telling it again is harmless. The others' tokens are no longer the last ones, so what those runs say does
    /// not count.
    ///
    /// # Errors
    /// When the database fails; then none is settled.
    pub async fn settle(
        &self,
        settled: &[Settled],
        now: DateTime<Utc>,
    ) -> Result<HashSet<JobId>, sqlx::Error> {
        match &self.side {
            Side::Postgres(pool) => settle(pool, settled, now).await,
            Side::Memory(memory) => Ok(memory.settle(settled)),
            Side::None => Ok(settled.iter().map(|run| run.id).collect()),
        }
    }
}

/// For jobs that did not begin: why. Those that have expired are cancelled.
async fn why_not(
    pool: &PgPool,
    worker: WorkerId,
    fence: i64,
    ids: &[uuid::Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<(JobId, Begun)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id, state, due_at, worker, fence, attempts, crashes, deadline_at, traceparent,
            coalesce(expires_at <= $2 and started_at is null and finished_at is null, false) as "expired!"
        from jobs where id = any($1)
        "#,
        ids,
        now,
    )
    .fetch_all(pool)
    .await?;
    let expired: Vec<_> = rows.iter().filter(|row| row.expired).map(|row| row.id).collect();
    let cancelled = expiry::cancel(pool, &expired, now).await?;
    let answer = |id: &uuid::Uuid| {
        let Some(row) = rows.iter().find(|row| row.id == *id) else { return Begun::Unknown };
        if cancelled.contains(id) {
            return Begun::Finished;
        }
        match (row.state.as_str(), row.worker.map(WorkerId)) {
            ("done" | "dead" | "cancelled", _) => Begun::Finished,
            // The statement above did its work, but the answer was lost and it was sent again.
            ("running", Some(at)) if row.fence == fence && at == worker => Begun::Run {
                attempts: row.attempts,
                crashes: row.crashes,
                deadline_at: row.deadline_at,
                trace: row.traceparent.as_deref().and_then(TraceContext::from_outside),
            },
            ("running", Some(at)) if row.fence < fence => Begun::Running(at),
            _ if row.fence >= fence => Begun::FenceTooLow(row.fence),
            _ => Begun::NotDue(row.due_at),
        }
    };
    // One that expired while somebody else changed it gets no answer, and is asked for again.
    let changing = |id: &&uuid::Uuid| expired.contains(id) && !cancelled.contains(id);
    Ok(ids.iter().filter(|id| !changing(id)).map(|id| (JobId(*id), answer(id))).collect())
}

/// What a verdict writes.
#[derive(Default)]
struct Change {
    state: &'static str,
    report: Option<Value>,
    error: Option<String>,
    decision: Option<&'static str>,
    due_at: Option<DateTime<Utc>>,
    waits_for: Option<String>,
}

fn change(verdict: &Verdict) -> Change {
    match verdict.clone() {
        Verdict::Done { report } => {
            Change { state: "done", report: Some(storable::json(report)), ..Change::default() }
        }
        Verdict::Retry { due_at, error } => Change {
            state: "delayed",
            error: Some(error),
            decision: Some("retry"),
            due_at: Some(due_at),
            waits_for: Some(NEXT_ATTEMPT.to_owned()),
            ..Change::default()
        },
        Verdict::Snooze { due_at, waits_for } => {
            let waits_for = Some(storable::text(&waits_for));
            Change { state: "delayed", due_at: Some(due_at), waits_for, ..Change::default() }
        }
        Verdict::Dead { error } => {
            Change { state: "dead", error: Some(error), decision: Some("reject"), ..Change::default() }
        }
        Verdict::Cancelled { reason } => {
            Change { state: "cancelled", error: Some(storable::text(&reason)), ..Change::default() }
        }
        // Of a lost lease this worker knows that it has stopped, so it is not a crash, unless another one was faster.
        Verdict::HandBack | Verdict::LeaseLost => Change { state: "ready", ..Change::default() },
    }
}

async fn settle(
    pool: &PgPool,
    settled: &[Settled],
    now: DateTime<Utc>,
) -> Result<HashSet<JobId>, sqlx::Error> {
    let (mut ids, mut fences, mut states, mut reports) = (vec![], vec![], vec![], vec![]);
    let (mut errors, mut decisions, mut due, mut waits) = (vec![], vec![], vec![], vec![]);
    for run in settled {
        let change = change(&run.verdict);
        ids.push(run.id.0);
        fences.push(run.fence);
        states.push(change.state.to_owned());
        reports.push(change.report);
        errors.push(change.error);
        decisions.push(change.decision.map(str::to_owned));
        due.push(change.due_at);
        waits.push(change.waits_for);
    }
    let rows = sqlx::query_scalar!(
        r#"
        with settled as (
            update jobs set
                state = case when jobs.cancel_requested_at is not null and given.state <> 'done'
                    then 'cancelled' else given.state end,
                report = given.report, touched_at = $9::timestamptz,
                last_error = coalesce(given.error, jobs.last_error),
                due_at = coalesce(given.due_at, jobs.due_at),
                waits_for = given.waits_for,
                attempts = jobs.attempts + (given.decision is not null)::int,
                snoozes = jobs.snoozes + (given.state = 'delayed' and given.decision is null)::int,
                crashes = case when given.state = 'delayed' then 0 else jobs.crashes end,
                finished_at = case
                    when given.state in ('done', 'dead', 'cancelled') or jobs.cancel_requested_at is not null
                    then $9::timestamptz end
            from unnest($1::uuid[], $2::bigint[], $3::text[], $4::jsonb[], $5::text[], $6::text[], $7::timestamptz[], $8::text[])
                as given (id, fence, state, report, error, decision, due_at, waits_for)
            where jobs.id = given.id and jobs.fence = given.fence
                and case jobs.state when 'running' then true else false end
            returning jobs.id, jobs.fence, jobs.worker, given.error, given.decision
        ), noted as (
            insert into failures (job_id, at, fence, decision, error, worker)
            select id, $9::timestamptz, fence, decision, error, worker from settled where decision is not null
            on conflict do nothing
        )
        select id as "id!" from settled
        "#,
        &ids,
        &fences,
        &states,
        &reports as &[Option<Value>],
        &errors as &[Option<String>],
        &decisions as &[Option<String>],
        &due as &[Option<DateTime<Utc>>],
        &waits as &[Option<String>],
        now,
    )
    .fetch_all(pool)
    .await?;
    let mut accepted: HashSet<_> = rows.into_iter().map(JobId).collect();
    if accepted.len() < ids.len() {
        accepted.extend(settled_before(pool, &ids, &fences, &states).await?);
    }
    Ok(accepted)
}

/// Runs that are settled already as they say: the first answer was lost, and they were told again. Refused, Redis would
/// drop what the ledger says is delayed.
async fn settled_before(
    pool: &PgPool,
    ids: &[uuid::Uuid],
    fences: &[i64],
    states: &[String],
) -> Result<Vec<JobId>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select jobs.id
        from jobs join unnest($1::uuid[], $2::bigint[], $3::text[]) as given (id, fence, state) on given.id = jobs.id
        where jobs.fence = given.fence and jobs.state = given.state
        "#,
        ids,
        fences,
        states,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(JobId).collect())
}
