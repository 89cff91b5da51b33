-- How urgent a job is within its queue, and which version of its kind's payload it has.

alter table jobs
    add column priority text not null default 'normal' check (priority in ('high', 'normal', 'low')),
    add column payload_version smallint not null default 1 check (payload_version between 1 and 255);

comment on column jobs.priority is 'high, normal or low: how many turns it gets within its queue; none starves another.';
comment on column jobs.payload_version is 'Version of its kind''s payload; a worker takes only versions that it knows.';
