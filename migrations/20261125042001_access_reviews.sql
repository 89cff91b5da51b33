-- When somebody last looked whether a person still needs what they may do.

alter table staff add column reviewed_at timestamptz, add column reviewed_by text;

comment on column staff.reviewed_at is 'When another person last confirmed that they need these roles; null before the first time.';
comment on column staff.reviewed_by is 'Who confirmed it: the name in the audit log.';

create index sessions_by_last_use on sessions (staff_id, last_seen_at);
