//! Tells SQL of the kinds of this release, where an older one has told it last: whoever enqueues by SQL then finds the new
//! ones, also when nobody ran `amzigo migrate` again.
//!
//! It never writes over what a newer release wrote, nor over another build of the same: that is `amzigo migrate`'s to do.

use std::time::Duration;

use jobs::catalog::CATALOG;
use queue::kinds::{self, KindsError};
use runtime::postgres::newest_migration;

use crate::services::{Service, Services};

/// A newer release does not come often.
const REST: Duration = Duration::from_secs(60);

pub(super) struct Kinds {
    services: Services,
}

impl Kinds {
    pub(super) const fn new(services: Services) -> Self {
        Self { services }
    }
}

impl Service for Kinds {
    const NAME: &'static str = "kinds";
    type Error = KindsError;

    async fn pass(&mut self) -> Result<Duration, KindsError> {
        let mut connection = self.services.pool.acquire().await?;
        let release = newest_migration();
        if kinds::written_by(&mut connection).await?.is_none_or(|by| by < release) {
            let written = kinds::write(&mut connection, &CATALOG, release).await?;
            tracing::info!(?written, "told SQL of the kinds");
        }
        Ok(REST)
    }
}
