-- Passkeys: the public halves. The private ones never leave their owners' devices.

create table passkeys (
    id uuid primary key,
    staff_id uuid not null references staff (id),
    credential_id bytea not null unique check (octet_length(credential_id) between 1 and 1023),
    passkey jsonb not null,
    label text not null check (label <> '' and octet_length(label) <= 100),
    created_at timestamptz not null,
    last_used_at timestamptz
);

comment on table passkeys is 'Passkeys of members of staff: the public halves.';
comment on column passkeys.id is 'UUID version 7.';
comment on column passkeys.staff_id is 'Whose it is.';
comment on column passkeys.credential_id is 'What the device calls it.';
comment on column passkeys.passkey is 'Public key, counter and what the device said of itself.';
comment on column passkeys.label is 'What its owner calls it, else browser and system where it was made.';
comment on column passkeys.created_at is 'When it was enrolled.';
comment on column passkeys.last_used_at is 'When it last proved who somebody is; null before the first time.';

create index passkeys_of_staff on passkeys (staff_id);
