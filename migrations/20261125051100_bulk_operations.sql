-- What a person does to many jobs at once, as a thing of its own: it goes on when the console and the leading scheduler are lost.

create table bulk_operations (
    id uuid primary key,
    change text not null check (change in ('requeue', 'discard', 'cancel')),
    filter jsonb not null,
    actor text not null check (actor <> ''),
    reason text not null check (reason <> ''),
    via text not null check (via in ('console', 'cli', 'api', 'system')),
    state text not null default 'planned' check (state in ('planned', 'running', 'stopping', 'stopped', 'finished')),
    matched bigint not null check (matched >= 0),
    changed bigint not null default 0 check (changed >= 0),
    refused bigint not null default 0 check (refused >= 0),
    refusals jsonb not null default '[]',
    after_id uuid,
    created_at timestamptz not null,
    began_at timestamptz,
    last_slice_at timestamptz,
    finished_at timestamptz,
    error text,
    constraint ended_says_when check ((state in ('stopped', 'finished')) = (finished_at is not null))
);

comment on table bulk_operations is 'What people do to many jobs at once; the leading scheduler carries them out, a slice in each transaction.';
comment on column bulk_operations.id is 'UUID version 7: sorts by birth.';
comment on column bulk_operations.change is 'requeue or discard dead letters, or cancel unfinished jobs.';
comment on column bulk_operations.filter is 'Which jobs: all that its fields let through.';
comment on column bulk_operations.actor is 'Who started it.';
comment on column bulk_operations.reason is 'Why; it stands in the audit log with each job that was changed.';
comment on column bulk_operations.via is 'Through which door it was started, as in audit_log.';
comment on column bulk_operations.state is 'planned (not begun), running, stopping (somebody wants it stopped), stopped or finished.';
comment on column bulk_operations.matched is 'How many jobs the filter let through when it was started; at most so many are looked at.';
comment on column bulk_operations.changed is 'How many jobs it has changed.';
comment on column bulk_operations.refused is 'How many it could not change, because they were no longer what the filter let through or another job has their key.';
comment on column bulk_operations.refusals is 'The first of those, with the reason.';
comment on column bulk_operations.after_id is 'The last job of the last slice: jobs are taken in the order of their ids.';
comment on column bulk_operations.created_at is 'When it was started; jobs that died or were enqueued later are left alone.';
comment on column bulk_operations.began_at is 'When its first slice was changed.';
comment on column bulk_operations.last_slice_at is 'When its last slice was changed.';
comment on column bulk_operations.finished_at is 'When nothing was left, or it was stopped.';
comment on column bulk_operations.error is 'Why the last slice failed, where it did; it is tried again.';

create index bulk_operations_open on bulk_operations (last_slice_at nulls first, id) where finished_at is null;
