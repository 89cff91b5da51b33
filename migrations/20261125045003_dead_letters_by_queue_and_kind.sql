-- How many dead letters a queue or a kind has is counted without reading their rows. Neither column ever changes.
create index jobs_dead_by_queue_and_kind on jobs (queue, kind) where is_dead;
