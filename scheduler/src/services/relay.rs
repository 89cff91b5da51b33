//! Moves jobs from the outbox to Redis. Woken by the database when a transaction with new jobs commits; looks once a
//! second all the same, because a wake-up may be lost with its connection.

use std::time::Duration;

use queue::outbox::{self, RelayError};
use sqlx::postgres::PgListener;

use crate::services::{Service, Services};

/// Most jobs of one pass; a pass is one transaction.
const BATCH: usize = 1_000;
const POLL: Duration = Duration::from_secs(1);

pub(super) struct Relay {
    services: Services,
    listener: Option<PgListener>,
}

impl Relay {
    pub(super) const fn new(services: Services) -> Self {
        Self { services, listener: None }
    }
}

impl Service for Relay {
    const NAME: &'static str = "relay";
    type Error = RelayError;

    async fn pass(&mut self) -> Result<Duration, RelayError> {
        // Listen before looking: what commits in between wakes the next pass.
        let mut listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(&self.services).await?,
        };
        while outbox::relay(&self.services.pool, &self.services.engine, BATCH).await? == BATCH {}
        match tokio::time::timeout(POLL, listener.try_recv()).await {
            Err(_) | Ok(Ok(Some(_))) => self.listener = Some(listener),
            // The connection is gone, and the next pass makes another one.
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error.into()),
        }
        Ok(Duration::ZERO)
    }
}

async fn listen(services: &Services) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(&services.pool).await?;
    listener.listen("outbox").await?;
    Ok(listener)
}
