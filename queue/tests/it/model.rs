//! Any sequence of operations on a queue, in Redis and in memory: every answer is the same, and in the end both hold the
//! same jobs in the same order. The engine in memory is the plain model of the scripts.

use std::{cell::Cell, collections::HashSet, sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use queue::{Controls, Engine, JobId, KnownKinds, Priority, WorkerId, envelope::Envelope, lease::Ended};
use redis::IntoConnectionInfo;
use runtime::{
    clock::{Clock, FakeClock},
    redis::Redis,
    testing::TestRedis,
};

use crate::deployment::{QUEUE, envelope, ids, start};

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
const KINDS: [&str; 3] = ["count_stock", "move_stock", "sell_stock"];

#[derive(Debug, Clone)]
enum Step {
    Push { group: usize, kind: usize, priority: usize, version: u8, count: usize, due_in_ms: Option<u64> },
    Claim { worker: usize, most: usize, knows: usize },
    Settle { worker: usize, ends: Vec<(usize, How)> },
    Promote,
    Heartbeat { worker: usize },
    Rescue,
    Resign { worker: usize },
    Control(Box<Controls>),
    Recount,
    RaiseFence { by: i64 },
    Wait { ms: u64 },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Finish,
    Delay,
    HandBack,
}

fn controls() -> impl Strategy<Value = Controls> {
    let kind = || proptest::sample::select(KINDS.to_vec()).prop_map(str::to_owned);
    let group = || proptest::sample::select(GROUPS.to_vec()).prop_map(str::to_owned);
    (
        proptest::bool::weighted(0.1),
        proptest::collection::btree_set(kind(), 0..2),
        proptest::collection::btree_set(group(), 0..2),
        proptest::collection::btree_map(kind(), 0_u32..4, 0..2),
        proptest::collection::btree_map(kind(), 0_u32..3, 0..2),
        proptest::option::weighted(0.4, 0_u32..4),
        proptest::collection::btree_map(group(), 0_u32..3, 0..2),
        proptest::collection::btree_map(kind(), 1_u32..4, 0..2),
    )
        .prop_map(
            |(
                paused,
                paused_kinds,
                paused_groups,
                kind_limits,
                each_limits,
                group_limit,
                group_limits,
                weights,
            )| {
                Controls {
                    paused,
                    paused_kinds,
                    paused_groups,
                    kind_limits,
                    each_limits,
                    group_limit,
                    group_limits,
                    weights,
                }
            },
        )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![Just(How::Finish), Just(How::Delay), Just(How::HandBack)];
    let step = prop_oneof![
        6 => (0..GROUPS.len(), 0..KINDS.len(), 0_usize..3, 1_u8..3, 1_usize..6, proptest::option::weighted(0.2, 0_u64..5_000))
            .prop_map(|(group, kind, priority, version, count, due_in_ms)| {
                Step::Push { group, kind, priority, version, count, due_in_ms }
            }),
        6 => (0_usize..3, prop_oneof![0_usize..9, Just(40_usize), Just(256)], 0_usize..3)
            .prop_map(|(worker, most, knows)| Step::Claim { worker, most, knows }),
        5 => (0_usize..3, vec((0_usize..8, how), 1..4)).prop_map(|(worker, ends)| Step::Settle { worker, ends }),
        2 => Just(Step::Promote),
        1 => (0_usize..3).prop_map(|worker| Step::Heartbeat { worker }),
        2 => Just(Step::Rescue),
        1 => (0_usize..3).prop_map(|worker| Step::Resign { worker }),
        2 => controls().prop_map(|controls| Step::Control(Box::new(controls))),
        1 => Just(Step::Recount),
        1 => (0_i64..100_000_000).prop_map(|by| Step::RaiseFence { by }),
        2 => (0_u64..8_000).prop_map(|ms| Step::Wait { ms }),
    ];
    vec(step, 1..50)
}

/// The same queue twice.
struct Pair {
    redis: Engine,
    memory: Engine,
    clock: FakeClock,
    workers: [WorkerId; 3],
    known: [KnownKinds; 3],
    fence: i64,
}

/// Does the same on both sides and compares what they answer.
macro_rules! same {
    ($pair:ident.$operation:ident($($argument:expr),*)) => {{
        let redis = $pair.redis.$operation($($argument),*).await.unwrap();
        let memory = $pair.memory.$operation($($argument),*).await.unwrap();
        assert_eq!(redis, memory, stringify!($operation));
        redis
    }};
}

impl Pair {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Push { group, kind, priority, version, count, due_in_ms } => {
                let due = due_in_ms.map(|ms| self.clock.now() + Duration::from_millis(ms));
                let job = || Envelope {
                    kind: KINDS[kind].to_owned(),
                    priority: Priority::ALL[priority],
                    version,
                    ..envelope(GROUPS[group])
                };
                let entries: Vec<_> = (0..count).map(|_| (due, job())).collect();
                same!(self.push(QUEUE, &entries));
            }
            Step::Claim { worker, most, knows } => {
                let claimed = same!(self.claim(QUEUE, self.workers[worker], most, &self.known[knows]));
                assert!(claimed.entries.is_empty() || claimed.fence > self.fence, "tokens grow");
                self.fence = self.fence.max(claimed.fence);
            }
            Step::Settle { worker, ends } => self.settle(self.workers[worker], &ends).await,
            Step::Promote => drop(same!(self.promote(QUEUE))),
            Step::Heartbeat { worker } => drop(same!(self.heartbeat(QUEUE, self.workers[worker]))),
            Step::Rescue => drop(same!(self.rescue(QUEUE))),
            Step::Resign { worker } => drop(same!(self.resign(QUEUE, self.workers[worker]))),
            Step::Control(controls) => {
                same!(self.control(QUEUE, &controls));
                assert!(same!(self.obeys(QUEUE, &controls)));
                assert_eq!(same!(self.open_since(QUEUE)), Some(start()), "telling again opens nothing anew");
                let others = Controls { group_limit: Some(99), ..*controls };
                assert!(!same!(self.obeys(QUEUE, &others)));
            }
            Step::Recount => assert_eq!(same!(self.recount(QUEUE)), 0, "no note is ever stale by itself"),
            Step::RaiseFence { by } => same!(self.raise_fence(QUEUE, self.fence + by)),
            Step::Wait { ms } => self.clock.advance(Duration::from_millis(ms)),
        }
    }

    /// Settles jobs that the worker holds, and some that it does not hold.
    async fn settle(&mut self, worker: WorkerId, ends: &[(usize, How)]) {
        let mut held: Vec<JobId> = self.memory.held_by(QUEUE, worker).await.unwrap().into_iter().collect();
        held.sort();
        let due = self.clock.now() + Duration::from_secs(2);
        let mut ended = Ended::default();
        let mut named = HashSet::new();
        for (nth, how) in ends {
            let id = held.get(*nth).copied().unwrap_or_else(JobId::new);
            if named.insert(id) {
                match how {
                    How::Finish => ended.finished.push(id),
                    How::Delay => ended.delayed.push((id, due)),
                    How::HandBack => ended.handed_back.push(id),
                }
            }
        }
        same!(self.end_leases(QUEUE, worker, &ended));
    }

    async fn check(&self) {
        same!(self.census(QUEUE));
        same!(self.depth(QUEUE));
        for worker in self.workers {
            same!(self.held_by(QUEUE, worker));
        }
    }

    /// Takes everything, whatever was paused: what is left in the lists comes out in the same order.
    async fn drain(&mut self) {
        same!(self.control(QUEUE, &Controls::default()));
        self.clock.advance(Duration::from_secs(60));
        while same!(self.rescue(QUEUE)).is_some() {}
        while same!(self.promote(QUEUE)).moved > 0 {}
        let held = self.memory.census(QUEUE).await.unwrap();
        let mut seen = HashSet::new();
        loop {
            let worker = WorkerId::new();
            let claimed = same!(self.claim(QUEUE, worker, 7, &KnownKinds::all()));
            if claimed.entries.is_empty() {
                break;
            }
            let taken = ids(&claimed.entries);
            same!(self.end_leases(QUEUE, worker, &Ended { finished: taken.clone(), ..Ended::default() }));
            seen.extend(taken);
        }
        assert_eq!(seen, held, "everything comes out");
        same!(self.depth(QUEUE));
    }
}

#[test]
fn redis_does_what_the_model_does() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let redis = runtime.block_on(TestRedis::new());
    let case = Cell::new(0);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&steps(), |steps| {
        case.set(case.get() + 1);
        let prefix = format!("{}-{}", redis.redis.prefix(), case.get());
        runtime.block_on(async {
            let info = redis.url.as_str().into_connection_info().expect("the URL is ours");
            let clock = FakeClock::at(start());
            let own = Redis::open(info, prefix).await.unwrap();
            let mut pair = Pair {
                redis: Engine::new(own, Arc::new(clock.clone())),
                memory: Engine::in_memory(Arc::new(clock.clone())),
                workers: std::array::from_fn(|_| WorkerId::new()),
                known: [
                    KnownKinds::all(),
                    KnownKinds::of([(KINDS[0], 1), (KINDS[1], 2), (KINDS[2], KnownKinds::ANY_VERSION)]),
                    KnownKinds::of(KINDS.map(|kind| (kind, 1))),
                ],
                clock,
                fence: 0,
            };
            same!(pair.control(QUEUE, &Controls::default()));
            for step in steps {
                pair.step(step).await;
                pair.check().await;
            }
            pair.drain().await;
        });
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
