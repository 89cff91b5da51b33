-- Who the workers are, when one was lost, and which runs were overtaken by another run of the same job.

create table workers (
    id uuid primary key,
    queue text not null,
    host text not null check (octet_length(host) <= 255),
    process_id bigint not null,
    version text not null,
    slots integer not null,
    started_at timestamptz not null,
    ended_at timestamptz
);

comment on table workers is 'Workers as they introduced themselves: one row for each start and queue. Which of them live, Redis knows.';
comment on column workers.id is 'UUID version 7, made anew at each start.';
comment on column workers.queue is 'The queue it works on.';
comment on column workers.host is 'Name of the host or container.';
comment on column workers.process_id is 'The process there; one process has a worker for each of its queues.';
comment on column workers.version is 'Release of the program.';
comment on column workers.slots is 'How many jobs it runs at once.';
comment on column workers.started_at is 'When it began.';
comment on column workers.ended_at is 'When it said that it ends; null for one that runs or was lost.';

create index workers_started_at on workers (started_at);

create table lost_workers (
    id uuid primary key,
    queue text not null,
    last_seen_at timestamptz not null,
    rescued_at timestamptz not null,
    jobs bigint not null
);

comment on table lost_workers is 'Workers whose lease ended without a word. With the crashes in failures it says how fast their jobs came back.';
comment on column lost_workers.id is 'The worker.';
comment on column lost_workers.queue is 'The queue it worked on.';
comment on column lost_workers.last_seen_at is 'Its last sign of life: when it renewed its lease for the last time.';
comment on column lost_workers.rescued_at is 'When what it held was made ready again.';
comment on column lost_workers.jobs is 'How many entries it held.';

create index lost_workers_rescued_at on lost_workers (rescued_at);

create table overtaken_runs (
    job_id uuid not null,
    fence bigint not null,
    at timestamptz not null,
    queue text not null,
    kind text not null,
    worker uuid not null,
    finished boolean not null,
    primary key (job_id, fence)
);

comment on table overtaken_runs is 'Runs during which another run of the same job began, because their worker seemed lost: what was delivered twice. The ledger counted one of them.';
comment on column overtaken_runs.job_id is 'The job; it may have been pruned since.';
comment on column overtaken_runs.fence is 'The claim of the run that was overtaken.';
comment on column overtaken_runs.at is 'When that run ended.';
comment on column overtaken_runs.queue is 'The job''s queue.';
comment on column overtaken_runs.kind is 'The job''s kind.';
comment on column overtaken_runs.worker is 'Who ran it.';
comment on column overtaken_runs.finished is 'Whether it came to its own end and its result was refused; false when it was stopped because its lease was lost.';

create index overtaken_runs_at on overtaken_runs (at);
