-- Batches: many jobs, and one that follows when all of them have ended.

create table batches (
    id uuid primary key,
    created_at timestamptz not null,
    sealed_at timestamptz,
    follow_up jsonb,
    follow_up_id uuid,
    finished_at timestamptz,
    done bigint,
    dead bigint,
    cancelled bigint,
    constraint finished_after_sealed check (finished_at is null or sealed_at is not null),
    constraint counted_when_finished check (num_nulls(finished_at, done, dead, cancelled) in (0, 4))
);

comment on table batches is 'Jobs that belong together. What became of them is read from the jobs themselves, and kept here when all have ended.';
comment on column batches.id is 'UUID version 7: sorts by birth.';
comment on column batches.created_at is 'When it was opened.';
comment on column batches.sealed_at is 'Since when no job may join; null while it is open.';
comment on column batches.follow_up is 'The job to enqueue when all have ended, as the door takes it; null for none.';
comment on column batches.follow_up_id is 'The job that follows; where one with its unique key was there already, that one.';
comment on column batches.finished_at is 'When all of its jobs had ended; never taken back, also when a dead letter runs again.';
comment on column batches.done is 'How many were done at that moment.';
comment on column batches.dead is 'How many were dead letters at that moment.';
comment on column batches.cancelled is 'How many were cancelled at that moment.';

alter table jobs add column batch_id uuid references batches (id) on delete set null;

comment on column jobs.batch_id is 'The batch it belongs to.';

-- Whether one is unfinished is one look at the end of a batch's entries, whatever its size.
create index jobs_batch on jobs (batch_id, finished_at) where batch_id is not null;
create index batches_sealed on batches (sealed_at) where finished_at is null and sealed_at is not null;
create index batches_created on batches (created_at);
create index batches_follow_up_id on batches (follow_up_id) where follow_up_id is not null;
