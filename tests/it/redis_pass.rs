//! All that the engine does with Redis, once over: for each form of Redis, and for a user with the least rights.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta};
use queue::{
    Controls, Engine, JobId, Priority, Queue, WorkerId,
    envelope::Envelope,
    lease::{Ended, KnownKinds, LEASE, Rescued},
    limit::{Budget, Budgets, Grant},
    wake::Wakes,
};
use runtime::{
    clock::{Clock, FakeClock, RedisClock},
    env,
    redis::{Redis, RedisStartError},
};
use tests::system::until;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::scene::WORK;

/// Longest wait for a message; far longer than one takes, and its loss must show.
const HEARD: Duration = Duration::from_secs(5);

/// Settings of a process whose Redis this is, with a prefix of its own.
pub(crate) fn settings(url: &str) -> HashMap<&'static str, String> {
    let prefix = format!("pass-{}", Uuid::new_v4().simple());
    HashMap::from([(env::REDIS_URL.name, url.to_owned()), (env::PREFIX.name, prefix)])
}

/// Connects as every process does at its start.
pub(crate) async fn connect(url: &str) -> Result<Redis, RedisStartError> {
    Redis::connect(&settings(url)).await
}

/// The engine on a Redis, at a time of its own.
pub(crate) struct Pass {
    pub(crate) redis: Redis,
    pub(crate) engine: Engine,
    pub(crate) budgets: Budgets,
    pub(crate) clock: FakeClock,
    wakes: Wakes,
    _listening: DropGuard,
}

pub(crate) fn envelopes(group: &str, count: usize) -> Vec<Envelope> {
    (0..count)
        .map(|_| Envelope {
            id: JobId::new(),
            priority: Priority::default(),
            version: 1,
            group: group.to_owned(),
            kind: "count_stock".to_owned(),
            payload: br#"{"seller": 7}"#.to_vec(),
        })
        .collect()
}

pub(crate) fn ids_of(envelopes: &[Envelope]) -> BTreeSet<JobId> {
    envelopes.iter().map(|envelope| envelope.id).collect()
}

impl Pass {
    pub(crate) async fn over(redis: Redis) -> anyhow::Result<Self> {
        let clock = FakeClock::at(DateTime::from_timestamp(1_790_000_000, 0).expect("a moment"));
        let engine = Engine::new(redis.clone(), Arc::new(clock.clone()));
        let budgets = Budgets::new(redis.clone(), Arc::new(clock.clone()));
        let listening = CancellationToken::new();
        let wakes = Wakes::listen(&engine, listening.clone()).await?;
        for queue in Queue::ALL {
            engine.control(queue, &Controls::default()).await?;
        }
        Ok(Self { redis, engine, budgets, clock, wakes, _listening: listening.drop_guard() })
    }

    pub(crate) async fn push(&self, queue: Queue, envelopes: &[Envelope]) -> redis::RedisResult<()> {
        let entries: Vec<_> = envelopes.iter().map(|envelope| (None, envelope.clone())).collect();
        self.engine.push(queue, &entries).await
    }

    pub(crate) async fn claim(&self, queue: Queue, worker: WorkerId) -> redis::RedisResult<BTreeSet<JobId>> {
        let claimed = self.engine.claim(queue, worker, 100, &KnownKinds::all()).await?;
        Ok(claimed.entries.iter().filter_map(|entry| Envelope::id_of(entry)).collect())
    }

    /// Pushes to a queue that nothing is ready on, and waits until that was heard; if not, empties the queue again.
    pub(crate) async fn push_is_heard(&self, queue: Queue, envelopes: &[Envelope]) -> anyhow::Result<()> {
        let wake = self.wakes.of(queue);
        // What was heard before does not count.
        let _heard_before = tokio::time::timeout(Duration::ZERO, wake.notified()).await;
        let heard = wake.notified();
        self.push(queue, envelopes).await?;
        if tokio::time::timeout(HEARD, heard).await.is_err() {
            self.empty(queue).await?;
            anyhow::bail!("nobody heard of the push to {}", queue.name());
        }
        Ok(())
    }

    /// Waits until a push is heard, as it was before whatever has just happened to Redis. Leaves the queue empty.
    pub(crate) async fn until_heard(&self, queue: Queue) -> anyhow::Result<()> {
        until(WORK, "a push is heard", async || {
            self.push_is_heard(queue, &envelopes("a", 1)).await?;
            Ok(true)
        })
        .await?;
        self.empty(queue).await
    }

    /// Takes what is ready on a queue, and finishes it.
    async fn empty(&self, queue: Queue) -> anyhow::Result<()> {
        let worker = WorkerId::new();
        let taken = self.claim(queue, worker).await?;
        let ended = Ended { finished: taken.into_iter().collect(), ..Ended::default() };
        self.engine.end_leases(queue, worker, &ended).await?;
        self.engine.resign(queue, worker).await?;
        Ok(())
    }

