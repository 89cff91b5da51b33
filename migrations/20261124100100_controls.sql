-- What people have paused and limited.

create table controls (
    queue text not null check (queue in ('urgent', 'sync', 'mail', 'heavy', 'upkeep')),
    scope text not null check (scope in ('queue', 'kind', 'group')),
    subject text not null check ((scope = 'queue') = (subject = '')),
    paused boolean not null default false,
    max_running integer check (max_running >= 0),
    changed_at timestamptz not null,
    primary key (queue, scope, subject)
);

comment on table controls is 'What people have paused and limited; the scheduler tells Redis. What kinds ask for is in their policies.';
comment on column controls.queue is 'Which queue.';
comment on column controls.scope is 'What it is about: the whole queue, a kind, or a group.';
comment on column controls.subject is 'The kind''s or group''s name; empty for the queue.';
comment on column controls.paused is 'Nothing of it is taken; what runs goes on.';
comment on column controls.max_running is 'Most jobs that run at once: of the kind, for the group, or (scope queue) for each group. Null is no limit.';
comment on column controls.changed_at is 'When it was set last; who and why is in the audit log.';
