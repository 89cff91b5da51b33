//! Idle workers hear of new work by a message, not by polling. A message may be lost with its connection; the fetcher's
//! slow poll is the safety net.

use std::{collections::HashMap, sync::Arc};

use redis::RedisResult;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Engine, engine::RedisSide, policy::Queue};

/// What idle fetchers of this process wait on, one for each queue.
#[derive(Debug, Clone)]
pub struct Wakes {
    by_queue: Arc<HashMap<Queue, Arc<Notify>>>,
}

impl Default for Wakes {
    fn default() -> Self {
        Self { by_queue: Arc::new(Queue::ALL.into_iter().map(|queue| (queue, Arc::default())).collect()) }
    }
}

impl Wakes {
    /// Listens for pushes to any queue until `stop` is cancelled.
    ///
    /// # Errors
    /// When Redis does not answer the first time.
    pub async fn listen(engine: &Engine, stop: CancellationToken) -> RedisResult<Self> {
        engine.listen(stop).await
    }

    /// What the fetcher of `queue` waits on.
    #[must_use]
    pub fn of(&self, queue: Queue) -> Arc<Notify> {
        self.by_queue.get(&queue).cloned().unwrap_or_default()
    }
}

impl RedisSide {
    pub(crate) async fn listen(&self, stop: CancellationToken) -> RedisResult<Wakes> {
        let channels: HashMap<String, Queue> =
            Queue::ALL.into_iter().map(|queue| (self.keys(queue).wake(), queue)).collect();
        let names: Vec<String> = channels.keys().cloned().collect();
        let mut subscription = self.redis().subscribe(&names).await?;
        let wakes = Wakes::default();
        let listening = wakes.clone();
        tokio::spawn(async move {
            while let Some(channel) = stop.run_until_cancelled(subscription.next_channel()).await {
                if let Some(queue) = channels.get(&channel) {
                    listening.of(*queue).notify_one();
                }
            }
        });
        Ok(wakes)
    }
}
