-- What is watched of jobs that must be done by a moment, and what was said about those that come near it.
--
-- Triggers keep `deadlines`, so that whatever writes a job is watched: no statement can forget it. They look only at jobs
-- with a deadline. There is no foreign key to `jobs`: it would cost a look-up for each job that is pruned, with or without
-- a deadline; a trigger clears what is left instead.

create table deadlines (
    job_id uuid primary key,
    queue text not null,
    deadline_at timestamptz not null,
    look_at timestamptz,
    looked_at timestamptz,
    latest_safe_start timestamptz,
    budgets_free_at timestamptz
);

comment on table deadlines is 'Jobs with a deadline that are not at a good end: when to look at each again, and what was seen. A row goes when its job is done or cancelled.';
comment on column deadlines.job_id is 'The job.';
comment on column deadlines.queue is 'Its queue, for the smallest time left.';
comment on column deadlines.deadline_at is 'When the job must be done.';
comment on column deadlines.look_at is 'When to look at it next; at once after its state has changed. Null: nothing to say until then.';
comment on column deadlines.looked_at is 'When it was looked at last.';
comment on column deadlines.latest_safe_start is 'As seen then: the last moment to begin at which a usual run, some retries and the wait for its budgets still fit.';
comment on column deadlines.budgets_free_at is 'As seen then: from when the budgets that its kind asks have a call for it.';

create index deadlines_to_look_at on deadlines (look_at, job_id) where look_at is not null;
create index deadlines_of_a_queue on deadlines (queue, deadline_at);

create table escalations (
    job_id uuid not null,
    deadline_at timestamptz not null,
    level text not null
        check (level in ('half', 'three quarters', 'nine tenths', 'must start now', 'cannot fit', 'missed')),
    at timestamptz not null,
    latest_safe_start timestamptz not null,
    why text not null,
    primary key (job_id, deadline_at, level)
);

comment on table escalations is 'Each level that a job reached on the way to its deadline, once.';
comment on column escalations.job_id is 'The job.';
comment on column escalations.deadline_at is 'The deadline it was about; another deadline has levels of its own.';
comment on column escalations.level is 'half, three quarters, nine tenths: of the way from birth to the latest safe start. must start now: that has passed. cannot fit: a usual run would end late. missed: the deadline has passed.';
comment on column escalations.at is 'When it was seen.';
comment on column escalations.latest_safe_start is 'The last moment to begin safely, as seen then.';
comment on column escalations.why is 'What was counted, in words for ops; no personal data.';

create function watch_deadline() returns trigger language plpgsql as $$
begin
    if new.deadline_at is null then
        delete from deadlines where job_id = new.id;
    else
        insert into deadlines (job_id, queue, deadline_at, look_at)
        values (new.id, new.queue, new.deadline_at, new.touched_at)
        on conflict (job_id) do update
            set queue = new.queue, deadline_at = new.deadline_at, look_at = new.touched_at;
    end if;
    return null;
end
$$;

create trigger jobs_are_born_with_deadlines after insert on jobs for each row
    when (new.deadline_at is not null) execute function watch_deadline();
create trigger jobs_with_deadlines_change after update of state, due_at, deadline_at, queue on jobs for each row
    when ((new.deadline_at is not null or old.deadline_at is not null)
        and (old.state, old.due_at, old.deadline_at, old.queue)
            is distinct from (new.state, new.due_at, new.deadline_at, new.queue))
    execute function watch_deadline();

create function forget_deadline() returns trigger language plpgsql as $$
begin
    delete from deadlines where job_id = old.id;
    delete from escalations where job_id = old.id;
    return null;
end
$$;

create trigger jobs_with_deadlines_go after delete on jobs for each row
    when (old.deadline_at is not null) execute function forget_deadline();

create function wake_watch() returns trigger language plpgsql as $$
begin
    perform pg_notify('deadlines', '');
    return null;
end
$$;

create trigger deadlines_wake_the_watch after insert on deadlines for each statement execute function wake_watch();

insert into deadlines (job_id, queue, deadline_at, look_at)
    select id, queue, deadline_at, touched_at from jobs
    where deadline_at is not null and state in ('ready', 'delayed', 'running', 'dead');
