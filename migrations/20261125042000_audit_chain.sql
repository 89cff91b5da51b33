-- The audit log only grows, and each act carries the hash of the one before it.

alter table audit_log add column via text check (via in ('console', 'cli', 'api', 'system'));
comment on column audit_log.via is 'Through which door it was done: console, cli, api or system; null when it was not recorded yet.';

create index audit_log_actor on audit_log (actor, id);
create index audit_log_at on audit_log (at);

create table audit_chain (
    position bigint primary key check (position > 0),
    audit_id bigint not null unique references audit_log (id),
    prev_hash bytea not null check (octet_length(prev_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32)
);

comment on table audit_chain is 'The order in which acts were committed, and what shows that none was changed since: `amzigo audit verify` checks it.';
comment on column audit_chain.position is 'Counts from 1 without gaps.';
comment on column audit_chain.audit_id is 'The act in audit_log.';
comment on column audit_chain.prev_hash is 'Hash of the act before; 32 zero bytes before the first one.';
comment on column audit_chain.hash is 'SHA-256 of prev_hash and of everything that the log says of the act.';

-- A text that cannot be mistaken for another one, whatever is put behind it: its length, a colon, itself, a comma.
create function audit_field(value text) returns text language sql immutable
as $$ select coalesce(octet_length(convert_to(value, 'UTF8')) || ':' || value, '-') || ',' $$;

-- What `console/src/ops/audit_chain.rs` computes too, to check it.
create function audit_hash(prev_hash bytea, link bigint, act audit_log) returns bytea language sql stable
as $$
    select sha256(prev_hash || convert_to(
        audit_field(link::text) || audit_field(act.id::text)
        || audit_field((extract(epoch from act.at) * 1000000)::bigint::text)
        || audit_field(act.actor) || audit_field(act.via) || audit_field(act.action)
        || audit_field(act.target) || audit_field(act.reason), 'UTF8'))
$$;

-- Runs at the end of a transaction, when nothing but its commit is left to do: whoever waits for the lock waits for commits
-- and for nothing else. The lock is gone once the commit can be seen, so the chain cannot fork; the primary key refuses it
-- where a transaction cannot see it (repeatable read).
create function audit_chain_act() returns trigger language plpgsql
as $$
declare
    last audit_chain;
    zeros constant bytea := decode(repeat('00', 32), 'hex');
begin
    perform pg_advisory_xact_lock(hashtextextended('audit_chain', 0));
    select * into last from audit_chain order by position desc limit 1;
    insert into audit_chain (position, audit_id, prev_hash, hash) values (
        coalesce(last.position, 0) + 1, new.id, coalesce(last.hash, zeros),
        audit_hash(coalesce(last.hash, zeros), coalesce(last.position, 0) + 1, new));
    return null;
end
$$;

create constraint trigger audit_log_is_chained after insert on audit_log
    deferrable initially deferred for each row execute function audit_chain_act();

create function refuse_change() returns trigger language plpgsql
as $$
begin
    raise exception '% only grows: % is refused', tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege', hint = 'Write another act that says what is right.';
end
$$;

create trigger audit_log_only_grows before update or delete or truncate on audit_log
    for each statement execute function refuse_change();
create trigger audit_chain_only_grows before update or delete or truncate on audit_chain
    for each statement execute function refuse_change();

-- The acts that are there already, as they are found.
do $$
declare
    act audit_log;
    link bigint := 0;
    last bytea := decode(repeat('00', 32), 'hex');
    next bytea;
begin
    for act in select * from audit_log order by id loop
        link := link + 1;
        next := audit_hash(last, link, act);
        insert into audit_chain (position, audit_id, prev_hash, hash) values (link, act.id, last, next);
        last := next;
    end loop;
end
$$;
