-- Two more ways of being unique beside unique_key (until done): while a job waits for its first run, and for a time.
-- Both are constraints, so that they hold whoever enqueues at the same moment.

-- A trusted extension: the owner of the database may create it.
create extension if not exists btree_gist;

alter table jobs
    add column waiting_key text,
    add column period_key text,
    add column period tstzrange,
    add constraint period_has_a_key check ((period is null) = (period_key is null)),
    add constraint one_job_in_a_period exclude using gist (period_key with =, period with &&)
        where (period_key is not null);

comment on column jobs.waiting_key is 'At most one job that waits for its first run carries it; the first run takes it off.';
comment on column jobs.period_key is 'No other job with this key has a period that overlaps this one''s.';
comment on column jobs.period is 'From when the job was enqueued, for as long as its kind allows no second one; also after it ended.';

create unique index jobs_waiting_key on jobs (waiting_key) where waiting_key is not null and finished_at is null;
