-- How long the last runs of a kind took is read from here, without touching the table.
create index jobs_done_runs on jobs (kind, finished_at desc) include (started_at) where state = 'done';
