//! What a leader runs. Each service is one bounded pass that can be called alone, and one loop, written here.

pub mod batches;
pub mod bulk;
pub mod cron;
pub mod expire;
pub mod kinds;
pub mod promote;
pub mod prune;
pub mod reconcile;
pub mod relay;
pub mod rescue;
mod roll_up;
pub mod unknown_kinds;
pub mod watch;

use std::time::Duration;

use chrono::TimeDelta;
use queue::{Engine, Queue, limit::Budgets};
use sqlx::PgPool;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// What services work on.
#[derive(Debug, Clone)]
pub struct Services {
    /// The database.
    pub pool: PgPool,
    /// The queues in Redis.
    pub engine: Engine,
    /// The budgets in Redis.
    pub budgets: Budgets,
    /// How long jobs stay in the ledger after they were done or cancelled.
    pub retention: TimeDelta,
}

/// Services that run.
#[derive(Debug)]
pub struct Running {
    tasks: JoinSet<()>,
}

/// Longest wait after a failed pass.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Services {
    /// Starts all services; they end when `term_ends` is cancelled.
    #[must_use]
    pub fn start(&self, term_ends: &CancellationToken) -> Running {
        let mut tasks = JoinSet::new();
        tasks.spawn(repeat(relay::Relay::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(cron::Cron::new(self.clone()), term_ends.clone()));
        for queue in Queue::ALL {
            tasks.spawn(repeat(promote::Promote::new(self.clone(), queue), term_ends.clone()));
            tasks.spawn(repeat(rescue::Rescue::new(self.clone(), queue), term_ends.clone()));
        }
        tasks.spawn(repeat(reconcile::Reconcile::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(watch::WatchDeadlines::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(batches::Batches::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(bulk::Bulk::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(expire::Expire::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(unknown_kinds::UnknownKinds::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(kinds::Kinds::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(roll_up::RollUp::new(self.clone()), term_ends.clone()));
        tasks.spawn(repeat(prune::Prune::new(self.clone()), term_ends.clone()));
        Running { tasks }
    }
}

impl Running {
    /// Returns when a service has ended, which none does by itself before its term is over: it panicked.
    pub async fn one_has_ended(&mut self) {
        report(self.tasks.join_next().await);
    }

    /// Waits until all have ended.
    pub async fn all_have_ended(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            report(Some(ended));
        }
    }
}

fn report(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended {
        tracing::error!(%error, "a service ended badly");
    }
}

/// A service: one bounded pass that is called again and again.
trait Service: Send + 'static {
    /// For logs and metrics.
    const NAME: &'static str;

    /// Why a pass fails.
    type Error: std::error::Error + Send + 'static;

    /// Does what there is to do. Returns how long to rest.
    fn pass(&mut self) -> impl Future<Output = Result<Duration, Self::Error>> + Send;
}

/// Calls a service until `stop`; after errors the rests grow.
async fn repeat<S: Service>(mut service: S, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    while !stop.is_cancelled() {
        let rest = match stop.run_until_cancelled(service.pass()).await {
            None => return,
            Some(Ok(rest)) => {
                pause = Duration::ZERO;
                rest
            }
            Some(Err(error)) => {
                metrics::counter!("service_errors_total", "service" => S::NAME).increment(1);
                tracing::warn!(
                    service.name = S::NAME,
                    error = queue::failure::chain(&error),
                    "a pass failed"
                );
                pause = (pause * 2).clamp(Duration::from_millis(100), LONGEST_PAUSE);
                pause
            }
        };
        stop.run_until_cancelled(tokio::time::sleep(rest)).await;
    }
}
