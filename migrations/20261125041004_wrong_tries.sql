-- Guesses are counted where a restart does not forget them.

create table wrong_tries (
    staff_id uuid not null references staff (id),
    credential text not null check (credential in ('password', 'code')),
    tries integer not null check (tries >= 0),
    next_at timestamptz not null,
    primary key (staff_id, credential)
);

comment on table wrong_tries is 'How often a password or a code was tried in vain since it was last right. A right one deletes the row.';
comment on column wrong_tries.staff_id is 'Whose credential was tried.';
comment on column wrong_tries.credential is 'password, or code (of the authenticator app).';
comment on column wrong_tries.tries is 'Tries in vain; at ten the credential is locked, until a passkey, a recovery code or an admin opens it.';
comment on column wrong_tries.next_at is 'Before this moment no try counts, right or wrong: each one in vain makes the next wait longer.';
