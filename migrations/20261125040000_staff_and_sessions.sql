-- Who may use the console, and who is signed in.

create table staff (
    id uuid primary key,
    name text not null unique check (name ~ '^[a-z][a-z0-9._-]{0,39}$'),
    roles text[] not null,
    created_at timestamptz not null,
    disabled_at timestamptz
);

comment on table staff is 'Members of staff: one row a person, never shared, never deleted, because the audit log names them.';
comment on column staff.id is 'UUID version 7: sorts by birth.';
comment on column staff.name is 'The handle that the audit log shows, as in ann.lee.';
comment on column staff.roles is 'viewer, operator, oncall, approver, auditor, admin; what each may do is in console/src/auth/role.rs.';
comment on column staff.created_at is 'When somebody invited them.';
comment on column staff.disabled_at is 'Since when they may not sign in; null while they may.';

create table sessions (
    id uuid primary key,
    staff_id uuid not null references staff (id),
    token_hash bytea not null unique check (octet_length(token_hash) = 32),
    agent text not null check (octet_length(agent) <= 100),
    created_at timestamptz not null,
    last_seen_at timestamptz not null,
    second_factor_at timestamptz,
    stepped_up_at timestamptz,
    revoked_at timestamptz
);

comment on table sessions is 'Browsers that are signed in. The browser has the token, we only its hash.';
comment on column sessions.id is 'UUID version 7; names the session in lists, and opens nothing.';
comment on column sessions.staff_id is 'Whose it is.';
comment on column sessions.token_hash is 'SHA-256 of the 256 random bits in the cookie.';
comment on column sessions.agent is 'Browser and system in a few words, so that its owner recognises it.';
comment on column sessions.created_at is 'When it was opened; it ends twelve hours later, whatever happens.';
comment on column sessions.last_seen_at is 'When it was last used, to the minute; it ends when it rests too long.';
comment on column sessions.second_factor_at is 'When the second factor was given; until then it opens nothing but the page that asks for it.';
comment on column sessions.stepped_up_at is 'When a factor was last asked for again; dangerous acts want that to be minutes ago.';
comment on column sessions.revoked_at is 'When it was ended: by its owner, by an admin, or by a change of roles or factors.';

create index sessions_of_staff on sessions (staff_id) where revoked_at is null;
