-- Keys of programs: who may use the HTTP API, for what, how often and until when.

create table api_keys (
    id uuid primary key,
    owner text not null check (owner ~ '^[a-z][a-z0-9._-]{0,39}$'),
    scopes text[] not null check (cardinality(scopes) > 0),
    kinds text[] check (cardinality(kinds) > 0),
    rate_per_second integer not null check (rate_per_second between 1 and 1000000),
    burst integer not null check (burst between 1 and 1000000),
    made_by text not null check (made_by <> ''),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    last_used_at timestamptz,
    revoked_at timestamptz
);

comment on table api_keys is 'Keys of programs for the HTTP API. Never deleted, because jobs and the audit log name them.';
comment on column api_keys.id is 'UUID version 7: sorts by birth. Part of the text that the program has, and opens nothing by itself.';
comment on column api_keys.owner is 'The program that has it, as in platform.orders; keys of one owner share idempotency keys.';
comment on column api_keys.scopes is 'enqueue, read, cancel, batches, schedules; what each allows is in console/src/auth/api_key.rs.';
comment on column api_keys.kinds is 'The kinds whose jobs it may enqueue and see; null for all.';
comment on column api_keys.rate_per_second is 'How many requests it may make in a second, in the long run.';
comment on column api_keys.burst is 'How many requests it may make at once.';
comment on column api_keys.made_by is 'Who made it: the name of a member of staff.';
comment on column api_keys.created_at is 'When it was made.';
comment on column api_keys.expires_at is 'When it ends by itself; a rotation moves it.';
comment on column api_keys.last_used_at is 'When it was last used, to some seconds; null when never.';
comment on column api_keys.revoked_at is 'When somebody ended it; null while nobody has.';

create table api_key_secrets (
    hash bytea primary key check (octet_length(hash) = 32),
    key_id uuid not null references api_keys (id),
    created_at timestamptz not null,
    ends_at timestamptz
);

comment on table api_key_secrets is 'What opens the API: one row a key, and during a rotation the one before beside it.';
comment on column api_key_secrets.hash is 'SHA-256 of the 256 random bits that the program has; shown once, kept nowhere.';
comment on column api_key_secrets.key_id is 'The key.';
comment on column api_key_secrets.created_at is 'When it was made.';
comment on column api_key_secrets.ends_at is 'When it ends because a newer one has come; null for the newest.';

create index api_key_secrets_of_a_key on api_key_secrets (key_id);

comment on column jobs.cause is 'Which door: schedule, cli, job, batch, or api with the id of the key.';
