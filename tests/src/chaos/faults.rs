//! Does what the plan says, and keeps on record what is needed to judge it: who lost what when, how long Redis took to
//! hold everything again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use queue::{Engine, Queue, lease::LEASE};
use runtime::{
    clock::{Clock, SystemClock},
    env,
    redis::Redis,
};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    chaos::{
        plan::{Fault, Server, Sort, Step, Whom},
        stage::{Crew, Servers},
        witness::Loss,
    },
    proxy::Way,
};

/// How often it is looked whether Redis holds everything again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Noted {
    /// How many faults of each sort.
    pub(super) faults: BTreeMap<Sort, u64>,
    /// Who lost what it held.
    pub(super) losses: Vec<Loss>,
    /// From each return of Redis until it held all that was unfinished then. Of two returns in short order, only the
    /// second counts where the first could not be waited for.
    pub(super) redis_backs: Vec<Duration>,
}

impl Record {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        // A panic elsewhere leaves it whole: every change is one push or one addition.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what is on record.
    pub(super) fn read(&self) -> Noted {
        self.noted().clone()
    }

    fn lose(&self, whom: Whom, workers: Vec<Uuid>) {
        self.noted().losses.push(Loss { at: SystemClock.now(), whom, workers });
    }
}

/// What faults happen to, and who watches.
pub(super) struct Scene {
    pub(super) servers: Servers,
    pub(super) crew: Crew,
    /// To Postgres without anything in between.
    pub(super) witness: PgPool,
    pub(super) prefix: String,
    pub(super) record: Record,
}

/// Lets one fault happen, until it is over. After a loss of Redis it waits until Redis holds everything again.
pub(super) async fn happen(scene: Arc<Scene>, step: Step) -> anyhow::Result<()> {
    *scene.record.noted().faults.entry(step.sort).or_default() += 1;
    match step.fault {
        Fault::Kill { whom, down } => scene.crew.kill(whom, down, |ids| scene.record.lose(whom, ids)).await,
        Fault::Stop { whom, lasts } => {
            let stopped = |ids| {
                // One that wakes in time has lost nothing.
                if lasts >= LEASE {
                    scene.record.lose(whom, ids);
                }
            };
            scene.crew.stop(whom, lasts, stopped).await
        }
        Fault::Restart { server, down } => {
            scene.servers.take_away(server, down, false).await?;
            if server == Server::Redis { note_when_back(&scene).await } else { Ok(()) }
        }
        Fault::Crash { server, down } => {
            scene.servers.take_away(server, down, true).await?;
            if server == Server::Redis { note_when_back(&scene).await } else { Ok(()) }
        }
        Fault::Flush => {
            scene.servers.flush().await?;
            note_when_back(&scene).await
        }
        Fault::Cut { server } => {
            scene.servers.way(server).cut();
            Ok(())
        }
        Fault::Refuse { server, lasts } => way_is(&scene, server, Way::Refused, lasts).await,
        Fault::Slow { server, latency, lasts } => way_is(&scene, server, Way::Slow(latency), lasts).await,
        Fault::Hang { server, lasts } => way_is(&scene, server, Way::Hung, lasts).await,
    }
}

async fn way_is(scene: &Scene, server: Server, way: Way, lasts: Duration) -> anyhow::Result<()> {
    scene.servers.way(server).set(way);
    tokio::time::sleep(lasts).await;
    scene.servers.way(server).set(Way::Open);
    Ok(())
}

/// Notes how long it takes until Redis holds all that is unfinished now. Given up when it loses its data once more before.
async fn note_when_back(scene: &Scene) -> anyhow::Result<()> {
    let (began, losses) = (Instant::now(), scene.servers.redis_losses());
    let mut missing: Option<BTreeSet<Uuid>> = None;
    while scene.servers.redis_losses() == losses {
        // Either server may be away just now: then it is looked again.
        if missing.is_none() {
            missing = unfinished(&scene.witness).await.ok();
        }
        if let Some(missing) = &mut missing
            && let Ok(settled) = held_or_ended(scene, missing).await
        {
            missing.retain(|id| !settled.contains(id));
            if missing.is_empty() {
                scene.record.noted().redis_backs.push(began.elapsed());
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The jobs that Redis must hold: what is in the outbox it has not been told of.
async fn unfinished(witness: &PgPool) -> anyhow::Result<BTreeSet<Uuid>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from jobs where state in ('ready', 'delayed', 'running')
            and not exists (select from outbox where job_id = jobs.id)",
    )
    .fetch_all(witness)
    .await?;
    Ok(ids.into_iter().collect())
}

/// Which of these jobs Redis holds, or have ended meanwhile.
async fn held_or_ended(scene: &Scene, ids: &BTreeSet<Uuid>) -> anyhow::Result<HashSet<Uuid>> {
    let ended: Vec<Uuid> = sqlx::query_scalar(
        "select id from jobs where id = any($1) and state not in ('ready', 'delayed', 'running')",
    )
    .bind(ids.iter().copied().collect::<Vec<_>>())
    .fetch_all(&scene.witness)
    .await?;
    let settings = HashMap::from([
        (env::REDIS_URL.name, scene.servers.direct_url(Server::Redis).to_owned()),
        (env::PREFIX.name, scene.prefix.clone()),
    ]);
    let engine = Engine::new(Redis::connect(&settings).await?, Arc::new(SystemClock));
    let mut found: HashSet<_> = ended.into_iter().collect();
    for queue in Queue::ALL {
        found.extend(engine.census(queue).await?.into_iter().map(|id| id.0));
    }
    Ok(found)
}
