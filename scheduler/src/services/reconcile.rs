//! Puts back what the ledger says is unfinished and Redis no longer knows, after telling it what is paused and limited.
//!
//! Two signs of loss are looked for each second: the mark in Redis is gone (flushed, or a new server), then all unfinished
//! jobs are pushed; or the server was restarted or away, then it may have lost its last second, and a census finds what is
//! missing. A census now and then heals what nobody thought of.

use std::{collections::HashSet, time::Duration};

use chrono::TimeDelta;
use jobs::catalog::CATALOG;
use queue::{Queue, controls, outbox::RelayError, reconcile::put_back};
use tokio::time::Instant;

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);
/// Between two censuses when nothing happened.
const CALM: Duration = Duration::from_secs(300);
/// Between two censuses for a while after a sign of loss: what was on its way at the first is seen by the next.
const ALERT: Duration = Duration::from_secs(5);
const ALERT_LASTS: Duration = Duration::from_secs(30);
/// A job touched so lately may be between two places.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(10);

pub(super) struct Reconcile {
    services: Services,
    /// Which start of the server the last pass saw.
    server: Option<String>,
    alert_until: Instant,
    next_census: Instant,
}

impl Reconcile {
    pub(super) fn new(services: Services) -> Self {
        let now = Instant::now();
        // A new leader does not know what happened before it.
        Self { services, server: None, alert_until: now + ALERT_LASTS, next_census: now }
    }

    fn alert(&mut self) {
        self.alert_until = Instant::now() + ALERT_LASTS;
        self.next_census = self.next_census.min(Instant::now() + ALERT);
    }

    /// Tells Redis what is paused and limited, where it knows something else: asked each time, because others tell it too.
    async fn control(&self, queue: Queue) -> Result<(), RelayError> {
        let mut wanted = CATALOG.controls(queue);
        controls::decided(&mut *self.services.pool.acquire().await?, queue, &mut wanted).await?;
        if !self.services.engine.obeys(queue, &wanted).await? {
            self.services.engine.control(queue, &wanted).await?;
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), RelayError> {
        // On a Redis Cluster, one node may be away, and the queues on the others must not wait for it.
        let mut failed = None;
        match self.services.engine.server_run().await {
            Ok(server) => self.compare(server),
            Err(error) => failed = Some(error.into()),
        }
        let wants_census = Instant::now() >= self.next_census;
        for queue in Queue::ALL {
            if let Err(error) = self.look_at(queue, wants_census).await {
                failed.get_or_insert(error);
            }
        }
        if wants_census {
            let rest = if Instant::now() < self.alert_until { ALERT } else { CALM };
            self.next_census = Instant::now() + rest;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether the same servers answer as in the last pass.
    fn compare(&mut self, server: String) {
        if self.server.as_ref().is_some_and(|known| *known != server) {
            tracing::warn!("Redis was restarted or failed over; looking for what it lost");
            self.alert();
        }
        self.server = Some(server);
    }

    async fn look_at(&mut self, queue: Queue, wants_census: bool) -> Result<(), RelayError> {
        self.control(queue).await?;
        if self.services.engine.epoch(queue).await?.is_none() {
            restore(&self.services, queue).await?;
            self.alert();
        }
        if wants_census { census(&self.services, queue).await } else { Ok(()) }
    }
}

impl Service for Reconcile {
    const NAME: &'static str = "reconcile";
    type Error = RelayError;

    async fn pass(&mut self) -> Result<Duration, RelayError> {
        let looked = self.look().await;
        if looked.is_err() {
            self.alert();
        }
        looked.map(|()| TURN)
    }
}

/// Redis holds nothing of the queue: push everything that is unfinished, then set the mark.
async fn restore(services: &Services, queue: Queue) -> Result<(), RelayError> {
    let now = services.engine.clock().now();
    let count = put_back(&services.pool, &services.engine, queue, &HashSet::new(), now).await?;
    services.engine.mark_epoch(queue).await?;
    note(queue, count, "Redis had lost its data");
    Ok(())
}

async fn census(services: &Services, queue: Queue) -> Result<(), RelayError> {
    let before = services.engine.clock().now() - ON_ITS_WAY;
    let known = services.engine.census(queue).await?;
    let count = put_back(&services.pool, &services.engine, queue, &known, before).await?;
    note(queue, count, "Redis did not know them");
    Ok(())
}

fn note(queue: Queue, count: usize, why: &str) {
    if count > 0 {
        metrics::counter!("jobs_put_back_total", "queue" => queue.name()).increment(count as u64);
        tracing::warn!(queue.name = queue.name(), jobs.put_back = count, "put jobs back: {why}");
    }
}
