//! Makes ready again what lost workers held, once their leases have ended.
//!
//! After Redis was away for long, all leases look ended although their workers live: then it is waited first until they must
//! have renewed. A connection that was cut for a moment is no reason to wait: no lease ended by it. A new leader does not know
//! what was before it, and waits as well.

use std::time::Duration;

use queue::{
    Queue,
    lease::{HEARTBEAT, LEASE},
    recovery,
};
use redis::RedisError;
use tokio::time::Instant;

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);
const RECOUNT: Duration = Duration::from_secs(60);
/// Without an answer for so long, leases of workers that live may have ended; a lease has at least a heartbeat more than this
/// left at any time.
const AWAY: Duration = LEASE.saturating_sub(HEARTBEAT.saturating_mul(2));
/// So long after its return, every worker that lives has renewed: it had to find out first.
const RENEWED: Duration = HEARTBEAT.saturating_mul(2);
/// So long into a term, every worker that lives has renewed, unless Redis is away now.
const NEW_LEADER: Duration = HEARTBEAT.saturating_add(TURN);

/// Rescues on one queue: on a Redis Cluster others may lie on a node that is away.
pub(super) struct Rescue {
    services: Services,
    queue: Queue,
    trust: Trust,
    next_recount: Instant,
}

impl Rescue {
    pub(super) fn new(services: Services, queue: Queue) -> Self {
        Self { services, queue, trust: Trust::new(Instant::now()), next_recount: Instant::now() }
    }

    /// Who runs within a limit is noted when it is claimed; a failover may keep the note and lose the lease.
    async fn recount(&mut self) -> Result<(), RedisError> {
        if Instant::now() >= self.next_recount {
            let stale = self.services.engine.recount(self.queue).await?;
            if stale > 0 {
                tracing::warn!(
                    queue.name = self.queue.name(),
                    jobs.stale_notes = stale,
                    "corrected who runs within limits"
                );
            }
            self.next_recount = Instant::now() + RECOUNT;
        }
        Ok(())
    }

    async fn rescue(&self) -> Result<(), RedisError> {
        let queue = self.queue.name();
        while let Some(rescued) = self.services.engine.rescue(self.queue).await? {
            metrics::counter!("jobs_rescued_total", "queue" => queue).increment(rescued.jobs as u64);
            let now = self.services.engine.clock().now();
            if let Err(error) = recovery::note_lost(&self.services.pool, self.queue, &rescued, now).await {
                tracing::warn!(%error, "could not note that a worker was lost");
            }
            if rescued.jobs > 0 {
                let (worker, jobs) = (rescued.worker, rescued.jobs);
                tracing::warn!(queue.name = queue, worker.id = %worker, jobs.rescued = jobs, "a worker was lost");
            }
        }
        Ok(())
    }
}

impl Service for Rescue {
    const NAME: &'static str = "rescue";
    type Error = RedisError;

    async fn pass(&mut self) -> Result<Duration, RedisError> {
        if self.trust.an_ended_lease_is_a_lost_worker(Instant::now()) {
            self.rescue().await?;
            self.recount().await?;
        } else {
            self.services.engine.is_open(self.queue).await?;
        }
        self.trust.answered(Instant::now());
        Ok(TURN)
    }
}

/// Whether what Redis says of leases can be trusted.
#[derive(Debug, Clone)]
struct Trust {
    answered_at: Instant,
    not_before: Instant,
}

impl Trust {
    fn new(now: Instant) -> Self {
        Self { answered_at: now, not_before: now + NEW_LEADER }
    }

    fn was_away(&self, now: Instant) -> bool {
        now.duration_since(self.answered_at) >= AWAY
    }

    fn an_ended_lease_is_a_lost_worker(&self, now: Instant) -> bool {
        now >= self.not_before && !self.was_away(now)
    }

    fn answered(&mut self, now: Instant) {
        if self.was_away(now) {
            self.not_before = now + RENEWED;
        }
        self.answered_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One that has heard from Redis each second for a while, and the moment of the last answer.
    fn in_calm() -> (Trust, Instant) {
        let start = Instant::now();
        let mut trust = Trust::new(start);
        for second in 1..=20 {
            trust.answered(start + SECOND * second);
        }
        (trust, start + SECOND * 20)
    }

    #[test]
    fn a_connection_that_was_cut_delays_no_rescue() {
        let (mut trust, last) = in_calm();
        let back = last + AWAY - SECOND / 2;
        assert!(trust.an_ended_lease_is_a_lost_worker(back));
        trust.answered(back);
        assert!(trust.an_ended_lease_is_a_lost_worker(back + SECOND));
    }

    #[test]
    fn after_redis_was_away_workers_renew_first() {
        let (mut trust, last) = in_calm();
        let back = last + AWAY;
        assert!(
            !trust.an_ended_lease_is_a_lost_worker(back),
            "not even with the first call that is answered"
        );
        for second in 0..6 {
            trust.answered(back + SECOND * second);
            assert!(!trust.an_ended_lease_is_a_lost_worker(back + SECOND * second));
        }
        assert!(trust.an_ended_lease_is_a_lost_worker(back + RENEWED));
    }

    #[test]
    fn a_new_leader_lets_workers_renew_first() {
        let start = Instant::now();
        let mut trust = Trust::new(start);
        trust.answered(start + SECOND * 3);
        assert!(!trust.an_ended_lease_is_a_lost_worker(start + SECOND * 3));
        assert!(trust.an_ended_lease_is_a_lost_worker(start + NEW_LEADER));
    }

    /// A worker that lives has renewed before its lease could end in an absence that nobody noticed.
    #[test]
    fn a_lease_outlasts_what_is_not_called_away() {
        assert!(HEARTBEAT + AWAY < LEASE);
    }
}
