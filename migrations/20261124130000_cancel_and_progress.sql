-- Running jobs that somebody wants cancelled, and how far running jobs have come.

alter table jobs
    add column cancel_requested_at timestamptz,
    add column progress jsonb check (octet_length(progress::text) <= 2048);

comment on column jobs.cancel_requested_at is 'When somebody asked the run to stop; whatever it ends with but a success, the job is cancelled.';
comment on column jobs.progress is 'How far its last run has told that it came: done, total, message; no personal data.';

create index jobs_cancel_requested on jobs (cancel_requested_at) where cancel_requested_at is not null and finished_at is null;
