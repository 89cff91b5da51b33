-- The door for whoever speaks SQL: enqueue_job, called in the caller's own transaction. It checks what the catalog's door
-- checks, writes the same rows and gives the same answer; a test goes through the whole catalog and compares the two.
--
-- It runs with the rights of its owner, so that a role needs nothing but EXECUTE on it. Nobody has that until it is granted:
--     grant execute on function enqueue_job to platform;

-- The new id of a job: a UUID of version 7, its moment to a quarter of a microsecond, so that jobs sort by birth.
create function new_job_id() returns uuid language plpgsql volatile as $$
declare
    us bigint := floor(extract(epoch from clock_timestamp()) * 1000000);
    part integer := (us % 1000) * 4096 / 1000;
    id bytea := uuid_send(gen_random_uuid());
begin
    id := overlay(id placing substring(int8send(us / 1000) from 3) from 1 for 6);
    id := set_byte(set_byte(id, 6, 112 + part / 256), 7, part % 256);
    return encode(id, 'hex')::uuid;
end
$$;

-- A moment as payloads have it: UTC, with no more digits than it needs.
create function payload_moment(moment timestamptz) returns text language plpgsql immutable as $$
declare
    utc timestamp := moment at time zone 'UTC';
    us integer := extract(microseconds from utc)::integer % 1000000;
begin
    return to_char(utc, 'YYYY-MM-DD"T"HH24:MI:SS')
        || case when us = 0 then '' when us % 1000 = 0 then to_char(utc, '.MS') else to_char(utc, '.US') end || 'Z';
end
$$;

-- Whether a text that has a moment's pattern names a day that exists.
create function is_a_day(moment text) returns boolean language plpgsql immutable as $$
declare
    year integer := substr(moment, 1, 4)::integer;
    month text := substr(moment, 6, 2);
    day integer := substr(moment, 9, 2)::integer;
begin
    return day <= case
        when month in ('04', '06', '09', '11') then 30
        when month <> '02' then 31
        when year % 4 = 0 and (year % 100 <> 0 or year % 400 = 0) then 29
        else 28
    end;
end
$$;

-- The payload as it is stored, or what is wrong with it: of each misfit a text that names the field and what would be right,
-- and never what it found. Reads the words of JSON Schema that queue/src/schema.rs allows, and no others.
create function checked_payload(
    schema jsonb, payload jsonb, out stored jsonb, out misfits text[], out misfit_field text
) language plpgsql immutable as $$
declare
    names text;
