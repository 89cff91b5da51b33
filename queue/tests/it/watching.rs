//! What the tests of deadlines share: a kind with known needs, passes of the watch, and what it left behind.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Catalog, Group, Job, JobId, Kind, Outcome, Policy, Run, WorkerId,
    deadline::Level,
    escalations,
    ledger::{Begun, Settled},
    limit::{Budget, Budgets},
    outbox::NewJob,
    retry::Verdict,
    watch::{Escalated, Watch},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deployment::{Deployment, job, seconds, start};

#[derive(Serialize, Deserialize, JsonSchema)]
struct CountStock {
    seller: u32,
    #[serde(default)]
    asks_a_budget: bool,
}

/// A minute a run at most; delays of 10 s, 20 s, 40 s …
pub(crate) const POLICY: Policy = Policy::sync().delays(Duration::from_secs(10), Duration::from_secs(300));

impl Job for CountStock {
    const KIND: &'static str = "count_stock";
    const SUMMARY: &'static str = "Counts.";
    const POLICY: Policy = POLICY;
    const GROUP: Group = Group::Field("seller");
    type Context = ();
    type Report = u32;

    fn budgets(&self) -> Vec<Budget> {
        if self.asks_a_budget { vec![count_budget()] } else { Vec::new() }
    }

    async fn run(&self, (): &(), _: &Run) -> Outcome<u32> {
        Ok(self.seller)
    }
}

pub(crate) static CATALOG: LazyLock<Catalog<()>> =
    LazyLock::new(|| Catalog::new(vec![Kind::of::<CountStock>()]));

/// One call in 100 seconds.
pub(crate) fn count_budget() -> Budget {
    Budget { name: "countStock:seller-7".to_owned(), rate: 0.01, burst: 1 }
}

impl Deployment {
    pub(crate) fn budgets(&self) -> Budgets {
        Budgets::new(self.queues.redis().clone(), Arc::new(self.queues.clock.clone()))
    }

    fn watch(&self) -> Watch<()> {
        Watch::new(self.pool.clone(), self.budgets(), &CATALOG)
    }

    /// Sets the clock to so many seconds after the start.
    pub(crate) fn at(&self, count: i64) {
        self.queues.clock.set(start() + seconds(count));
    }

    /// A pass of a scheduler that has just begun to lead.
    pub(crate) async fn pass(&self) -> Vec<(JobId, Level)> {
        let escalated = self.watch().pass(self.now()).await.unwrap().escalated;
        let mut brief: Vec<_> = escalated.iter().map(|job: &Escalated| (job.id, job.level)).collect();
        brief.sort_unstable();
        brief
    }

    /// What is written about a job: when, and which level.
    pub(crate) async fn escalations(&self, id: JobId) -> Vec<(DateTime<Utc>, Level)> {
        let mut connection = self.pool.acquire().await.unwrap();
        let written = escalations::of_job(&mut connection, id).await.unwrap();
        written.into_iter().map(|escalation| (escalation.at, escalation.level)).collect()
    }

    pub(crate) async fn connection(&self) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
        self.pool.acquire().await.unwrap()
    }

    pub(crate) async fn watched(&self) -> Vec<JobId> {
        let mut connection = self.connection().await;
        let jobs = escalations::watched(&mut connection, &CATALOG, 500, self.now()).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect()
    }

    pub(crate) async fn rows_left(&self) -> (i64, i64) {
        sqlx::query_as("select (select count(*) from deadlines), (select count(*) from escalations)")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn priority_and_outbox(&self, id: JobId) -> (String, bool) {
        sqlx::query_as(
            "select priority, exists (select from outbox where job_id = jobs.id) from jobs where id = $1",
        )
        .bind(id.0)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    /// Writes runs that ended well before the start, each as long as this.
    pub(crate) async fn ran_before(&self, count: i32, took: TimeDelta) {
        sqlx::query(
            "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at,
                started_at, finished_at)
             select gen_random_uuid(), 'count_stock', 'sync', 'a', '{}', 'done', 'cli', at, at, at, at - $3, at
             from (select $1 - n * interval '1 minute' as at from generate_series(1, $2) as n) as runs",
        )
        .bind(start())
        .bind(count)
        .bind(took)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Enqueues a job to be done by second 1,060, of which 60 are needed: 10 s for a run, 50 s for two more after 10 s and
    /// 20 s. Its latest safe start is second 1,000.
    pub(crate) async fn born(&self) -> JobId {
        self.ran_before(100, seconds(10)).await;
        let job = due_by(1_060);
        self.enqueue(std::slice::from_ref(&job)).await;
        self.relay().await;
        job.id
    }

    pub(crate) async fn begin_at(&self, second: i64, id: JobId, fence: i64) {
        self.at(second);
        let begun = self.ledger.begin(WorkerId::new(), fence, &[id], self.now()).await.unwrap();
        assert!(matches!(begun[&id], Begun::Run { .. }), "{begun:?}");
    }

    pub(crate) async fn settle_at(&self, second: i64, id: JobId, fence: i64, verdict: Verdict) {
        self.at(second);
        let settled = self.ledger.settle(&[Settled { id, fence, verdict }], self.now()).await.unwrap();
        assert!(settled.contains(&id));
    }
}

pub(crate) fn due_by(second: i64) -> NewJob {
    job("a").deadline_at(start() + seconds(second))
}
