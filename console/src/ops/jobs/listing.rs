//! Finding jobs among millions, in a time that does not depend on how many there are.
//!
//! Each list begins with the rows that one index gives in the order of their ids: a seller's, a batch's, a job's follow-ups, dead
//! letters, unfinished jobs, or all. What the index does not know is asked of those rows, and of at most [`LOOK`] of them
//! (a tenth of that where they are unfinished): a page
//! that ends because of that says so, and where to look further. There is no index on errors of jobs that may still be retried:
//! each retry would write all indexes anew (invariant 22).

use chrono::{DateTime, TimeDelta, Utc};
use queue::{JobId, Queue, State, bulk};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Filter, JobLine, MAX_PAGE, Page};

/// Most rows that are looked at for one page where no index knows the filters.
pub const LOOK: i64 = 20_000;

/// Which index gives the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    All,
    Group,
    Unfinished,
    Dead,
    Batch,
    Follow,
}

impl Source {
    const fn of(filter: &Filter) -> Self {
        if filter.caused_by.is_some() {
            Self::Follow
        } else if filter.batch.is_some() {
            Self::Batch
        } else if matches!(filter.state, Some(State::Dead)) || filter.pattern.is_some() {
            Self::Dead
        } else if filter.group.is_some() {
            Self::Group
        } else if matches!(filter.state, Some(State::Ready | State::Delayed | State::Running)) {
            Self::Unfinished
        } else {
            Self::All
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Group => "group",
            Self::Unfinished => "unfinished",
            Self::Dead => "dead",
            Self::Batch => "batch",
            Self::Follow => "follow",
        }
    }

    /// Most rows that are looked at for one page.
    const fn look(self) -> i64 {
        match self {
            // They lie where they were born, among all that have ended since: each costs a page of the table.
            Self::Unfinished => LOOK / 10,
            Self::All | Self::Group | Self::Dead | Self::Batch | Self::Follow => LOOK,
        }
    }

    /// Whether every row that the source gives is one that the filter lets through.
    fn knows(self, filter: &Filter) -> bool {
        let Filter {
            kind, state, queue, group, error_contains, since, until, ended_since, ended_until, ..
        } = filter;
        let nothing_else = ended_since.is_none() && ended_until.is_none() && filter.cause.is_none();
        let nothing_of_errors =
            nothing_else && error_contains.is_none() && since.is_none() && until.is_none();
        match self {
            Self::Dead => {
                nothing_else
                    && since.is_none()
                    && until.is_none()
                    && matches!(state, None | Some(State::Dead))
            }
            Self::All => nothing_of_errors && kind.is_none() && state.is_none() && queue.is_none(),
            Self::Group => {
                nothing_of_errors && kind.is_none() && state.is_none() && queue.is_none() && group.is_some()
            }
            Self::Unfinished | Self::Batch | Self::Follow => false,
        }
    }
}

/// The queues whose unfinished jobs are looked at: their index has them queue by queue.
fn queues(filter: &Filter) -> Vec<String> {
    let all = Queue::ALL.into_iter().filter(|queue| filter.queue.is_none_or(|only| only == *queue));
    all.map(|queue| queue.name().to_owned()).collect()
}

/// Ids are made when a job is, by clocks that agree within this: so those of a span of time lie together.
const CLOCKS_AGREE: TimeDelta = TimeDelta::hours(1);

/// The first id of a moment.
fn first_id(at: DateTime<Utc>) -> Uuid {
    let milliseconds = u128::try_from(at.timestamp_millis().max(0)).unwrap_or(0);
    Uuid::from_u128(milliseconds << 80)
}

