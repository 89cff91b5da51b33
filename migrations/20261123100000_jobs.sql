-- The ledger (what every job became), the outbox (the one door in) and what is kept of failed runs.

create table jobs (
    id uuid primary key,
    kind text not null check (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    queue text not null check (queue in ('urgent', 'sync', 'mail', 'heavy', 'upkeep')),
    group_name text not null check (octet_length(group_name) between 1 and 100),
    payload jsonb not null check (octet_length(payload::text) <= 65536),
    state text not null default 'ready'
        check (state in ('ready', 'delayed', 'running', 'done', 'dead', 'cancelled')),
    attempts integer not null default 0 check (attempts >= 0),
    crashes integer not null default 0 check (crashes >= 0),
    snoozes integer not null default 0 check (snoozes >= 0),
    fence bigint not null default 0,
    worker uuid,
    unique_key text,
    idempotency_key text,
    cause text not null,
    caused_by uuid references jobs (id) on delete set null,
    created_at timestamptz not null,
    touched_at timestamptz not null,
    due_at timestamptz not null,
    deadline_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    waits_for text,
    report jsonb,
    last_error text,
    constraint finished_or_finished_at_null
        check ((state in ('done', 'dead', 'cancelled')) = (finished_at is not null)),
    constraint running_has_a_worker check (state <> 'running' or (worker is not null and started_at is not null))
) with (fillfactor = 70);

comment on table jobs is 'The ledger: what every job is or became. Redis holds only what is ready, delayed or leased.';
comment on column jobs.id is 'UUID version 7: sorts by birth.';
comment on column jobs.kind is 'What sort of work, as in the catalog.';
comment on column jobs.queue is 'Which worker slots it waits for.';
comment on column jobs.group_name is 'Whom the job is for, usually a seller; groups of a queue take turns.';
comment on column jobs.payload is 'Ids and choices only: never a name, an address or a secret.';
comment on column jobs.state is 'ready, delayed (until due_at), running (by worker, under fence), done, dead, cancelled.';
comment on column jobs.attempts is 'Runs that failed. Snoozes, hand-backs and crashes are not attempts.';
comment on column jobs.crashes is 'Runs in a row whose worker was lost; too many and the job is dead (a job that kills its workers).';
comment on column jobs.snoozes is 'Runs that ended in "later, not counted".';
comment on column jobs.fence is 'Token of the claim that ran it last; a run settles only under its own.';
comment on column jobs.worker is 'Worker instance that runs or ran it last.';
comment on column jobs.unique_key is 'At most one unfinished job may carry it.';
comment on column jobs.idempotency_key is 'At most one job ever may carry it: a schedule''s tick, a caller''s request.';
comment on column jobs.cause is 'Which door: schedule, cli or job.';
comment on column jobs.caused_by is 'The job whose run enqueued it.';
comment on column jobs.created_at is 'When it was enqueued.';
comment on column jobs.touched_at is 'When its state last changed; reconcile leaves alone what was just touched.';
comment on column jobs.due_at is 'When it may run next.';
comment on column jobs.deadline_at is 'When it must be done, where somebody promised that.';
comment on column jobs.started_at is 'When its last run began.';
comment on column jobs.finished_at is 'When it became done, dead or cancelled.';
comment on column jobs.waits_for is 'Why it is delayed: a retry, or the budget that is empty.';
comment on column jobs.report is 'What the run that finished it reports.';
comment on column jobs.last_error is 'The last failed run''s error, without personal data.';

create unique index jobs_unique_key on jobs (unique_key)
    where unique_key is not null and state in ('ready', 'delayed', 'running');
create unique index jobs_idempotency_key on jobs (idempotency_key) where idempotency_key is not null;
create index jobs_unfinished on jobs (queue, id) where state in ('ready', 'delayed', 'running');
create index jobs_dead on jobs (finished_at, id) where state = 'dead';
create index jobs_ended on jobs (finished_at desc, id desc) where finished_at is not null;
create index jobs_caused_by on jobs (caused_by) where caused_by is not null;

create table outbox (
    job_id uuid primary key references jobs (id) on delete cascade
);

comment on table outbox is 'Jobs that Redis has not been told of. Written with the job, deleted when the relay has pushed it.';
comment on column outbox.job_id is 'The job.';

create function wake_relay() returns trigger language plpgsql as $$
begin
    perform pg_notify('outbox', '');
    return null;
end
$$;

create trigger outbox_wakes_relay after insert on outbox for each statement execute function wake_relay();

create table failures (
    job_id uuid not null references jobs (id) on delete cascade,
    at timestamptz not null,
    fence bigint not null,
    decision text not null check (decision in ('retry', 'reject', 'crash')),
    error text not null,
    worker uuid not null,
    primary key (job_id, fence, decision)
);

comment on table failures is 'Every run that failed: a dead letter keeps every error it had.';
comment on column failures.job_id is 'The job.';
comment on column failures.at is 'When the run failed, or its crash was noticed.';
comment on column failures.fence is 'The claim it ran under.';
comment on column failures.decision is 'retry (counted as an attempt), reject (never again), crash (the worker was lost).';
comment on column failures.error is 'What went wrong, with its causes; no personal data.';
comment on column failures.worker is 'Worker instance that ran it.';

create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    actor text not null check (actor <> ''),
    action text not null,
    target text not null,
    reason text not null check (reason <> '')
);

comment on table audit_log is 'What people did to the system, and why.';
comment on column audit_log.id is 'Order of the acts.';
comment on column audit_log.at is 'When.';
comment on column audit_log.actor is 'Who: the name of a member of staff or of a service.';
comment on column audit_log.action is 'What was done, as in dead.requeue.';
comment on column audit_log.target is 'To what: an id, never a person''s name.';
comment on column audit_log.reason is 'Why, in the actor''s words.';
