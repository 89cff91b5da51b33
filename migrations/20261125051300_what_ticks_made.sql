-- What became of a schedule's last tick, for those who watch it.

alter table schedules add column last_made integer check (last_made >= 0);

comment on column schedules.last_made is 'How many jobs the last tick enqueued; those that were there already are not counted. Null before the first.';
