//! A ledger as it is after a busy month: for measuring pages, and for looking at them.
//!
//! The rows are made by Postgres in a few statements, from a seed, so that two runs have the same mix: kinds by how often
//! they fire, two thousand sellers, mornings busier than nights, dead letters of forty causes with numbers and ids in them.

use chrono::{DateTime, Utc};
use queue::{JobId, roll_up};
use sqlx::{Connection, PgConnection, PgPool};

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) jobs: i64,
    pub(crate) dead: i64,
    /// Ready or delayed.
    pub(crate) waiting: i64,
    pub(crate) sellers: i64,
}

impl Amount {
    /// This many jobs: a tenth dead, a fiftieth waiting.
    pub(crate) const fn of(jobs: i64) -> Self {
        Self { jobs, dead: jobs / 10, waiting: jobs / 50, sellers: 2_000 }
    }
}

const JOBS: &str = r#"
insert into jobs (id, kind, queue, group_name, payload, state, attempts, snoozes, fence, worker, cause, created_at, touched_at,
    due_at, started_at, finished_at, waits_for, report, last_error)
select
    (lpad(to_hex((extract(epoch from created) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
    kind, queue, seller, jsonb_build_object('seller', seller), state,
    case state when 'dead' then 10 when 'done' then (r4 < 0.03)::int else 0 end,
    (r4 * 4)::int, case when state in ('ready', 'delayed') and r4 > 0.2 then 0 else 1 end,
    case when state in ('done', 'dead', 'running') then md5((n % 16)::text)::uuid end,
    'schedule', created, coalesce(ended, created), due,
    case when state in ('done', 'dead') then due + waited when state = 'running' then $1 - waited end,
    ended,
    case when state = 'delayed' then 'budget orders.search of ' || seller end,
    case when state = 'done' then jsonb_build_object('orders', (r4 * 80)::int, 'pages', 1) end,
    case when state = 'dead' then case (r1 * 40)::int % 5
        when 0 then 'Amazon answered 4' || lpad(((r1 * 40)::int % 30)::text, 2, '0') || ' to orders.search; request id ' || md5(n::text)
        when 1 then 'the report ' || (100000 + n) || ' of type GET_V2_SELLER_PERFORMANCE_REPORT has a line ' || (n % 900) || ' that makes no sense'
        when 2 then 'no answer within 30 s from sellingpartnerapi-eu.amazon.com'
        when 3 then 'the seller ' || seller || ' is not connected'
        else 'the row of order ' || md5((n * 7)::text) || ' could not be written: step ' || ((r1 * 40)::int / 5) end end
from (
    select n, r1, r4, waited, state, kind,
        case kind when 'receive_notifications' then 'sync' when 'watch_authorisations' then 'upkeep' else queue end as queue,
        (md5('seller ' || (r2 * r2 * ($5 - 1))::int))::uuid::text as seller,
        case when state in ('ready', 'delayed', 'running') then $1 - waited * 20 - r3 * interval '5 minutes' else at end as created,
        case state when 'ready' then $1 - r3 * interval '4 minutes' when 'delayed' then $1 + r3 * interval '1 hour'
            when 'running' then $1 - waited * 2 else at end as due,
        case when state in ('done', 'dead') then at + waited + took when state = 'cancelled' then at + took end as ended
    from (
        select n, r1, r2, r3, r4,
            $1 - interval '2 hours' * (n % 12 = 0)::int * r3
                - (n % 12 <> 0)::int * (r3 * interval '30 days' + sin(r3 * 60 * pi()) * interval '3 hours' + interval '4 hours') as at,
            (exp(r2 * 7) * 4 || ' milliseconds')::interval as waited,
            (exp(r4 * 6) * 20 || ' milliseconds')::interval as took,
            case when n <= $3 then 'dead' when n <= $3 + $4 / 2 then 'ready' when n <= $3 + $4 then 'delayed'
                when n <= $3 + $4 + 64 then 'running' when r1 < 0.02 then 'cancelled' else 'done' end as state,
            k.kind, k.queue
        from (select n, random() as r1, random() as r2, random() as r3, random() as r4 from generate_series(1, $2) as n) as dice
        cross join lateral (
            select (array['sync_orders', 'sync_orders', 'sync_orders', 'sync_orders', 'sync_inventory', 'sync_inventory',
                'sync_listings', 'sync_performance', 'send_review_request', 'plan_review_requests', 'backfill_orders',
                'sync_participations'])[1 + n % 12] as kind, 'sync' as queue
        ) as k
    ) as drawn
) as placed
where ended is null or ended < $1
order by created
"#;

const FAILURES: &str = r#"
insert into failures (job_id, at, fence, decision, error, worker)
select id, finished_at - (3 - k) * interval '4 minutes', k, case when k = 3 then 'reject' else 'retry' end, last_error, worker
from jobs cross join generate_series(1, 3) as k where is_dead
union all
select id, started_at - interval '1 minute', 1, case when abs(hashtext(id::text)) % 7 = 3 then 'crash' else 'retry' end,
    'no answer within 30 s', worker
from jobs where state = 'done' and attempts > 0
"#;

const SELLERS: &str = r#"
insert into sellers (id, selling_partner_id, region, marketplace_ids, refresh_token, refresh_token_key, connected_at)
select (md5('seller ' || n))::uuid, 'A' || upper(substr(md5(n::text), 1, 13)), 'eu', array['A1F83G8C2ARO7P'], '\x00', 'none',
    $1::timestamptz - interval '200 days' from generate_series(0, $2::bigint - 1) as n
"#;

const WORKERS: &str = r#"
insert into workers (id, queue, host, process_id, version, slots, started_at)
select md5((n % 16)::text)::uuid, 'sync', 'worker-' || n % 4, 100 + n, '0.1.0', 16, $1::timestamptz - interval '1 day'
from generate_series(0, 15) as n
"#;

/// Fills an empty database.
pub(crate) async fn fill(pool: &PgPool, amount: Amount, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("select setseed(0.5)").execute(&mut *transaction).await?;
    sqlx::query(JOBS)
        .bind(now)
        .bind(amount.jobs)
        .bind(amount.dead)
        .bind(amount.waiting)
        .bind(amount.sellers)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(FAILURES).execute(&mut *transaction).await?;
    sqlx::query(SELLERS).bind(now).bind(amount.sellers).execute(&mut *transaction).await?;
    sqlx::query(WORKERS).bind(now).execute(&mut *transaction).await?;
    transaction.commit().await?;
    // As autovacuum would have long done.
    sqlx::raw_sql("vacuum analyze").execute(&mut *connection).await?;
    drop(connection);
    while roll_up::pass(pool, true, now).await?.moved {}
    let mut connection = pool.acquire().await?;
    sqlx::raw_sql("vacuum analyze roll_ups").execute(&mut *connection).await?;
    Ok(())
}

/// Some jobs of every state.
pub(crate) async fn some_jobs(connection: &mut PgConnection, most: i64) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar(
        "(select id from jobs where is_dead order by finished_at desc, id limit $1)
         union all (select id from jobs where finished_at is null order by queue, id limit $1)
         union all (select id from jobs where finished_at is not null and not is_dead order by finished_at desc, id limit $1)",
    )
    .bind(most / 3 + 1)
    .fetch_all(connection)
    .await
}
