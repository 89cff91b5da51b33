//! Which scheduler leads: a lease in Postgres, by the database's clock.
//!
//! A row and not a session's lock, so that a pooler in between does not matter. A leader that cannot renew stops its
//! services before its lease has ended; one that stops gives the lease up, so that another takes over at once.

use std::time::Duration;

use runtime::health::Beat;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::services::Services;

const ROLE: &str = "scheduler";
/// How long a lease lasts unless renewed.
const LEASE: Duration = Duration::from_secs(6);
/// How often the leader renews and the others ask.
const TURN: Duration = Duration::from_secs(1);
/// Longest wait for the database's answer; with the turn it stays well below the lease.
const PATIENCE: Duration = Duration::from_secs(2);

/// This process' part in the election.
#[derive(Debug)]
pub struct Leadership {
    pool: PgPool,
    holder: Uuid,
}

impl Leadership {
    /// A candidate.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, holder: Uuid::new_v4() }
    }

    /// Runs the services whenever this process leads, until `stop`.
    pub async fn lead(&self, services: &Services, beat: &Beat, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            beat.turned();
            match self.ask().await {
                Ok(Some(term)) => {
                    tracing::info!(term, "leading");
                    self.run_term(services, beat, stop).await;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "could not ask for the lead"),
            }
            stop.run_until_cancelled(tokio::time::sleep(TURN)).await;
        }
        if let Err(error) = self.resign().await {
            tracing::warn!(%error, "could not give the lead up; it ends by itself");
        }
    }

    /// Runs the services until the lead is lost, one of them fails, or the process stops.
    async fn run_term(&self, services: &Services, beat: &Beat, stop: &CancellationToken) {
        let term_ends = stop.child_token();
        let mut running = services.start(&term_ends);
        tokio::select! {
            () = self.keep(beat) => {}
            // All are started anew in the next term: one that stands still unseen would be worse.
            () = running.one_has_ended() => {}
            () = stop.cancelled() => {}
        }
        term_ends.cancel();
        running.all_have_ended().await;
    }

    /// Renews the lead until it is lost.
    async fn keep(&self, beat: &Beat) {
        let mut renewed_at = Instant::now();
        loop {
            tokio::time::sleep(TURN).await;
            beat.turned();
            let asked_at = Instant::now();
            match self.ask().await {
                Ok(Some(_)) => renewed_at = asked_at,
                Ok(None) => {
                    tracing::warn!("another scheduler leads");
                    return;
                }
                Err(error) => tracing::warn!(%error, "could not renew the lead"),
            }
            // Before the lease has ended: another one must not find this one still at work.
            if renewed_at.elapsed() + TURN + PATIENCE >= LEASE {
                tracing::warn!("stopping the services: the lead could not be renewed in time");
                return;
            }
        }
    }

    /// Takes or renews the lead. The term, if this process has it.
    async fn ask(&self) -> Result<Option<i64>, sqlx::Error> {
        let asked = sqlx::query_scalar!(
            r#"
            insert into leaders as l (role, holder, term, expires_at) values ($1, $2, 1, now() + $3::float8 * interval '1 second')
            on conflict (role) do update set holder = $2, expires_at = excluded.expires_at,
                term = l.term + (l.holder <> $2)::int
            where l.holder = $2 or l.expires_at < now()
            returning term
            "#,
            ROLE,
            self.holder,
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&self.pool);
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn resign(&self) -> Result<(), sqlx::Error> {
        let done = sqlx::query!(
            "update leaders set expires_at = now() where role = $1 and holder = $2 and expires_at > now()",
            ROLE,
            self.holder
        )
        .execute(&self.pool);
        tokio::time::timeout(PATIENCE, done).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|_| ())
    }
}
