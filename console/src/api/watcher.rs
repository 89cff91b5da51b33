//! Looks at all jobs that anybody waits for with one query each tick: a thousand waiters cost Postgres what one costs.
//!
//! A newcomer's job is looked at as soon as the last look is over, together with other newcomers'. Where the database is
//! away, waiters keep what was seen last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use queue::JobId;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use super::job::{self, Job};

/// Time between two looks at a job.
const TICK: Duration = Duration::from_millis(100);
/// Most jobs in one query.
const MOST_IN_A_QUERY: usize = 1_000;
/// Most jobs that are watched.
const MOST_WATCHED: usize = 20_000;

/// What was last seen of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Seen {
    /// Nobody has looked yet.
    #[default]
    NotYet,
    /// There is none.
    None,
    /// This.
    Job(Arc<Job>),
}

type Watched = HashMap<JobId, watch::Sender<Seen>>;

#[derive(Default)]
struct Shared {
    watched: Mutex<Watched>,
    newcomer: Notify,
}

impl Shared {
    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to it. Cloning is cheap; it ends when all clones are gone.
#[derive(Clone)]
pub(super) struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    /// Starts it.
    pub(super) fn start(pool: PgPool) -> Self {
        let shared = Arc::<Shared>::default();
        tokio::spawn(look_around(pool, Arc::clone(&shared)));
        Self { shared }
    }

    /// Watches a job until the receiver is dropped; `None` when too many are watched already.
    pub(super) fn watch(&self, id: JobId) -> Option<watch::Receiver<Seen>> {
        let mut watched = self.shared.watched();
        if let Some(sender) = watched.get(&id) {
            return Some(sender.subscribe());
        }
        if watched.len() >= MOST_WATCHED {
            return None;
        }
        let (sender, receiver) = watch::channel(Seen::NotYet);
        watched.insert(id, sender);
        drop(watched);
        self.shared.newcomer.notify_one();
        Some(receiver)
    }
}

async fn look_around(pool: PgPool, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Only this task holds it when nobody else is left.
    while Arc::strong_count(&shared) > 1 {
        let only_new = tokio::select! {
            _ = ticks.tick() => false,
            () = shared.newcomer.notified() => true,
        };
        let ids = wanted(&shared, only_new);
        for piece in ids.chunks(MOST_IN_A_QUERY) {
            if let Err(error) = look(&pool, &shared, piece).await {
                tracing::debug!(%error, "could not look at watched jobs");
                break;
            }
        }
    }
}

/// Which jobs to look at; those that nobody watches any more are forgotten.
fn wanted(shared: &Shared, only_new: bool) -> Vec<JobId> {
    let mut watched = shared.watched();
    watched.retain(|_, sender| sender.receiver_count() > 0);
    let all = watched.iter().filter(|(_, sender)| !only_new || *sender.borrow() == Seen::NotYet);
    all.map(|(id, _)| *id).collect()
}

async fn look(pool: &PgPool, shared: &Shared, ids: &[JobId]) -> Result<(), sqlx::Error> {
    let jobs = job::load(&mut *pool.acquire().await?, ids, false).await?;
    let mut found: HashMap<_, _> = jobs.into_iter().map(|job| (JobId(job.id), Arc::new(job))).collect();
    let watched = shared.watched();
    for id in ids {
        let Some(sender) = watched.get(id) else { continue };
        let seen = found.remove(id).map_or(Seen::None, Seen::Job);
        sender.send_if_modified(|last| {
            let changed = *last != seen;
            if changed {
                *last = seen;
            }
            changed
        });
    }
    Ok(())
}
