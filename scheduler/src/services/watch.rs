//! Says so when a job can no longer meet its deadline, and hurries it before that. What a look decides is told in
//! `queue::watch`; this is its loop, its log and its metrics.
//!
//! Woken by the database when a job with a deadline is born; looks once a second all the same.

use std::{collections::BTreeMap, time::Duration};

use jobs::{catalog::CATALOG, context::Context};
use queue::{
    deadline::Level,
    watch::{Escalated, Watch},
};
use sqlx::postgres::PgListener;

use crate::services::{Service, Services};

const TURN: Duration = Duration::from_secs(1);

pub(super) struct WatchDeadlines {
    services: Services,
    watch: Watch<Context>,
    listener: Option<PgListener>,
}

impl WatchDeadlines {
    pub(super) fn new(services: Services) -> Self {
        let watch = Watch::new(services.pool.clone(), services.budgets.clone(), &CATALOG);
        Self { services, watch, listener: None }
    }
}

impl Service for WatchDeadlines {
    const NAME: &'static str = "watch";
    type Error = sqlx::Error;

    async fn pass(&mut self) -> Result<Duration, sqlx::Error> {
        // Listen before looking: what commits in between wakes the next pass.
        let mut listener = match self.listener.take() {
            Some(listener) => listener,
            None => {
                let mut listener = PgListener::connect_with(&self.services.pool).await?;
                listener.listen("deadlines").await?;
                listener
            }
        };
        let passed = self.watch.pass(self.services.engine.clock().now()).await?;
        tell(&passed.escalated);
        if passed.more {
            self.listener = Some(listener);
            return Ok(Duration::ZERO);
        }
        match tokio::time::timeout(TURN, listener.try_recv()).await {
            Err(_) | Ok(Ok(Some(_))) => self.listener = Some(listener),
            // The connection is gone, and the next pass makes another one.
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
        }
        Ok(Duration::ZERO)
    }
}

/// One line for each kind and level of a pass, which names the job whose deadline is the nearest: a thousand jobs that are
/// late together are one piece of news.
fn tell(escalated: &[Escalated]) {
    let mut together: BTreeMap<(&str, Level), Vec<&Escalated>> = BTreeMap::new();
    for job in escalated {
        together.entry((&job.kind, job.level)).or_default().push(job);
    }
    for ((kind, level), jobs) in together {
        let count = jobs.len() as u64;
        metrics::counter!("deadline_escalations_total", "kind" => kind.to_owned(), "level" => level.name())
            .increment(count);
        if level == Level::Missed {
            metrics::counter!("deadlines_missed_total", "kind" => kind.to_owned()).increment(count);
        }
        if let Some(first) = jobs.into_iter().min_by_key(|job| (job.deadline_at, job.id)) {
            log(first, level, count);
        }
    }
}

fn log(first: &Escalated, level: Level, count: u64) {
    let Escalated { id, kind, deadline_at, latest_safe_start, why, .. } = first;
    match level {
        Level::Missed => {
            tracing::error!(job.id = %id, job.kind = kind, jobs.escalated = count, deadline.at = %deadline_at, why, "missed its deadline");
        }
        Level::CannotFit => {
            tracing::error!(job.id = %id, job.kind = kind, jobs.escalated = count, deadline.at = %deadline_at, why, "can no longer meet its deadline");
        }
        Level::MustStartNow => {
            tracing::error!(job.id = %id, job.kind = kind, jobs.escalated = count, deadline.at = %deadline_at, why, "must start now to meet its deadline");
        }
        Level::NineTenths => {
            tracing::warn!(job.id = %id, job.kind = kind, jobs.escalated = count, deadline.at = %deadline_at, %latest_safe_start, "its latest safe start is near; it goes before others now");
        }
        Level::Fits | Level::Half | Level::ThreeQuarters => {
            tracing::info!(job.id = %id, job.kind = kind, jobs.escalated = count, deadline.level = %level, %latest_safe_start, "its latest safe start comes nearer");
        }
    }
}