/// Up to `most` (at most [`MAX_PAGE`]) jobs that the filter lets through, the last enqueued first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, filter: &Filter, most: u16) -> Result<Page, sqlx::Error> {
    let most = usize::from(most.clamp(1, MAX_PAGE));
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(most + 1).unwrap_or(i64::MAX);
    let source = Source::of(filter);
    let knows = source.knows(filter);
    let look = if knows { limit } else { source.look() };
    let upper = filter.until.and_then(|until| until.checked_add_signed(CLOCKS_AGREE)).map(first_id);
    let before = [filter.before.map(|id| id.0), upper].into_iter().flatten().min();
    let from = filter.since.and_then(|since| since.checked_sub_signed(CLOCKS_AGREE)).map(first_id);
    let mut jobs = sqlx::query_as!(
        JobLine,
        r#"
        select id as "id!: JobId", kind as "kind!", queue as "queue!", group_name as "group!", state as "state!",
            attempts as "attempts!", created_at as "created_at!", due_at as "due_at!", started_at, finished_at, waits_for,
            last_error
        from (
            (select jobs.* from jobs where $1 = 'all' and ($2::uuid is null or id < $2) and ($3::uuid is null or id >= $3)
                order by id desc limit $4)
            union all
            (select jobs.* from jobs
                where $1 = 'group' and group_name = $5 and ($2::uuid is null or id < $2) and ($3::uuid is null or id >= $3)
                order by id desc limit $4)
            union all
            (select jobs.* from (
                select ids.id from unnest($19::text[]) as queues (name) cross join lateral (
                    select id from jobs
                    where $1 = 'unfinished' and finished_at is null and queue = queues.name
                        and ($2::uuid is null or id < $2) and ($3::uuid is null or id >= $3)
                    order by id desc limit $4
                ) as ids order by id desc limit $4
            ) as newest join jobs using (id))
            union all
            (select jobs.* from (
                select job_id from dead_letters
                where $1 = 'dead' and ($2::uuid is null or job_id < $2) and ($3::uuid is null or job_id >= $3)
                    and ($5::text is null or group_name = $5) and ($6::text is null or kind = $6)
                    and ($7::text is null or queue = $7) and ($8::text is null or error like $8)
                    and ($9::text is null or pattern_key = $9)
                order by job_id desc limit $4
            ) as letters join jobs on jobs.id = job_id)
            union all
            (select jobs.* from jobs
                where $1 = 'batch' and batch_id = $10 and ($2::uuid is null or id < $2) order by id desc limit $4)
            union all
            (select jobs.* from jobs
                where $1 = 'follow' and caused_by = $11 and ($2::uuid is null or id < $2) order by id desc limit $4)
        ) as seen
        where ($5::text is null or group_name = $5) and ($6::text is null or kind = $6) and ($7::text is null or queue = $7)
            and ($8::text is null or last_error like $8 or $1 = 'dead') and ($12::text is null or state = $12)
            and ($9::text is null or $1 = 'dead')
            and ($13::timestamptz is null or created_at >= $13) and ($14::timestamptz is null or created_at < $14)
            and ($15::timestamptz is null or finished_at >= $15) and ($16::timestamptz is null or finished_at < $16)
            and ($10::uuid is null or batch_id = $10) and ($17::text is null or split_part(cause, ':', 1) = $17)
        order by id desc limit $18
        "#,
        source.name(),
        before,
        from,
        look,
        filter.group,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.error_contains.as_deref().map(bulk::like),
        filter.pattern,
        filter.batch.map(|id| id.0),
        filter.caused_by.map(|id| id.0),
        filter.state.map(State::name),
        filter.since,
        filter.until,
        filter.ended_since,
        filter.ended_until,
        filter.cause,
        limit,
        &queues(filter),
    )
    .fetch_all(&mut *connection)
    .await?;
    let more = jobs.len() > most;
    jobs.truncate(most);
    if more || knows {
        let next = jobs.last().filter(|_| more).map(|job| job.id);
        return Ok(Page { jobs, next, looked_at: None });
    }
    let last = last_looked_at(connection, filter, source, before, from).await?;
    Ok(Page { jobs, next: last, looked_at: last.map(|_| source.look()) })
}