    /// Everything once, on an empty queue, which is empty again afterwards.
    pub(crate) async fn once(&self, queue: Queue) -> anyhow::Result<()> {
        let engine = &self.engine;
        let (a, b) = (envelopes("a", 3), envelopes("b", 2));
        self.push_is_heard(queue, &[a.clone(), b.clone()].concat()).await?;
        let later = envelopes("c", 1);
        let due_at = self.clock.now() + TimeDelta::seconds(20);
        engine.push(queue, &[(Some(due_at), later[0].clone())]).await?;
        assert_eq!(engine.depth(queue).await?.delayed, 1);
        let all: BTreeSet<_> = ids_of(&[a.clone(), b.clone(), later.clone()].concat());
        assert_eq!(engine.census(queue).await?.into_iter().collect::<BTreeSet<_>>(), all);

        let worker = WorkerId::new();
        let ready = ids_of(&[a.clone(), b.clone()].concat());
        assert_eq!(self.claim(queue, worker).await?, ready);
        assert!(engine.heartbeat(queue, worker).await?);
        let held: BTreeSet<_> = engine.held_by(queue, worker).await?.into_iter().collect();
        assert_eq!(held, ready);
        let leased = engine.still_leased(queue, &[(a[0].id, worker), (later[0].id, worker)]).await?;
        assert_eq!(leased, [a[0].id].into());
        assert_eq!(engine.census(queue).await?.into_iter().collect::<BTreeSet<_>>(), all);

        let ended =
            Ended { finished: vec![a[0].id], delayed: vec![(a[1].id, due_at)], handed_back: vec![b[0].id] };
        assert_eq!(engine.end_leases(queue, worker, &ended).await?, 0);
        assert!(!engine.resign(queue, worker).await?, "it holds two jobs");

        self.clock.advance(LEASE + LEASE + Duration::from_secs(1));
        let last_seen_at = self.clock.now() - LEASE - LEASE - Duration::from_secs(1);
        assert_eq!(engine.rescue(queue).await?, Some(Rescued { worker, jobs: 2, last_seen_at }));
        assert_eq!(engine.rescue(queue).await?, None);
        assert_eq!(engine.promote(queue).await?.moved, 2);
        let left = ids_of(&[a[1..].to_vec(), b.clone(), later].concat());
        let second = WorkerId::new();
        assert_eq!(self.claim(queue, second).await?, left);
        let ended = Ended { finished: left.into_iter().collect(), ..Ended::default() };
        assert_eq!(engine.end_leases(queue, second, &ended).await?, 0);
        assert!(engine.resign(queue, second).await?);
        assert!(engine.census(queue).await?.is_empty());

        engine.mark_epoch(queue).await?;
        assert!(engine.epoch(queue).await?.is_some());
        engine.raise_fence(queue, 5).await?;
        self.limits_once(queue).await
    }

    /// One job of a group at a time, then as many as there are.
    async fn limits_once(&self, queue: Queue) -> anyhow::Result<()> {
        let engine = &self.engine;
        engine.control(queue, &Controls { group_limit: Some(1), ..Controls::default() }).await?;
        assert!(engine.is_open(queue).await?);
        assert!(engine.obeys(queue, &Controls { group_limit: Some(1), ..Controls::default() }).await?);
        let jobs = envelopes("a", 3);
        self.push(queue, &jobs).await?;
        let worker = WorkerId::new();
        let mut taken = BTreeSet::new();
        for turn in 1..=2 {
            let first = self.claim(queue, worker).await?;
            assert_eq!(first.len(), 1, "turn {turn}");
            assert!(self.claim(queue, worker).await?.is_empty(), "one at a time");
            assert_eq!(engine.depth(queue).await?.parked, 1);
            assert_eq!(engine.census(queue).await?.len(), 4 - turn);
            assert_eq!(engine.recount(queue).await?, 0);
            let ended = Ended { finished: first.iter().copied().collect(), ..Ended::default() };
            assert_eq!(engine.end_leases(queue, worker, &ended).await?, 0);
            taken.extend(first);
        }
        engine.control(queue, &Controls::default()).await?;
        taken.extend(self.claim(queue, worker).await?);
        assert_eq!(taken, ids_of(&jobs));
        let ended = Ended { finished: taken.into_iter().collect(), ..Ended::default() };
        assert_eq!(engine.end_leases(queue, worker, &ended).await?, 2, "two had ended before");
        assert!(engine.resign(queue, worker).await?);
        Ok(())
    }

    /// Every budget call once.
    pub(crate) async fn budgets_once(&self) -> anyhow::Result<()> {
        let name = format!("searchOrders:{}", Uuid::new_v4());
        let budget = Budget { name, rate: 1.0, burst: 1 };
        assert_eq!(self.budgets.ask(std::slice::from_ref(&budget), "one").await?, Grant::Now);
        assert_ne!(self.budgets.ask(std::slice::from_ref(&budget), "two").await?, Grant::Now);
        self.budgets.move_rate(&budget, 2.0).await?;
        assert_ne!(self.budgets.ask(std::slice::from_ref(&budget), "three").await?, Grant::Now);
        self.budgets.move_rate(&budget, 0.5).await?;
        assert_eq!(self.budgets.look(std::slice::from_ref(&budget)).await?[0].set_aside, 2);
        assert_eq!(self.budgets.give_back(std::slice::from_ref(&budget), "two").await?, 1);
        assert!(self.budgets.drain(&budget).await? > self.clock.now());
        Ok(())
    }

    /// What a process does beside its work.
    pub(crate) async fn beside_once(&self) -> anyhow::Result<()> {
        redis::cmd("PING").exec_async(&mut self.redis.connection()).await?;
        assert!(!self.engine.server_run().await?.is_empty());
        let stop = CancellationToken::new();
        let clock = RedisClock::follow(&self.redis, stop.clone()).await?;
        stop.cancel();
        let apart = clock.now() - runtime::clock::SystemClock.now();
        assert!(apart.abs() < TimeDelta::seconds(5), "the server is on this host: {apart}");
        Ok(())
    }

    /// Everything, on every queue.
    pub(crate) async fn whole(&self) -> anyhow::Result<()> {
        for queue in Queue::ALL {
            self.once(queue).await?;
        }
        self.budgets_once().await?;
        self.beside_once().await
    }
}
