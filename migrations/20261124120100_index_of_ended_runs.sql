-- How long the last runs of a kind took is found by this. It names nothing that changes before a job's end.
create index jobs_ended_runs on jobs (kind, finished_at desc) where finished_at is not null;
