-- When kinds fire, and which scheduler leads.

create table schedules (
    kind text primary key,
    expression text not null,
    next_fire_at timestamptz not null,
    last_fire_at timestamptz,
    paused_at timestamptz
);

comment on table schedules is 'The next tick of each scheduled kind. Stored, so that a tick missed while all schedulers were down is known.';
comment on column schedules.kind is 'The kind that fires.';
comment on column schedules.expression is 'What next_fire_at was computed from; a changed schedule computes anew.';
comment on column schedules.next_fire_at is 'The tick that comes next.';
comment on column schedules.last_fire_at is 'The tick that was enqueued last.';
comment on column schedules.paused_at is 'Since when it does not fire; null while it does.';

create table leaders (
    role text primary key,
    holder uuid not null,
    term bigint not null,
    expires_at timestamptz not null
);

comment on table leaders is 'Which scheduler leads. A lease by the database''s clock, so that a pooler between does not matter.';
comment on column leaders.role is 'What is led.';
comment on column leaders.holder is 'Instance that leads.';
comment on column leaders.term is 'Grows by one with each change of holder.';
comment on column leaders.expires_at is 'Until when, unless renewed.';
