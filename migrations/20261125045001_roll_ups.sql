-- What ended when, and how long it waited and ran: counted once by the leading scheduler, so that a chart of a week reads
-- some thousand rows and not the ledger.

create table roll_ups (
    seconds integer not null check (seconds in (60, 900, 3600)),
    at timestamptz not null,
    queue text not null,
    kind text not null,
    done bigint not null,
    dead bigint not null,
    cancelled bigint not null,
    failed bigint not null,
    crashed bigint not null,
    waits integer[] not null,
    runs integer[] not null,
    primary key (seconds, at, queue, kind)
);

comment on table roll_ups is 'What ended in a stretch of time, by queue and kind. Minutes are counted from the ledger, longer stretches from shorter ones.';
comment on column roll_ups.seconds is 'Length of the stretch: a minute, a quarter of an hour, an hour.';
comment on column roll_ups.at is 'Where it begins, UTC.';
comment on column roll_ups.queue is 'The queue of the jobs.';
comment on column roll_ups.kind is 'The kind of the jobs.';
comment on column roll_ups.done is 'Jobs that were done.';
comment on column roll_ups.dead is 'Jobs that became dead letters, and still were when it was counted.';
comment on column roll_ups.cancelled is 'Jobs that were cancelled.';
comment on column roll_ups.failed is 'Runs that failed, whether tried again or not.';
comment on column roll_ups.crashed is 'Runs whose worker was lost.';
comment on column roll_ups.waits is 'How long the last runs of those jobs waited for a worker from the moment they could begin: how many in each bucket of queue/src/histogram.rs. Without the zeros at the end.';
comment on column roll_ups.runs is 'How long the last runs of jobs that were done took, in the same buckets.';

create table roll_up_progress (
    single boolean primary key default true check (single),
    counted_until timestamptz not null
);

comment on table roll_up_progress is 'How far the roll-up has come; whoever counts holds this row.';
comment on column roll_up_progress.single is 'There is one row.';
comment on column roll_up_progress.counted_until is 'Minutes before this are counted for good; without a row none is yet.';

-- Failed runs of a minute.
create index failures_at on failures (at);
