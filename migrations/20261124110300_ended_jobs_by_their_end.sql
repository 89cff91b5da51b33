-- contract: ends the indexes whose predicates name the state. Postgres must write every index anew when a column of any
-- predicate changes, and the state changes with each step of a job. By finished_at, which changes once, the beginning of a
-- run and a retry touch no index at all. What a previous release asks by state still gets its answer, only slower.

alter table jobs add column is_dead boolean not null generated always as (state = 'dead') stored;

comment on column jobs.is_dead is 'Whether it is a dead letter; indexes ask this, because it does not change while a job lives.';

drop index jobs_unique_key;
drop index jobs_unfinished;
drop index jobs_dead;
drop index jobs_ended;

create unique index jobs_unique_key on jobs (unique_key) where unique_key is not null and finished_at is null;
create index jobs_unfinished on jobs (queue, id) where finished_at is null;
create index jobs_dead on jobs (finished_at, id) where is_dead;
create index jobs_ended on jobs (finished_at, id) where finished_at is not null and not is_dead;
