-- When authorisations end and what follows, and the notices that Amazon sends us.

alter table sellers add column authorisation_ended_at timestamptz;
alter table sellers add column disconnected_at timestamptz;
alter table sellers add column data_deleted_at timestamptz;

comment on column sellers.refresh_token is 'Login with Amazon refresh token, AES-256-GCM (nonce, ciphertext, tag), bound to this row''s id; empty when disconnected.';
comment on column sellers.refresh_token_key is 'Id of the key in the key ring that encrypted it; empty when disconnected.';
comment on column sellers.state is 'active; needs_reauthorisation when Amazon refuses the grant; disconnected by the seller, by us, or two weeks after Amazon refused.';
comment on column sellers.authorisation_ended_at is 'When the authorisation ended: Amazon refused it, or the seller was disconnected. Its data must be gone 30 days later. Null while it holds.';
comment on column sellers.disconnected_at is 'When it was disconnected; null while it is not.';
comment on column sellers.data_deleted_at is 'When everything that we had from Amazon about it was deleted, after it was disconnected.';

-- Empty instead of null: workers of the release before this one read the column as it was.
create function wipe_disconnected_authorisation() returns trigger language plpgsql as $$
begin
    new.refresh_token = '';
    new.refresh_token_key = '';
    return new;
end
$$;

comment on function wipe_disconnected_authorisation is 'A disconnected seller never has an authorisation, whichever statement disconnects it.';

create trigger wipe_disconnected_authorisation before insert or update on sellers
    for each row when (new.state = 'disconnected') execute function wipe_disconnected_authorisation();

create table authorisation_reminders (
    seller_id uuid not null references sellers (id) on delete cascade,
    ends_at timestamptz not null,
    days_before integer not null check (days_before > 0),
    created_at timestamptz not null,
    primary key (seller_id, ends_at, days_before)
);

comment on table authorisation_reminders is 'Sellers whose authorisation will end soon, once for each step. The platform shows them, and mails are made from them.';
comment on column authorisation_reminders.seller_id is 'Who must authorise us again.';
comment on column authorisation_reminders.ends_at is 'When the authorisation ends: 365 days after the seller connected. A new authorisation has reminders of its own.';
comment on column authorisation_reminders.days_before is 'The step: 60, 30, 14, 7 or 1 days before the end.';
comment on column authorisation_reminders.created_at is 'When the step was reached, as we noticed.';

create index authorisation_reminders_created on authorisation_reminders (created_at);

create table notices (
    notice_id text primary key check (octet_length(notice_id) between 1 and 200),
    notice_type text not null,
    arrived_at timestamptz not null
);

comment on table notices is 'Notices from Amazon that were taken, so that one that comes twice is taken once. Their contents are not kept.';
comment on column notices.notice_id is 'Amazon''s id of the notice.';
comment on column notices.notice_type is 'Amazon''s type, as ORDER_CHANGE.';
comment on column notices.arrived_at is 'When it was taken; forgotten 14 days later, the longest that a queue keeps a message.';

create index notices_arrived on notices (arrived_at);

create table notice_destinations (
    region text primary key check (region in ('na', 'eu', 'fe')),
    queue_arn text not null,
    destination_id text not null,
    noted_at timestamptz not null
);

comment on table notice_destinations is 'What Amazon calls our queue for notices, in each region.';
comment on column notice_destinations.region is 'na, eu or fe.';
comment on column notice_destinations.queue_arn is 'AWS'' name of the queue; another one means that Amazon must be told anew.';
comment on column notice_destinations.destination_id is 'Amazon''s id of it, which subscriptions name.';
comment on column notice_destinations.noted_at is 'When Amazon told it.';
