-- Links by which people choose how they will sign in.

create table invitations (
    id uuid primary key,
    staff_id uuid not null references staff (id),
    token_hash bytea not null unique check (octet_length(token_hash) = 32),
    created_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > created_at),
    ended_at timestamptz
);

comment on table invitations is 'One-time links by which members of staff choose how they will sign in. Whoever has the link has the secret, we only its hash.';
comment on column invitations.id is 'UUID version 7; names the invitation, and opens nothing.';
comment on column invitations.staff_id is 'Who is invited.';
comment on column invitations.token_hash is 'SHA-256 of the 256 random bits in the link.';
comment on column invitations.created_at is 'When it was made.';
comment on column invitations.expires_at is 'Until when it can be used.';
comment on column invitations.ended_at is 'When it was used, or replaced by a later one; null while it waits.';

create index invitations_waiting on invitations (staff_id) where ended_at is null;
