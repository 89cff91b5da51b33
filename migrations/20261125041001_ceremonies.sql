-- What the server remembers between the two halves of something that only its owner can finish.

create table ceremonies (
    token_hash bytea primary key check (octet_length(token_hash) = 32),
    purpose text not null check (purpose in ('passkey_enrolment', 'passkey_sign_in', 'passkey_step_up', 'password_enrolment')),
    staff_id uuid references staff (id),
    state jsonb not null,
    created_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > created_at)
);

comment on table ceremonies is 'Sign-ins and enrolments that have begun: what was asked, until it is answered once. Minutes old, then gone.';
comment on column ceremonies.token_hash is 'SHA-256 of the 256 random bits that the page has.';
comment on column ceremonies.purpose is 'What it is good for, and for nothing else: passkey_enrolment, passkey_sign_in, passkey_step_up, password_enrolment.';
comment on column ceremonies.staff_id is 'Whose it is; null where nobody is known yet.';
comment on column ceremonies.state is 'The challenge of a passkey; or the hash of a new password beside the encrypted seed of an authenticator app.';
comment on column ceremonies.created_at is 'When it began.';
comment on column ceremonies.expires_at is 'Until when it can be finished; the next one that begins deletes it then.';

create index ceremonies_expiry on ceremonies (expires_at);