begin
    if jsonb_typeof(payload) is distinct from 'object' then
        select string_agg('`' || name || '`', ', ' order by name collate "C") into names
        from jsonb_object_keys(schema -> 'properties') as name;
        misfits := array['it must be an object ' || coalesce('with the fields ' || names, 'without fields')];
        return;
    end if;
    with judged as (
        select key as name,
            coalesce(payload -> key, rule -> 'default') as given,
            rule -> 'format' as format,
            case
                when payload -> key is null then not coalesce(schema -> 'required' ? key, false)
                when jsonb_typeof(payload -> key) = 'null' then rule -> 'type' ? 'null'
                when jsonb_typeof(payload -> key) <> 'string' then false
                when not payload ->> key ~ (rule ->> 'pattern') then false
                when rule ->> 'format' = 'date-time' then is_a_day(payload ->> key)
                else true
            end as fits,
            case rule ->> 'format' when 'uuid' then 'an id' when 'date-time' then 'a moment' else 'a text' end
                || ' as ' || (rule -> 'examples' ->> 0)
                || case when coalesce(schema -> 'required' ? key, false) then '' else ', or left out' end as what
        from jsonb_each(schema -> 'properties') as field (key, rule)
    ), complaints as (
        select true as known, name, name as field, case
            when payload ? name then format('`%s` must be %s', name, what)
            else format('`%s` is missing; it must be %s', name, what)
        end as why
        from judged where not fits
        union all
        select false, key, case when key ~ '^[a-z_]{1,30}$' then key end, format('there is no field %s; %s',
            case when key ~ '^[a-z_]{1,30}$' then '`' || key || '`' else '(hidden)' end,
            coalesce('the fields are ' || (select string_agg('`' || name || '`', ', ' order by name collate "C") from judged),
                'it has none'))
        from jsonb_object_keys(payload) as key where not coalesce(schema -> 'properties' ? key, false)
    )
    select
        (select array_agg(why order by known, name collate "C") from complaints),
        (select field from complaints order by known, name collate "C" limit 1),
        (select coalesce(jsonb_object_agg(name, case format
            when '"uuid"' then to_jsonb(lower(given #>> '{}'))
            when '"date-time"' then to_jsonb(payload_moment((given #>> '{}')::timestamptz))
            else given
        end), '{}') from judged where fits and jsonb_typeof(given) <> 'null')
    into misfits, misfit_field, stored;
end
$$;

-- A flat object as text without blanks, its fields in the order of their bytes: a part of unique keys.
create function payload_text(payload jsonb) returns text language plpgsql immutable as $$
begin
    return (select '{' || coalesce(string_agg(to_jsonb(key)::text || ':' || value::text, ',' order by key collate "C"), '') || '}'
        from jsonb_each(payload));
end
$$;

-- The place in a trace as it is stored; null for what cannot be read, because another system's trace is not ours to judge.
create function stored_traceparent(given text) returns text language plpgsql immutable as $$
declare
    trace text := btrim(given, E' \t\r\n');
begin
    if trace !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}($|-)'
        or left(trace, 2) = 'ff' or (left(trace, 2) = '00' and length(trace) <> 55)
        or substr(trace, 4, 32) !~ '[^0]' or substr(trace, 37, 16) !~ '[^0]'
    then
        return null;
    end if;
    return '00-' || substr(trace, 4, 49) || case when substr(trace, 55, 1) ~ '[13579bdf]' then '-01' else '-00' end;
end
$$;

create function enqueue_job(
    kind text,
    payload jsonb,
    idempotency_key text default null,
    due_at timestamptz default null,
    deadline_at timestamptz default null,
    expires_at timestamptz default null,
    traceparent text default null,
    out id uuid,
    out created boolean
) language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
declare
    known kinds;
    checked record;
    names text;
    bytes integer;
    wrong text;
    for_whom text;
    key text;
    wanted timestamptz := coalesce(enqueue_job.due_at, now());
    waits_until timestamptz;
begin
    bytes := octet_length(enqueue_job.idempotency_key);
    if bytes not between 1 and 200 then
        raise exception using errcode = 'invalid_parameter_value', column = 'idempotency_key', message = format(
            'an idempotency key has 1 to 200 bytes, not %s; use an id or a hash of what you have', bytes);
    end if;
    wrong := case
        when enqueue_job.due_at not between '1000-01-01' and '9999-12-31' then 'due_at'
        when enqueue_job.deadline_at not between '1000-01-01' and '9999-12-31' then 'deadline_at'
        when enqueue_job.expires_at not between '1000-01-01' and '9999-12-31' then 'expires_at'
    end;
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', column = wrong, message = format(
            '`%s` must be a moment of the years 1000 to 9999', wrong);
    end if;
    if enqueue_job.deadline_at <= now() then
        raise exception using errcode = 'invalid_parameter_value', column = 'deadline_at', message = format(
            'the deadline %s UTC has passed already; name a later one, with its time zone',
            translate(payload_moment(enqueue_job.deadline_at), 'TZ', ' '));
    end if;

    select * into known from kinds where name = enqueue_job.kind;
    if not found or known.retired then
        select string_agg(name, ', ' order by place) into names from kinds where not retired;
        raise exception using errcode = 'undefined_object', column = 'kind',
            message = case
                when known.retired then format('the kind `%s` was retired: its jobs are no longer run; the kinds are %s', known.name, names)
                else format('there is no kind `%s`; the kinds are %s', left(enqueue_job.kind, 100), names)
            end,
            hint = '`amzigo kinds` lists them; those of a new release are known after `amzigo migrate`.';
    end if;
    bytes := octet_length(enqueue_job.payload::text);
    if bytes > 65536 then
        raise exception using errcode = 'invalid_parameter_value', column = 'payload', message = format(
            'the payload of `%s` has %s bytes, more than the 65536 allowed; store the data in a table and put its id into the payload',
            known.name, bytes);
    end if;
    checked := checked_payload(known.payload_schema, enqueue_job.payload);
    if checked.misfits is not null then
        raise exception using errcode = 'invalid_parameter_value', column = coalesce('payload.' || checked.misfit_field, 'payload'),
            message = format('the payload does not fit `%s`: %s', known.name, array_to_string(checked.misfits[1:8], '; '));
    end if;
    for_whom := coalesce(known.group_name, checked.stored ->> known.group_field, '');
    if octet_length(for_whom) not between 1 and 100 then
        raise exception using errcode = 'invalid_parameter_value', column = 'payload', message = format(
            'the group of `%s` must have 1 to 100 bytes, not %s', known.name, octet_length(for_whom));
    end if;
    if known.unique_how is not null then
        key := known.name || ':' || payload_text(checked.stored);
    end if;

    id := new_job_id();
    loop
        insert into jobs (id, kind, payload_version, queue, priority, group_name, payload, state,
            unique_key, waiting_key, period_key, period, idempotency_key,
            created_at, touched_at, due_at, deadline_at, expires_at, traceparent, cause)
        values (enqueue_job.id, known.name, known.payload_version, known.queue, known.priority, for_whom, checked.stored,
            case when wanted > now() then 'delayed' else 'ready' end,
            case when known.unique_how = 'until_done' then key end,
            case when known.unique_how = 'while_waiting' then key end,
            case when known.unique_how = 'for_a_time' then key end,
            case when known.unique_how = 'for_a_time' then tstzrange(now(), now() + known.unique_for) end,
            enqueue_job.idempotency_key,
            now(), now(), wanted, enqueue_job.deadline_at,
            coalesce(enqueue_job.expires_at, greatest(wanted, now()) + known.expires_after),
            stored_traceparent(enqueue_job.traceparent), 'sql')
        on conflict do nothing;
        if found then
            insert into outbox (job_id) values (enqueue_job.id);
            created := true;
            return;
        end if;

        -- Somebody holds a key; whoever that is does the work.
        select id, case when state = 'delayed' and fence = 0 then due_at end into enqueue_job.id, waits_until
        from jobs where idempotency_key = enqueue_job.idempotency_key;
        if not found and known.unique_how = 'until_done' then
            select id, case when state = 'delayed' and fence = 0 then due_at end into enqueue_job.id, waits_until
            from jobs where unique_key = key and finished_at is null;
        elsif not found and known.unique_how = 'while_waiting' then
            select id, case when state = 'delayed' and fence = 0 then due_at end into enqueue_job.id, waits_until
            from jobs where waiting_key = key and finished_at is null;
        elsif not found and known.unique_how = 'for_a_time' then
            select id, case when state = 'delayed' and fence = 0 then due_at end into enqueue_job.id, waits_until
            from jobs where period_key = key and upper(period) > now();
        end if;
        if enqueue_job.id is not null then
            exit;
        end if;
        -- It has ended since: the key is free again.
        id := new_job_id();
    end loop;

    created := false;
    wanted := greatest(wanted, now());
    if waits_until > wanted then
        -- It is wanted earlier than it would run; it goes through the outbox once more.
        update jobs set due_at = wanted, touched_at = now(), state = case when wanted > now() then 'delayed' else 'ready' end
        where id = enqueue_job.id and case when state = 'delayed' and fence = 0 then due_at > wanted else false end;
        if found then
            insert into outbox (job_id) values (enqueue_job.id) on conflict do nothing;
        end if;
    end if;
end
$$;

comment on column jobs.cause is 'Which door: schedule, cli, console, rust, sql, job, batch, or api with the id of the key.';

comment on function enqueue_job is 'Enqueues a job in the caller''s transaction: it exists when that commits. Answers with its id, and whether it is new; with the id of the one that is there, where one with the same idempotency key, or of a unique kind with the same payload, is. Refuses what does not fit, with a message that says what would.';

revoke execute on function new_job_id, payload_moment, is_a_day, checked_payload, payload_text, stored_traceparent, enqueue_job from public;
