//! The statements behind the door: one that writes jobs whose keys are free, one that finds who holds the other keys.
//!
//! Keys are constraints of the table, so of two transactions that enqueue the same job at once one waits for the other.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::NewJob;
use crate::{JobId, policy::Unique};

/// The columns of some new jobs: element `n` of each belongs to job `n`.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    kinds: Vec<String>,
    versions: Vec<i16>,
    queues: Vec<String>,
    priorities: Vec<String>,
    groups: Vec<String>,
    payloads: Vec<String>,
    unique_keys: Vec<Option<String>>,
    waiting_keys: Vec<Option<String>>,
    period_keys: Vec<Option<String>>,
    period_ends: Vec<Option<DateTime<Utc>>>,
    idempotency_keys: Vec<Option<String>>,
    due: Vec<DateTime<Utc>>,
    deadlines: Vec<Option<DateTime<Utc>>>,
    expiries: Vec<Option<DateTime<Utc>>>,
    batches: Vec<Option<Uuid>>,
    traces: Vec<Option<String>>,
    causes: Vec<String>,
    caused_by: Vec<Option<Uuid>>,
}

impl Columns {
    fn of(jobs: &[(&NewJob, String)], now: DateTime<Utc>) -> Self {
        let mut columns = Self::default();
        for (job, payload) in jobs {
            columns.add(job, payload.clone(), now);
        }
        columns
    }

    fn add(&mut self, job: &NewJob, payload: String, now: DateTime<Utc>) {
        let due_at = job.due_at.unwrap_or(now);
        let keys = Keys::of(job);
        self.ids.push(job.id.0);
        self.kinds.push(job.kind.clone());
        self.versions.push(i16::from(job.version));
        self.queues.push(job.queue.name().to_owned());
        self.priorities.push(job.priority.name().to_owned());
        self.groups.push(job.group.clone());
        self.payloads.push(payload);
        self.unique_keys.push(keys.until_done.map(str::to_owned));
        self.waiting_keys.push(keys.while_waiting.map(str::to_owned));
        self.period_keys.push(keys.for_a_time.map(|(key, _)| key.to_owned()));
        self.period_ends.push(keys.for_a_time.map(|(_, length)| now + length));
        self.idempotency_keys.push(job.idempotency_key.clone());
        self.due.push(due_at);
        self.deadlines.push(job.deadline_at);
        self.expiries.push(job.expires_at.or_else(|| job.expires_after.map(|wait| due_at.max(now) + wait)));
        self.batches.push(job.batch.map(|batch| batch.0));
        self.traces.push(job.trace.map(|trace| trace.to_string()));
        self.causes.push(job.cause.name().into_owned());
        self.caused_by.push(job.cause.job().map(|id| id.0));
    }
}

/// The unique key of a job, by how long it is held.
#[derive(Default)]
struct Keys<'a> {
    until_done: Option<&'a str>,
    while_waiting: Option<&'a str>,
    for_a_time: Option<(&'a str, TimeDelta)>,
}

/// Longest period that a key can be held: a century, which dates can be added to.
const LONGEST_PERIOD: TimeDelta = TimeDelta::days(36_500);

impl<'a> Keys<'a> {
    fn of(job: &'a NewJob) -> Self {
        let Some(key) = job.unique_key.as_deref() else { return Self::default() };
        match job.unique {
            Unique::UntilDone => Self { until_done: Some(key), ..Self::default() },
            Unique::WhileWaiting => Self { while_waiting: Some(key), ..Self::default() },
            Unique::For(period) => {
                let length = TimeDelta::from_std(period).unwrap_or(LONGEST_PERIOD).min(LONGEST_PERIOD);
                Self { for_a_time: Some((key, length)), ..Self::default() }
            }
        }
    }
}

/// Writes the jobs whose keys are free. Returns which.
pub(super) async fn insert(
    connection: &mut PgConnection,
    jobs: &[(&NewJob, String)],
    now: DateTime<Utc>,
) -> Result<Vec<JobId>, sqlx::Error> {
    let columns = Columns::of(jobs, now);
    let born: Vec<_> = sqlx::query_scalar!(
        r#"
        with born as (
            insert into jobs (id, kind, payload_version, queue, priority, group_name, payload, state,
                unique_key, waiting_key, period_key, period, idempotency_key,
                created_at, touched_at, due_at, deadline_at, expires_at, batch_id, traceparent, cause, caused_by)
            select id, kind, payload_version, queue, priority, group_name, payload::jsonb,
                case when due_at > $1 then 'delayed' else 'ready' end,
                unique_key, waiting_key, period_key, case when period_key is not null then tstzrange($1, period_end) end,
                idempotency_key,
                $1, $1, due_at, deadline_at, expires_at, batch_id, traceparent, cause, caused_by
            from unnest(
                $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[],
                $14::timestamptz[], $15::timestamptz[], $16::timestamptz[], $17::uuid[], $18::text[], $19::text[], $20::uuid[]
            ) as given (
                id, kind, payload_version, queue, priority, group_name, payload,
                unique_key, waiting_key, period_key, period_end, idempotency_key,
                due_at, deadline_at, expires_at, batch_id, traceparent, cause, caused_by
            )
            on conflict do nothing
            returning id
        )
        insert into outbox (job_id) select id from born returning job_id
        "#,
        now,
        &columns.ids,
        &columns.kinds,
        &columns.versions,
        &columns.queues,
        &columns.priorities,
        &columns.groups,
        &columns.payloads,
        &columns.unique_keys as &[Option<String>],
        &columns.waiting_keys as &[Option<String>],
        &columns.period_keys as &[Option<String>],
        &columns.period_ends as &[Option<DateTime<Utc>>],
        &columns.idempotency_keys as &[Option<String>],
        &columns.due,
        &columns.deadlines as &[Option<DateTime<Utc>>],
        &columns.expiries as &[Option<DateTime<Utc>>],
        &columns.batches as &[Option<Uuid>],
        &columns.traces as &[Option<String>],
        &columns.causes,
        &columns.caused_by as &[Option<Uuid>],
    )
    .fetch_all(connection)
    .await?;
    Ok(born.into_iter().map(JobId).collect())
}

