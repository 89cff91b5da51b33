-- When a job is no longer worth starting, and which trace it belongs to.

alter table jobs
    add column expires_at timestamptz,
    add column traceparent text check (octet_length(traceparent) <= 55);

comment on column jobs.expires_at is 'Cancelled if no run has begun by then; null once one has.';
comment on column jobs.traceparent is 'W3C traceparent of what enqueued it; the spans of its runs are its children.';

create index jobs_expiring on jobs (expires_at) where expires_at is not null and finished_at is null;
