-- What the catalog says of each kind, for those who enqueue by SQL: written by `amzigo migrate`, and by a leading scheduler
-- that is newer than who wrote it.

create table kinds (
    name text primary key check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    written_by bigint not null,
    retired boolean not null,
    queue text not null check (queue in ('urgent', 'sync', 'mail', 'heavy', 'upkeep')),
    place smallint,
    summary text,
    priority text check (priority in ('high', 'normal', 'low')),
    payload_version smallint check (payload_version between 1 and 255),
    payload_schema jsonb,
    group_field text,
    group_name text,
    unique_how text check (unique_how in ('while_waiting', 'until_done', 'for_a_time')),
    unique_for interval,
    expires_after interval,
    constraint known_unless_retired
        check (num_nulls(place, summary, priority, payload_version, payload_schema) = case when retired then 5 else 0 end),
    constraint one_group check (num_nonnulls(group_field, group_name) = case when retired then 0 else 1 end),
    constraint a_time_is_for_a_time check ((unique_for is not null) = coalesce(unique_how = 'for_a_time', false))
);

comment on table kinds is 'The kinds of jobs, as the catalog of the newest release has them: what enqueue_job needs to know.';
comment on column kinds.name is 'The kind.';
comment on column kinds.written_by is 'The release that wrote it, by the newest migration that it knows; an older one never writes over it.';
comment on column kinds.retired is 'Whether it is no longer run: jobs of it are refused, and nothing else is known of it.';
comment on column kinds.queue is 'Where its jobs wait.';
comment on column kinds.place is 'Its place in the catalog, from 1.';
comment on column kinds.summary is 'What it does.';
comment on column kinds.priority is 'How urgent its jobs are within the queue.';
comment on column kinds.payload_version is 'Version of its payload.';
comment on column kinds.payload_schema is 'What its payload must look like: JSON Schema, draft 2020-12.';
comment on column kinds.group_field is 'The field of the payload that says whom a job is for; null where all are for the same.';
comment on column kinds.group_name is 'Whom all of its jobs are for; null where the payload says it.';
comment on column kinds.unique_how is 'How long a second job with the same payload is refused: while_waiting, until_done or for_a_time; null where it is let in.';
comment on column kinds.unique_for is 'For how long, where it is for a time.';
comment on column kinds.expires_after is 'A job that has not begun this long after it could is cancelled; null for never.';
