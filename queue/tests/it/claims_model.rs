//! Any sequence of operations on a queue, against a model in plain memory: after each, Redis holds exactly what the model
//! holds, in the same order. So the invariant holds as well that a group is in the ring exactly while it has something
//! ready.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use queue::{
    Engine, JobId, WorkerId,
    envelope::Envelope,
    keys::QueueKeys,
    lease::{Ended, LEASE},
};
use redis::IntoConnectionInfo;
use runtime::{
    clock::{Clock, FakeClock},
    redis::Redis,
    testing::TestRedis,
};

use crate::deployment::{QUEUE, envelope, ids, start};

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Step {
    Push { group: usize, count: usize, due_in_ms: Option<u64> },
    Claim { worker: usize, most: usize },
    Settle { worker: usize, nth: usize, how: How },
    Promote,
    Heartbeat { worker: usize },
    Rescue,
    Wait { ms: u64 },
}

/// What a worker's lease holds, as Redis tells it.
type Fields = Vec<Vec<u8>>;

#[derive(Debug, Clone, Copy)]
enum How {
    Finish,
    Delay,
    HandBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![Just(How::Finish), Just(How::Delay), Just(How::HandBack)];
    let step = prop_oneof![
        4 => (0..GROUPS.len(), 1_usize..4, proptest::option::weighted(0.3, 0_u64..5_000))
            .prop_map(|(group, count, due_in_ms)| Step::Push { group, count, due_in_ms }),
        4 => (0_usize..3, 1_usize..7).prop_map(|(worker, most)| Step::Claim { worker, most }),
        4 => (0_usize..3, 0_usize..8, how).prop_map(|(worker, nth, how)| Step::Settle { worker, nth, how }),
        2 => Just(Step::Promote),
        1 => (0_usize..3).prop_map(|worker| Step::Heartbeat { worker }),
        2 => Just(Step::Rescue),
        2 => (0_u64..8_000).prop_map(|ms| Step::Wait { ms }),
    ];
    vec(step, 1..40)
}

#[derive(Debug, Default)]
struct Model {
    now_ms: i64,
    groups: BTreeMap<String, VecDeque<JobId>>,
    ring: VecDeque<String>,
    delayed: BTreeMap<JobId, i64>,
    leases: BTreeMap<WorkerId, BTreeSet<JobId>>,
    lease_ends: BTreeMap<WorkerId, i64>,
    envelopes: BTreeMap<JobId, Envelope>,
}

impl Model {
    fn ready(&mut self, id: JobId) {
        let group = self.envelopes[&id].group.clone();
        let list = self.groups.entry(group.clone()).or_default();
        if list.is_empty() {
            self.ring.push_back(group);
        }
        list.push_back(id);
    }

    fn claim(&mut self, worker: WorkerId, most: usize) -> Vec<JobId> {
        let mut taken = Vec::new();
        let turn = most.div_ceil(self.ring.len().max(1));
        while taken.len() < most {
            let Some(group) = self.ring.pop_front() else { break };
            let list = self.groups.get_mut(&group).expect("a group in the ring has a list");
            let count = turn.min(most - taken.len()).min(list.len());
            taken.extend(list.drain(..count));
            if !list.is_empty() {
                self.ring.push_back(group);
            }
        }
        if !taken.is_empty() {
            self.leases.entry(worker).or_default().extend(&taken);
            self.renew(worker);
        }
        taken
    }

    fn renew(&mut self, worker: WorkerId) {
        self.lease_ends.insert(worker, self.now_ms + i64::try_from(LEASE.as_millis()).expect("it is short"));
    }