/// A job that was not written, and the one that holds its key.
pub(super) struct Existing {
    pub(super) refused: JobId,
    pub(super) holder: JobId,
    /// The holder has not begun and waits for a later moment: this one is wanted instead.
    earlier: Option<DateTime<Utc>>,
}

/// For jobs that were not written: which ones were there already.
pub(super) async fn existing(
    connection: &mut PgConnection,
    refused: &[(&NewJob, String)],
    now: DateTime<Utc>,
) -> Result<Vec<Existing>, sqlx::Error> {
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(refused, now);
    let keys = |keys: Vec<Option<String>>| keys.into_iter().flatten().collect::<Vec<_>>();
    let rows = sqlx::query!(
        r#"
        select id, idempotency_key,
            case when finished_at is null then unique_key end as unique_key,
            case when finished_at is null then waiting_key end as waiting_key,
            case when upper(period) > $1 then period_key end as period_key,
            case when state = 'delayed' and fence = 0 then due_at end as waits_until
        from jobs
        where id = any($2) or idempotency_key = any($3)
            or (unique_key = any($4) and finished_at is null)
            or (waiting_key = any($5) and finished_at is null)
            or (period_key = any($6) and upper(period) > $1)
        "#,
        now,
        &columns.ids,
        &keys(columns.idempotency_keys),
        &keys(columns.unique_keys),
        &keys(columns.waiting_keys),
        &keys(columns.period_keys),
    )
    .fetch_all(connection)
    .await?;
    // What a job may be refused for, and by which job.
    let mut holders = HashMap::new();
    for row in &rows {
        holders.insert((Held::Id, row.id.to_string()), row);
        let held = [
            (Held::Idempotency, &row.idempotency_key),
            (Held::UntilDone, &row.unique_key),
            (Held::WhileWaiting, &row.waiting_key),
            (Held::ForATime, &row.period_key),
        ];
        holders.extend(held.into_iter().filter_map(|(held, key)| Some(((held, key.clone()?), row))));
    }
    let answer = |job: &NewJob| {
        let keys = Keys::of(job);
        let asked = [
            (Held::Id, Some(job.id.to_string())),
            (Held::Idempotency, job.idempotency_key.clone()),
            (Held::UntilDone, keys.until_done.map(str::to_owned)),
            (Held::WhileWaiting, keys.while_waiting.map(str::to_owned)),
            (Held::ForATime, keys.for_a_time.map(|(key, _)| key.to_owned())),
        ];
        let holder = asked.into_iter().find_map(|(held, key)| holders.get(&(held, key?)))?;
        let wanted = job.due_at.map_or(now, |due| due.max(now));
        let earlier = holder.waits_until.filter(|waits| *waits > wanted).map(|_| wanted);
        Some(Existing { refused: job.id, holder: JobId(holder.id), earlier })
    };
    Ok(refused.iter().filter_map(|(job, _)| answer(job)).collect())
}

/// Lets jobs that wait for a later moment than is wanted of them run earlier. They go through the outbox once more: the copy
/// that Redis holds for the later moment will find its job begun, which is harmless.
pub(super) async fn bring_forward(
    connection: &mut PgConnection,
    existing: &[Existing],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let earlier = existing.iter().filter_map(|there| Some((there.holder.0, there.earlier?)));
    let (ids, moments): (Vec<_>, Vec<_>) = earlier.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        with wanted as (
            select id, min(moment) as moment from unnest($1::uuid[], $2::timestamptz[]) as given (id, moment) group by id
        ), waiting as (
            select jobs.id, moment from jobs join wanted on wanted.id = jobs.id
            where case when state = 'delayed' and fence = 0 then due_at > moment else false end
            order by jobs.id for update of jobs
        ), earlier as (
            update jobs set due_at = moment, touched_at = $3, state = case when moment > $3 then 'delayed' else 'ready' end
            from waiting where jobs.id = waiting.id returning jobs.id
        )
        insert into outbox (job_id) select id from earlier on conflict do nothing
        "#,
        &ids,
        &moments,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// What can be taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Held {
    Id,
    Idempotency,
    UntilDone,
    WhileWaiting,
    ForATime,
}
