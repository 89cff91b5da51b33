//! The engine for tests of those who use it: a whole life of jobs in memory, in a time that the test owns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use queue::{
    Catalog, Controls, Failure, Group, Job, Kind, Outcome, Policy, Priority, Queue, Run, State,
    job::Retired,
    outbox::{Cause, NewJob},
    testing::TestEngine,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the runs of a test did.
#[derive(Default)]
struct Shelf {
    counted: AtomicU32,
}

/// Counts a seller's stock; which run of it goes well is in the payload.
#[derive(Serialize, Deserialize, JsonSchema)]
struct CountStock {
    seller: u32,
    good_attempt: i32,
}

impl Job for CountStock {
    const KIND: &'static str = "count_stock";
    const SUMMARY: &'static str = "Counts stock.";
    const POLICY: Policy =
        Policy::sync().max_attempts(3).delays(Duration::from_secs(10), Duration::from_secs(60));
    const GROUP: Group = Group::Field("seller");
    type Context = Arc<Shelf>;
    type Report = u32;

    async fn run(&self, shelf: &Arc<Shelf>, run: &Run) -> Outcome<u32> {
        shelf.counted.fetch_add(1, Ordering::Relaxed);
        if self.good_attempt == 0 {
            return Err(Failure::reject("there is no such seller"));
        }
        if run.attempt < self.good_attempt {
            Err(Failure::retry("the shelf was away"))
        } else {
            Ok(self.seller)
        }
    }
}

fn system() -> (TestEngine<Arc<Shelf>>, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    (TestEngine::new(Catalog::new(vec![Kind::of::<CountStock>()]), Arc::clone(&shelf)), shelf)
}

#[tokio::test]
async fn a_job_fails_waits_and_ends_well_in_the_tests_own_time() {
    let (system, shelf) = system();
    let id = system.enqueue(&CountStock { seller: 7, good_attempt: 3 }).await;
    assert_eq!(system.drain().await, 1);
    assert_eq!((system.job(id).state, system.job(id).attempts), (State::Delayed, 1));
    assert_eq!(system.advance(Duration::from_secs(9)).await, 0, "its moment has not come");
    assert_eq!(system.advance(Duration::from_secs(1)).await, 1);
    assert_eq!(system.drain_all().await, 1, "twenty seconds later, at once");
    let job = system.job(id);
    assert_eq!((job.state, job.report), (State::Done, Some(7.into())));
    assert_eq!(job.errors, ["the shelf was away", "the shelf was away"]);
    assert_eq!(shelf.counted.load(Ordering::Relaxed), 3);
    assert_eq!(system.drain_all().await, 0, "there is nothing left");
}

#[tokio::test]
async fn what_never_goes_well_is_a_dead_letter() {
    let (system, _) = system();
    let rejected = system.enqueue(&CountStock { seller: 1, good_attempt: 0 }).await;
    let hopeless = system.enqueue(&CountStock { seller: 2, good_attempt: 99 }).await;
    assert_eq!(system.drain_all().await, 4);
    assert_eq!(system.count(State::Dead), 2);
    assert_eq!((system.job(rejected).attempts, system.job(hopeless).attempts), (1, 3));
}

#[tokio::test]
async fn pauses_priorities_and_delays_are_the_engines_own() {
    let (system, _) = system();
    let job = |priority| {
        let payload = serde_json::json!({ "seller": 1, "good_attempt": 1 });
        NewJob::raw("count_stock", Queue::Sync, "1", payload, Cause::Cli).priority(priority)
    };
    system.control(Queue::Sync, &Controls { paused: true, ..Controls::default() }).await;
    let (low, high) = (job(Priority::Low), job(Priority::High));
    let ids = [low.id, high.id];
    system.enqueue_new(low).await;
    system.enqueue_new(high).await;
    assert_eq!(system.drain().await, 0, "the queue is paused");
    system.control(Queue::Sync, &Controls::default()).await;
    assert_eq!(system.drain().await, 2);
    assert!(ids.iter().all(|id| system.job(*id).state == State::Done));
}

#[tokio::test]
async fn a_retired_kind_and_an_unknown_version_end_as_at_a_worker() {
    let retired = Retired { name: "count_boxes", queue: Queue::Sync };
    let catalog = Catalog::new(vec![Kind::of::<CountStock>()]).with_retired(vec![retired]);
    let system = TestEngine::new(catalog, Arc::new(Shelf::default()));
    let job = |kind| NewJob::raw(kind, Queue::Sync, "1", serde_json::json!({}), Cause::Cli);
    let old = system.enqueue_new(job("count_boxes")).await;
    let newer = system.enqueue_new(NewJob { version: 2, ..job("count_stock") }).await;
    system.drain_all().await;
    let ended = system.job(old);
    assert_eq!((ended.state, ended.errors), (State::Cancelled, vec!["the kind was retired".to_owned()]));
    assert_eq!(system.job(newer).state, State::Ready, "it waits for a worker that knows it");
}
