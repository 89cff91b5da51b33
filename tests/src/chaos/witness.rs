//! An independent witness: a trigger, installed in the run's own database, writes down every change of a job's state. What
//! it saw is judged here, without asking the code that is on trial.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::chaos::plan::Whom;

/// A job's state as the witness tells it. The database allows no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(super) enum State {
    Ready,
    Delayed,
    Running,
    Done,
    Dead,
    Cancelled,
}

impl State {
    const fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

/// One change of a job.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Change {
    job: Uuid,
    at: DateTime<Utc>,
    was: State,
    now: State,
    /// Who runs it, or ran it last.
    worker: Option<Uuid>,
    /// Under another token than before.
    new_token: bool,
    /// The moment of its end was written, or written anew.
    end_written: bool,
}

const WATCH: &str = "
    create schema witness;
    create table witness.changes (
        number bigserial primary key,
        at timestamptz not null default clock_timestamp(),
        job uuid not null, was text not null, now text not null, worker uuid,
        new_token boolean not null, end_written boolean not null
    );
    create function witness.note() returns trigger language plpgsql as $$
    begin
        insert into witness.changes (job, was, now, worker, new_token, end_written)
        values (new.id, old.state, new.state, new.worker, old.fence <> new.fence,
            new.finished_at is not null and old.finished_at is distinct from new.finished_at);
        return null;
    end
    $$;
    create trigger witness after update on jobs for each row
        when ((old.state, old.worker, old.fence, old.finished_at)
            is distinct from (new.state, new.worker, new.fence, new.finished_at))
        execute function witness.note();
";

/// Begins to watch.
pub(super) async fn watch(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::raw_sql(WATCH).execute(pool).await?;
    Ok(())
}

/// All that was seen so far; the changes of one job are in their order.
pub(super) async fn changes(pool: &PgPool) -> anyhow::Result<Vec<Change>> {
    let changes = sqlx::query_as(
        "select job, at, was, now, worker, new_token, end_written from witness.changes order by number",
    );
    Ok(changes.fetch_all(pool).await?)
}

/// Jobs that ended more often than once, not counting what a person sent back from the dead letters.
pub(super) fn finished_twice(changes: &[Change]) -> BTreeSet<Uuid> {
    let mut ends: BTreeMap<Uuid, i32> = BTreeMap::new();
    for change in changes {
        let ends = ends.entry(change.job).or_default();
        if change.now.ended() && (!change.was.ended() || change.end_written) {
            *ends += 1;
        }
        if change.was == State::Dead && change.now == State::Ready {
            *ends -= 1;
        }
    }
    ends.into_iter().filter(|(_, ends)| *ends > 1).map(|(job, _)| job).collect()
}

/// What became of runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// Runs that began.
    pub(super) begun: u64,
    /// Of those, runs of a job that was still running, as far as the ledger knew, at somebody who was lost.
    pub(super) taken_over: u64,
    /// Runs that were broken off and handed back, uncounted.
    pub(super) handed_back: u64,
}

pub(super) fn runs(changes: &[Change]) -> Runs {
    let mut runs = Runs::default();
    for change in changes {
        let running = change.now == State::Running;
        if running && (change.was != State::Running || change.new_token) {
            runs.begun += 1;
            runs.taken_over += u64::from(change.was == State::Running);
        }
        runs.handed_back += u64::from(change.was == State::Running && change.now == State::Ready);
    }
    runs
}

/// A moment at which a process lost what it held.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    /// When.
    pub(super) at: DateTime<Utc>,
    /// Who.
    pub(super) whom: Whom,
    /// The ids that it worked under.
    pub(super) workers: Vec<Uuid>,
}

/// How a loss was made good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// When what was lost.
    pub(super) lost_at: DateTime<Utc>,
    /// Who lost it.
    pub(super) whom: Whom,
    /// How many jobs.
    pub(super) jobs: usize,
    /// From the loss until the last of them ran elsewhere, was put off, or had ended.
    pub(super) took: Duration,
}

/// What became of each loss by which somebody's jobs were hit.
pub(super) fn recoveries(changes: &[Change], losses: &[Loss]) -> Vec<Recovery> {
    losses.iter().filter_map(|loss| recovery(changes, loss)).collect()
}

