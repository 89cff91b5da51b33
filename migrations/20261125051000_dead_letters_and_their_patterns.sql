-- Dead letters beside the ledger: small rows that can be searched and counted by what went wrong, however large the ledger is.
--
-- Triggers keep them, so that no statement can forget one. They are a table of their own because an index of `jobs` on an error
-- would have to be written anew with each retry; here a row is written once, when a job dies.

-- A trusted extension: the owner of the database may create it. By it, text within errors is found without reading all of them.
create extension if not exists pg_trgm;

-- What an error has in common with others of its sort: quoted parts, moments, ids and numbers are left out. Three figures that
-- look like the status of an HTTP answer (4xx, 5xx) stay: they tell errors apart.
create function error_pattern(error text) returns text language sql immutable strict parallel safe as $$
    select left(btrim(regexp_replace(
        regexp_replace(
        regexp_replace(
        regexp_replace(
        regexp_replace(
        regexp_replace(left(error, 2000),
            '"[^"]*"|`[^`]*`|(?<![[:alnum:]])''[^'']*''(?![[:alnum:]])', '…', 'g'),
            '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?( ?UTC|Z|[+-][0-9]{2}:?[0-9]{2})?', '…', 'g'),
            '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}', '…', 'g'),
            '\m(?=[A-Za-z_]*[0-9])[0-9A-Za-z_]{8,}\M', '…', 'g'),
            '(?<![0-9])(?!(?:[45][0-9]{2})(?![0-9A-Za-z]))[0-9]+', '#', 'g'),
            '\s+', ' ', 'g')), 300)
$$;

comment on function error_pattern(text) is 'An error without its quoted parts, moments, ids and numbers: what it has in common with others of its sort.';

create table dead_letters (
    job_id uuid primary key,
    kind text not null,
    queue text not null,
    group_name text not null,
    died_at timestamptz not null,
    error text not null,
    pattern text not null,
    pattern_key text not null generated always as (left(md5(kind || ' ' || pattern), 16)) stored
);

comment on table dead_letters is 'A row for each job that is dead, kept by triggers on jobs: what is needed to find and count them by what went wrong.';
comment on column dead_letters.job_id is 'The job; it goes from here when it is requeued, discarded or deleted.';
comment on column dead_letters.kind is 'As in jobs.';
comment on column dead_letters.queue is 'As in jobs.';
comment on column dead_letters.group_name is 'As in jobs: whom it was for.';
comment on column dead_letters.died_at is 'When it died.';
comment on column dead_letters.error is 'The last error it had, as in jobs; never personal data.';
comment on column dead_letters.pattern is 'That error without its quoted parts, moments, ids and numbers.';
comment on column dead_letters.pattern_key is 'Short name of kind and pattern together: dead letters with the same one belong to one group of a page.';

create index dead_letters_by_pattern on dead_letters (pattern_key, group_name, died_at);
create index dead_letters_by_death on dead_letters (died_at, job_id);
create index dead_letters_by_error on dead_letters using gin (error gin_trgm_ops);

create function keep_dead_letter() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        delete from dead_letters where job_id = old.id;
    elsif new.state <> 'dead' then
        delete from dead_letters where job_id = new.id;
    else
        insert into dead_letters as letter (job_id, kind, queue, group_name, died_at, error, pattern)
        values (new.id, new.kind, new.queue, new.group_name, new.finished_at,
            coalesce(new.last_error, 'no error was recorded'),
            error_pattern(coalesce(new.last_error, 'no error was recorded')))
        on conflict (job_id) do update set kind = excluded.kind, queue = excluded.queue, group_name = excluded.group_name,
            died_at = excluded.died_at, error = excluded.error, pattern = excluded.pattern;
    end if;
    return null;
end
$$;

create trigger jobs_born_dead after insert on jobs for each row when (new.state = 'dead') execute function keep_dead_letter();
create trigger jobs_that_die_or_live_again after update of state, kind, queue, group_name, finished_at, last_error on jobs
    for each row
    when ((new.state = 'dead' or old.state = 'dead')
        and (old.state, old.kind, old.queue, old.group_name, old.finished_at, old.last_error)
            is distinct from (new.state, new.kind, new.queue, new.group_name, new.finished_at, new.last_error))
    execute function keep_dead_letter();
create trigger dead_jobs_that_go after delete on jobs for each row when (old.state = 'dead') execute function keep_dead_letter();

insert into dead_letters (job_id, kind, queue, group_name, died_at, error, pattern)
    select id, kind, queue, group_name, finished_at, coalesce(last_error, 'no error was recorded'),
        error_pattern(coalesce(last_error, 'no error was recorded'))
    from jobs where is_dead;