    fn promote(&mut self) -> usize {
        // Those of one moment in the order of their bytes, which begin with the id.
        let mut due: Vec<_> = self
            .delayed
            .iter()
            .filter(|(_, due)| **due <= self.now_ms)
            .map(|(id, due)| (*due, *id))
            .collect();
        due.sort_unstable();
        // Put together by group, in the order in which the groups come first.
        let mut order: Vec<String> = Vec::new();
        for (_, id) in &due {
            let group = &self.envelopes[id].group;
            if !order.contains(group) {
                order.push(group.clone());
            }
        }
        for group in order {
            for (_, id) in &due {
                if self.envelopes[id].group == group {
                    self.ready(*id);
                }
            }
        }
        for (_, id) in &due {
            self.delayed.remove(id);
        }
        due.len()
    }
}

/// A queue in Redis and the model of it.
struct Pair {
    engine: Engine,
    clock: FakeClock,
    keys: QueueKeys,
    workers: [WorkerId; 3],
    model: Model,
}

impl Pair {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Push { group, count, due_in_ms } => self.push(group, count, due_in_ms).await,
            Step::Claim { worker, most } => {
                let worker = self.workers[worker];
                let claimed = self.engine.claim(QUEUE, worker, most).await.unwrap();
                assert_eq!(ids(&claimed.entries), self.model.claim(worker, most));
            }
            Step::Settle { worker, nth, how } => self.settle(self.workers[worker], nth, how).await,
            Step::Promote => {
                let moved = self.engine.promote(QUEUE).await.unwrap().moved;
                assert_eq!(moved, self.model.promote());
            }
            Step::Heartbeat { worker } => {
                let worker = self.workers[worker];
                let known = self.engine.heartbeat(QUEUE, worker).await.unwrap();
                assert_eq!(known, self.model.lease_ends.contains_key(&worker));
                self.model.renew(worker);
            }
            Step::Rescue => self.rescue().await,
            Step::Wait { ms } => {
                self.clock.advance(std::time::Duration::from_millis(ms));
                self.model.now_ms = self.clock.now_ms();
            }
        }
    }

    async fn push(&mut self, group: usize, count: usize, due_in_ms: Option<u64>) {
        let due = due_in_ms.map(|ms| self.clock.now() + std::time::Duration::from_millis(ms));
        let entries: Vec<_> = (0..count).map(|_| (due, envelope(GROUPS[group]))).collect();
        self.engine.push(QUEUE, &entries).await.unwrap();
        for (due, envelope) in entries {
            let id = envelope.id;
            self.model.envelopes.insert(id, envelope);
            match due {
                Some(due) => {
                    self.model.delayed.insert(id, due.timestamp_millis());
                }
                None => self.model.ready(id),
            }
        }
    }

    /// Settles the nth job that the worker holds, or one that it does not hold.
    async fn settle(&mut self, worker: WorkerId, nth: usize, how: How) {
        let held = self.model.leases.entry(worker).or_default();
        let id = held.iter().nth(nth).copied();
        let missing = usize::from(id.is_none());
        let id = id.unwrap_or_else(JobId::new);
        held.remove(&id);
        let due = self.clock.now() + std::time::Duration::from_secs(2);
        let ended = match how {
            How::Finish => Ended { finished: vec![id], ..Ended::default() },
            How::Delay => Ended { delayed: vec![(id, due)], ..Ended::default() },
            How::HandBack => Ended { handed_back: vec![id], ..Ended::default() },
        };
        assert_eq!(self.engine.end_leases(QUEUE, worker, &ended).await.unwrap(), missing);
        if missing == 0 {
            match how {
                How::Finish => {}
                How::Delay => {
                    self.model.delayed.insert(id, due.timestamp_millis());
                }
                How::HandBack => self.model.ready(id),
            }
        }
    }

    async fn rescue(&mut self) {
        let Some(rescued) = self.engine.rescue(QUEUE).await.unwrap() else {
            assert!(self.model.lease_ends.values().all(|end| *end >= self.model.now_ms));
            return;
        };
        let end = self.model.lease_ends.remove(&rescued.worker).expect("it was on the list");
        assert!(end < self.model.now_ms, "its lease had not ended");
        let held = self.model.leases.remove(&rescued.worker).unwrap_or_default();
        assert_eq!(rescued.jobs, held.len());
        // A lease has no order, so the model takes over the order in which they came back.
        let (groups, ring) = self.groups_and_ring().await;
        for id in held {
            self.model.ready(id);
        }
        let sorted = |groups: &BTreeMap<String, VecDeque<JobId>>| -> BTreeMap<String, BTreeSet<JobId>> {
            groups
                .iter()
                .filter(|(_, list)| !list.is_empty())
                .map(|(group, list)| (group.clone(), list.iter().copied().collect()))
                .collect()
        };
        assert_eq!(sorted(&groups), sorted(&self.model.groups));
        assert_eq!(ring.iter().collect::<BTreeSet<_>>(), self.model.ring.iter().collect::<BTreeSet<_>>());
        (self.model.groups, self.model.ring) = (groups, ring);
    }

    async fn groups_and_ring(&self) -> (BTreeMap<String, VecDeque<JobId>>, VecDeque<String>) {
        let mut questions = redis::pipe();
        for group in GROUPS {
            questions.lrange(format!("{}{group}", self.keys.groups()), 0, -1);
        }
        let lists: Vec<Vec<Vec<u8>>> =
            questions.query_async(&mut self.engine.redis().connection()).await.unwrap();
        let groups =
            GROUPS.iter().zip(lists).map(|(group, list)| ((*group).to_owned(), ids(&list).into())).collect();
        let ring: Vec<String> =
            redis::AsyncCommands::lrange(&mut self.engine.redis().connection(), self.keys.ring(), 0, -1)
                .await
                .unwrap();
        (groups, ring.into())
    }

    async fn check(&self) {
        let (groups, ring) = self.groups_and_ring().await;
        for (group, list) in &groups {
            assert_eq!(Some(list), self.model.groups.get(group).or(Some(&VecDeque::new())), "group {group}");
            assert_eq!(!list.is_empty(), ring.contains(group), "group {group} and the ring {ring:?}");
        }
        assert_eq!(ring, self.model.ring);
        let mut questions = redis::pipe();
        questions.zrange_withscores(self.keys.delayed(), 0, -1);
        for worker in self.workers {
            questions.hkeys(self.keys.lease(worker));
        }
        let (delayed, one, two, three): (Vec<(Vec<u8>, i64)>, Fields, Fields, Fields) =
            questions.query_async(&mut self.engine.redis().connection()).await.unwrap();
        let delayed: BTreeMap<_, _> =
            delayed.iter().map(|(entry, due)| (Envelope::id_of(entry).expect("an id"), *due)).collect();
        assert_eq!(delayed, self.model.delayed);
        for (worker, held) in self.workers.into_iter().zip([one, two, three]) {
            let held: BTreeSet<_> = ids(&held).into_iter().collect();
            assert_eq!(held, self.model.leases.get(&worker).cloned().unwrap_or_default());
        }
    }
}

#[test]
fn redis_holds_what_the_model_holds() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let redis = runtime.block_on(TestRedis::new());
    let case = Cell::new(0);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&steps(), |steps| {
        case.set(case.get() + 1);
        let prefix = format!("{}-{}", redis.redis.prefix(), case.get());
        runtime.block_on(async {
            let info = redis.url.as_str().into_connection_info().expect("the URL is ours");
            let clock = FakeClock::at(start());
            let own = Redis::open(info, prefix.clone()).await.unwrap();
            let mut pair = Pair {
                engine: Engine::new(own, Arc::new(clock.clone())),
                keys: QueueKeys::new(&prefix, QUEUE),
                workers: std::array::from_fn(|_| WorkerId::new()),
                model: Model { now_ms: clock.now_ms(), ..Model::default() },
                clock,
            };
            for step in steps {
                pair.step(step).await;
                pair.check().await;
            }
        });
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