/// The last of the [`LOOK`] rows that a page looked at; `None` where there were no more than that.
async fn last_looked_at(
    connection: &mut PgConnection,
    filter: &Filter,
    source: Source,
    before: Option<Uuid>,
    from: Option<Uuid>,
) -> Result<Option<JobId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select id as "id!: JobId" from (
            (select id from jobs where $1 = 'all' and ($2::uuid is null or id < $2) and ($3::uuid is null or id >= $3)
                order by id desc offset $4 limit 1)
            union all
            (select id from jobs
                where $1 = 'group' and group_name = $5 and ($2::uuid is null or id < $2) and ($3::uuid is null or id >= $3)
                order by id desc offset $4 limit 1)
            union all
            (select ids.id from unnest($12::text[]) as queues (name) cross join lateral (
                select id from jobs
                where $1 = 'unfinished' and finished_at is null and queue = queues.name
                    and ($2::uuid is null or id < $2) and ($3::uuid is null or id >= $3)
                order by id desc limit $4 + 1
            ) as ids order by id desc offset $4 limit 1)
            union all
            (select job_id from dead_letters
                where $1 = 'dead' and ($2::uuid is null or job_id < $2) and ($3::uuid is null or job_id >= $3)
                    and ($5::text is null or group_name = $5) and ($6::text is null or kind = $6)
                    and ($7::text is null or queue = $7) and ($8::text is null or error like $8)
                    and ($9::text is null or pattern_key = $9)
                order by job_id desc offset $4 limit 1)
            union all
            (select id from jobs
                where $1 = 'batch' and batch_id = $10 and ($2::uuid is null or id < $2) order by id desc offset $4 limit 1)
            union all
            (select id from jobs
                where $1 = 'follow' and caused_by = $11 and ($2::uuid is null or id < $2)
                order by id desc offset $4 limit 1)
        ) as last
        "#,
        source.name(),
        before,
        from,
        source.look() - 1,
        filter.group,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.error_contains.as_deref().map(bulk::like),
        filter.pattern,
        filter.batch.map(|id| id.0),
        filter.caused_by.map(|id| id.0),
        &queues(filter),
    )
    .fetch_optional(connection)
    .await
}

/// How many jobs are in each state, where that is cheap to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// By the order of [`State::ALL`]: how many were counted, and whether there may be more.
    counted: [(i64, bool); 6],
}

impl StateCounts {
    /// How many are in a state, and whether there may be more.
    #[must_use]
    pub fn of(&self, state: State) -> (i64, bool) {
        State::ALL.iter().position(|one| *one == state).map_or((0, true), |place| self.counted[place])
    }
}

/// Rows beyond these are not counted.
pub const CAPPED_AT: i64 = 1_000;

/// How many jobs of a kind, queue and group are in each state, counted up to [`CAPPED_AT`] rows of dead letters, of unfinished
/// jobs and of those that have ended. `None` where other filters are set: counting by them would take as long as listing.
///
/// # Errors
/// When the database fails.
pub async fn counts(
    connection: &mut PgConnection,
    filter: &Filter,
) -> Result<Option<StateCounts>, sqlx::Error> {
    let others = Filter { kind: None, queue: None, group: None, state: None, before: None, ..filter.clone() };
    if others != Filter::default() {
        return Ok(None);
    }
    let rows = sqlx::query!(
        r#"
        select state as "state!", count(*) as "count!", (sum(count(*)) over (partition by source))::bigint as "of_source!"
        from (
            (select 'dead' as source, 'dead' as state from dead_letters
                where ($1::text is null or kind = $1) and ($2::text is null or queue = $2) and ($3::text is null or group_name = $3)
                limit $4)
            union all
            (select 'unfinished', state from jobs
                where finished_at is null and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
                    and ($3::text is null or group_name = $3)
                limit $4)
            union all
            (select 'ended', state from (
                (select state, kind, queue from jobs where $3::text is null order by id desc limit $4)
                union all
                (select state, kind, queue from jobs where group_name = $3 order by id desc limit $4)
            ) as last
            where state in ('done', 'cancelled') and ($1::text is null or kind = $1) and ($2::text is null or queue = $2))
        ) as counted
        group by source, state
        "#,
        filter.kind,
        filter.queue.map(Queue::name),
        filter.group,
        CAPPED_AT,
    )
    .fetch_all(connection)
    .await?;
    let mut counts = StateCounts::default();
    for (place, state) in State::ALL.into_iter().enumerate() {
        let row = rows.iter().find(|row| row.state == state.name());
        // Of those that have ended, only the last are looked at; how many there are before them is not known.
        let ended = matches!(state, State::Done | State::Cancelled);
        counts.counted[place] = (
            row.map_or(0, |row| row.count),
            ended || rows.iter().any(|row| same_source(&row.state, state) && row.of_source >= CAPPED_AT),
        );
    }
    Ok(Some(counts))
}

fn same_source(counted: &str, state: State) -> bool {
    match counted {
        "dead" => state == State::Dead,
        "ready" | "delayed" | "running" => matches!(state, State::Ready | State::Delayed | State::Running),
        _ => false,
    }
}
