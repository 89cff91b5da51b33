-- Passwords, the authenticator apps that go with them, and the codes for the day an app is lost.

create table passwords (
    id uuid primary key,
    staff_id uuid not null references staff (id),
    hash text not null check (hash like '$argon2id$%'),
    set_at timestamptz not null,
    ended_at timestamptz
);

comment on table passwords is 'Passwords of members of staff, hashed: the one that holds, and the ones before it that may not be taken again.';
comment on column passwords.id is 'UUID version 7.';
comment on column passwords.staff_id is 'Whose it is.';
comment on column passwords.hash is 'Argon2id with its parameters and salt.';
comment on column passwords.set_at is 'When it was chosen.';
comment on column passwords.ended_at is 'When another one replaced it; null while it holds.';

create unique index passwords_that_hold on passwords (staff_id) where ended_at is null;
create index passwords_of_staff on passwords (staff_id, set_at desc);

create table authenticators (
    staff_id uuid primary key references staff (id),
    seed bytea not null,
    seed_key text not null,
    last_step bigint not null,
    created_at timestamptz not null
);

comment on table authenticators is 'Authenticator apps (TOTP): one a person, beside the password.';
comment on column authenticators.staff_id is 'Whose it is.';
comment on column authenticators.seed is 'The shared secret, AES-256-GCM (nonce, ciphertext, tag), bound to this row.';
comment on column authenticators.seed_key is 'Id of the key in the key ring that encrypted it.';
comment on column authenticators.last_step is 'The half minute, since 1970, of the last code that was taken: that one and earlier ones are refused.';
comment on column authenticators.created_at is 'When it was enrolled.';

create table recovery_codes (
    staff_id uuid not null references staff (id),
    code_hash bytea not null check (octet_length(code_hash) = 32),
    created_at timestamptz not null,
    used_at timestamptz,
    primary key (staff_id, code_hash)
);

comment on table recovery_codes is 'Codes that stand in once for a lost authenticator app. Their owner has them, we only their hashes.';
comment on column recovery_codes.staff_id is 'Whose they are.';
comment on column recovery_codes.code_hash is 'SHA-256 of 120 random bits.';
comment on column recovery_codes.created_at is 'When it was handed out.';
comment on column recovery_codes.used_at is 'When it was used; null while it is good.';