fn recovery(changes: &[Change], loss: &Loss) -> Option<Recovery> {
    let ours = |worker: Option<Uuid>| worker.is_some_and(|worker| loss.workers.contains(&worker));
    let mut held: HashMap<Uuid, bool> = HashMap::new();
    for change in changes.iter().filter(|change| change.at <= loss.at) {
        held.insert(change.job, change.now == State::Running && ours(change.worker));
    }
    held.retain(|_, held| *held);
    let jobs = held.len();
    let mut last = None;
    for change in changes.iter().filter(|change| change.at > loss.at) {
        let safe = match change.now {
            State::Running => !ours(change.worker),
            State::Ready => false,
            State::Delayed | State::Done | State::Dead | State::Cancelled => true,
        };
        if safe && held.remove(&change.job).is_some() {
            last = Some(change.at);
        }
    }
    let took = (last? - loss.at).to_std().ok()?;
    Some(Recovery { lost_at: loss.at, whom: loss.whom, jobs, took })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use runtime::testing::TestDatabase;

    use super::*;
    use crate::chaos::plan::Role;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    /// A change of a job at a second: from, to, at whom.
    fn change(job: Uuid, at: i64, was: State, now: State, worker: Uuid) -> Change {
        Change {
            job,
            at: second(at),
            was,
            now,
            worker: Some(worker),
            new_token: now == State::Running,
            end_written: now.ended(),
        }
    }

    const JOB: Uuid = Uuid::from_u128(1);
    const OTHER_JOB: Uuid = Uuid::from_u128(2);
    const LOST: Uuid = Uuid::from_u128(11);
    const SAVIOUR: Uuid = Uuid::from_u128(12);

    /// The trigger against a real ledger, which is changed as no code of ours would.
    #[tokio::test]
    async fn the_witness_sees_what_happens_to_a_job() {
        let pool = TestDatabase::new().await.pool;
        watch(&pool).await.unwrap();
        let change = async |change: &'static str| {
            sqlx::query(change).bind(JOB).execute(&pool).await.unwrap();
        };
        change(
            "insert into jobs (id, kind, queue, group_name, payload, cause, created_at, touched_at, due_at)
             values ($1, 'sync_orders', 'sync', 'a seller', '{}', 'cli', now(), now(), now())",
        )
        .await;
        let run = "update jobs set state = 'running', worker = gen_random_uuid(), fence = fence + 1, started_at = now(),
             finished_at = null where id = $1";
        let end = "update jobs set state = 'done', finished_at = clock_timestamp() where id = $1";
        for step in [run, "update jobs set waits_for = 'nothing' where id = $1", run, end] {
            change(step).await;
        }
        let seen = changes(&pool).await.unwrap();
        let states: Vec<_> = seen.iter().map(|change| (change.was, change.now)).collect();
        use State::{Done, Ready, Running};
        assert_eq!(states, [(Ready, Running), (Running, Running), (Running, Done)]);
        assert_eq!(runs(&seen), Runs { begun: 2, taken_over: 1, handed_back: 0 });
        assert_eq!(finished_twice(&seen), BTreeSet::new());

        change(end).await;
        assert_eq!(finished_twice(&changes(&pool).await.unwrap()), [JOB].into());
    }

    #[test]
    fn a_second_end_is_seen_and_one_after_a_requeue_is_not_one() {
        use State::{Dead, Done, Ready, Running};
        let once = [change(JOB, 1, Ready, Running, LOST), change(JOB, 2, Running, Done, LOST)];
        assert_eq!(finished_twice(&once), BTreeSet::new());
        let mut again = once.to_vec();
        again.extend([change(JOB, 3, Done, Running, SAVIOUR), change(JOB, 4, Running, Done, SAVIOUR)]);
        assert_eq!(finished_twice(&again), [JOB].into(), "it left a state that is for ever");
        let mut rewritten = once.to_vec();
        rewritten.push(change(JOB, 3, Done, Done, SAVIOUR));
        assert_eq!(finished_twice(&rewritten), [JOB].into(), "its end was written twice");
        let requeued = [
            change(JOB, 2, Running, Dead, LOST),
            change(JOB, 3, Dead, Ready, LOST),
            change(JOB, 5, Running, Done, SAVIOUR),
        ];
        assert_eq!(finished_twice(&requeued), BTreeSet::new());
    }

    #[test]
    fn a_recovery_ends_with_the_last_job_that_was_held() {
        use State::{Done, Ready, Running};
        let whom = Whom { role: Role::Worker, number: 1 };
        let loss = Loss { at: second(10), whom, workers: vec![LOST] };
        let before = [
            change(JOB, 1, Ready, Running, LOST),
            change(OTHER_JOB, 2, Ready, Running, LOST),
            // Not held: it ended before, and was never the lost one's.
            change(Uuid::from_u128(3), 3, Running, Done, LOST),
            change(Uuid::from_u128(4), 4, Ready, Running, SAVIOUR),
        ];
        assert_eq!(recoveries(&before, std::slice::from_ref(&loss)), [], "nothing is known of it yet");
        let mut all = before.to_vec();
        all.extend([
            change(JOB, 21, Running, Running, SAVIOUR),
            change(OTHER_JOB, 23, Running, Ready, LOST),
            change(OTHER_JOB, 24, Ready, Running, SAVIOUR),
            change(Uuid::from_u128(4), 60, Running, Done, SAVIOUR),
        ]);
        let recovery = Recovery { lost_at: second(10), whom, jobs: 2, took: Duration::from_secs(14) };
        assert_eq!(recoveries(&all, std::slice::from_ref(&loss)), [recovery]);
        let idle = Loss { at: second(10), whom, workers: vec![Uuid::from_u128(99)] };
        assert_eq!(recoveries(&all, &[idle]), [], "who held nothing has nothing to recover");
    }

    #[test]
    fn runs_are_counted_by_how_they_began() {
        use State::{Delayed, Done, Ready, Running};
        let changes = [
            change(JOB, 1, Ready, Running, LOST),
            change(JOB, 2, Running, Running, SAVIOUR),
            change(JOB, 3, Running, Ready, SAVIOUR),
            change(JOB, 4, Ready, Running, SAVIOUR),
            change(JOB, 5, Running, Delayed, SAVIOUR),
            change(JOB, 6, Delayed, Running, SAVIOUR),
            change(JOB, 7, Running, Done, SAVIOUR),
        ];
        assert_eq!(runs(&changes), Runs { begun: 4, taken_over: 1, handed_back: 1 });
    }
}
