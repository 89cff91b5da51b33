//! The engine without Redis: the same behaviour in plain memory, for tests of what uses the engine.
//!
//! It is also the model that the scripts are held against: a property test runs any sequence of operations on both and
//! compares every answer. Nothing survives the process.

pub(crate) mod ledger;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};

use crate::{
    Controls, JobId, KnownKinds, WorkerId,
    envelope::{self, Envelope},
    explain::{Place, Standing},
    lease::{Claimed, Ended, MAX_CLAIM, Rescued, last_seen, lease_ms},
    policy::Queue,
    ready::Depth,
    scripts::MAX_IDS,
    wake::Wakes,
};

/// All queues of an engine in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    queues: Mutex<HashMap<Queue, MemoryQueue>>,
    listeners: Mutex<Vec<Wakes>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is a failed test, which ends by itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Does something to a queue, and wakes idle workers if that made something ready.
    pub(crate) fn with<T>(&self, queue: Queue, act: impl FnOnce(&mut MemoryQueue) -> T) -> T {
        let mut queues = lock(&self.queues);
        let state = queues.entry(queue).or_default();
        let answer = act(state);
        if std::mem::take(&mut state.wakes) {
            for listener in lock(&self.listeners).iter() {
                listener.of(queue).notify_one();
            }
        }
        answer
    }

    /// Forgets everything, as Redis does when it is flushed.
    pub(crate) fn flush(&self) {
        lock(&self.queues).clear();
    }

    pub(crate) fn listen(&self) -> Wakes {
        let wakes = Wakes::default();
        lock(&self.listeners).push(wakes.clone());
        wakes
    }
}

type Entry = Vec<u8>;
type Lane = Vec<u8>;
type Group = Vec<u8>;
type Ring = Vec<u8>;

/// One queue. What the scripts do, one method each.
#[derive(Debug, Default)]
pub(crate) struct MemoryQueue {
    pub(crate) epoch: Option<String>,
    /// Since when it is open.
    open: Option<i64>,
    controls: Controls,
    fence: i64,
    /// Rings that hold a group, with their pass.
    rings: BTreeMap<Ring, (f64, VecDeque<Group>)>,
    lanes: HashMap<Lane, VecDeque<Entry>>,
    /// Entries that wait for their moment, and the same in the order in which they are due.
    delayed: HashMap<Entry, i64>,
    due: BTreeSet<(i64, Entry)>,
    workers: BTreeMap<WorkerId, i64>,
    leases: HashMap<WorkerId, BTreeMap<JobId, Entry>>,
    held: BTreeMap<Vec<u8>, HashMap<JobId, WorkerId>>,
    parked: BTreeMap<Group, BTreeSet<Lane>>,
    wakes: bool,
}

impl MemoryQueue {
    pub(crate) fn push(&mut self, entries: impl IntoIterator<Item = (Option<i64>, Entry)>) {
        let mut ready = Vec::new();
        for (due_ms, entry) in entries {
            match due_ms {
                Some(due_ms) => self.delay(entry, due_ms),
                None => ready.push(entry),
            }
        }
        self.put_ready(ready);
    }

    /// Returns how many were moved, and when the next one is due.
    pub(crate) fn promote(&mut self, now_ms: i64) -> (usize, Option<i64>) {
        let mut moved = Vec::new();
        while moved.len() < MAX_IDS
            && let Some((_, entry)) = self.due.first().filter(|(due, _)| *due <= now_ms)
        {
            let entry = entry.clone();
            self.due.pop_first();
            self.delayed.remove(&entry);
            moved.push(entry);
        }
        let count = moved.len();
        self.put_ready(moved);
        (count, self.due.first().map(|(due, _)| *due))
    }

    /// Lets an entry wait until then, also one that waits already.
    fn delay(&mut self, entry: Entry, due_ms: i64) {
        if let Some(before) = self.delayed.insert(entry.clone(), due_ms) {
            self.due.remove(&(before, entry.clone()));
        }
        self.due.insert((due_ms, entry));
    }

    pub(crate) fn claim(
        &mut self,
        worker: WorkerId,
        most: usize,
        known: &KnownKinds,
        now_ms: i64,
    ) -> Claimed {
        if self.open.is_none() || self.controls.paused {
            return Claimed::default();
        }
        let entries = self.take_turns(worker, most.min(MAX_CLAIM), known);
        if entries.is_empty() {
            return Claimed::default();
        }
        let lease = self.leases.entry(worker).or_default();
        lease.extend(entries.iter().filter_map(|entry| Some((Envelope::id_of(entry)?, entry.clone()))));
        self.workers.insert(worker, now_ms + lease_ms());
        self.fence = (self.fence + 1).max(now_ms * 1_000);
        Claimed { fence: self.fence, entries }
    }

    pub(crate) fn heartbeat(&mut self, worker: WorkerId, now_ms: i64) -> bool {
        self.workers.insert(worker, now_ms + lease_ms()).is_some()
    }

    /// Returns how many ids the worker did not hold.
    pub(crate) fn settle(&mut self, worker: WorkerId, ended: &Ended) -> usize {
        let lease = self.leases.entry(worker).or_default();
        let mut take = |id: &JobId| lease.remove(id);
        let later: Vec<_> =
            ended.delayed.iter().map(|(id, due)| (crate::ready::due_ms(*due), take(id))).collect();
        let back: Vec<_> = ended.handed_back.iter().map(&mut take).collect();
        let finished: Vec<_> = ended.finished.iter().map(&mut take).collect();
        let entries = later.iter().map(|(_, entry)| entry).chain(&back).chain(&finished);
        let missing = entries.clone().filter(|entry| entry.is_none()).count();
        let held: Vec<Entry> = entries.flatten().cloned().collect();
        for (due_ms, entry) in later {
            if let Some(entry) = entry {
                self.delay(entry, due_ms);
            }
        }
        self.put_ready(back.into_iter().flatten().collect());
        self.release(&held);
        missing
    }

    pub(crate) fn rescue(&mut self, now_ms: i64) -> Option<Rescued> {
        let mut ends: Vec<_> = self.workers.iter().map(|(worker, end)| (*end, *worker)).collect();
        ends.sort_unstable();
        let (end, worker) = ends.into_iter().find(|(end, _)| *end < now_ms)?;
        let lease = self.leases.entry(worker).or_default();
        let some: Vec<_> = lease.keys().take(MAX_IDS).copied().collect();
        let entries: Vec<_> = some.iter().filter_map(|id| lease.remove(id)).collect();
        self.release(&entries);
        self.put_ready(entries);
        if some.len() < MAX_IDS {
            self.workers.remove(&worker);
        }
        Some(Rescued { worker, jobs: some.len(), last_seen_at: last_seen(end) })
    }

    pub(crate) fn resign(&mut self, worker: WorkerId) -> bool {
        let free = self.leases.get(&worker).is_none_or(BTreeMap::is_empty);
        if free {
            self.workers.remove(&worker);
        }
        free
    }

    pub(crate) fn workers_seen(&self) -> Vec<(WorkerId, DateTime<Utc>)> {
        let mut seen: Vec<_> = self.workers.iter().map(|(worker, end)| (*worker, last_seen(*end))).collect();
        seen.sort_unstable_by_key(|(worker, at)| (*at, *worker));
        seen
    }

    pub(crate) fn held_by(&self, worker: WorkerId) -> HashSet<JobId> {
        self.leases.get(&worker).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    pub(crate) fn still_leased(&self, held: &[(JobId, WorkerId)], now_ms: i64) -> HashSet<JobId> {
        let alive = |worker| self.workers.get(worker).is_some_and(|end| *end >= now_ms);
        let holds = |worker, id| self.leases.get(worker).is_some_and(|lease| lease.contains_key(id));
        held.iter().filter(|(id, worker)| alive(worker) && holds(worker, id)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn raise_fence(&mut self, fence: i64) {
        self.fence = self.fence.max(fence);
    }

    pub(crate) fn control(&mut self, controls: &Controls, now_ms: i64) {
        self.controls = controls.clone();
        self.open.get_or_insert(now_ms);
        let groups: Vec<_> = self.parked.keys().cloned().collect();
        for group in groups {
            self.unpark(&group);
        }
        self.wakes = true;
    }

    pub(crate) fn obeys(&self, controls: &Controls) -> bool {
        self.open.is_some() && self.controls == *controls
    }

    pub(crate) const fn open_since(&self) -> Option<i64> {
        self.open
    }

    pub(crate) fn recount(&mut self) -> usize {
        let mut stale = 0;
        let mut groups = Vec::new();
        for (scope, notes) in &mut self.held {
            let before = notes.len();
            notes.retain(|id, worker| self.leases.get(worker).is_some_and(|lease| lease.contains_key(id)));
            if notes.len() < before {
                stale += before - notes.len();
                groups.extend(turns::group_of_scope(scope));
            }
        }
        self.held.retain(|_, notes| !notes.is_empty());
        for group in groups {
            self.unpark(&group);
        }
        self.wakes |= stale > 0;
        stale
    }

    pub(crate) fn census(&self) -> HashSet<JobId> {
        let ready = self.lanes.values().flatten().chain(self.delayed.keys());
        let leased = self.leases.values().flat_map(BTreeMap::keys).copied();
        ready.filter_map(|entry| Envelope::id_of(entry)).chain(leased).collect()
    }

    pub(crate) fn rings(&self) -> Vec<Vec<u8>> {
        self.rings.keys().cloned().collect()
    }

    pub(crate) fn lease_of(&self, worker: WorkerId, id: JobId) -> Option<i64> {
        let holds = self.leases.get(&worker).is_some_and(|lease| lease.contains_key(&id));
        self.workers.get(&worker).copied().filter(|_| holds)
    }

    pub(crate) fn standing(&self, place: Place<'_>, now_ms: i64) -> Standing {
        let ring = envelope::ring(place.priority, place.version, place.kind);
        let lane = self.lanes.get(&envelope::lane(&ring, place.group.as_bytes()));
        let ahead =
            lane.and_then(|list| list.iter().position(|entry| Envelope::id_of(entry) == Some(place.id)));
        let groups_ahead = self
            .rings
            .get(&ring)
            .and_then(|(_, groups)| groups.iter().position(|group| group == place.group.as_bytes()));
        let count = |number: usize| number as u64;
        Standing {
            open: self.open.is_some(),
            queue_paused: self.controls.paused,
            kind_paused: self.controls.paused_kinds.contains(place.kind),
            group_paused: self.controls.paused_groups.contains(place.group),
            limits: self.limits_of(place.kind, place.group),
            workers_alive: count(self.workers.values().filter(|end| **end >= now_ms).count()),
            ahead_in_group: ahead.map(count),
            not_in_lane: ahead.is_none(),
            groups_ahead: groups_ahead.map(count),
            other_rings: count(self.rings.len().saturating_sub(1)),
        }
    }

    pub(crate) fn depth(&self) -> Depth {
        let count = |number: usize| number as u64;
        Depth {
            turns: self.rings.values().map(|(_, groups)| count(groups.len())).sum(),
            parked: count(self.parked.len()),
            delayed: count(self.delayed.len()),
            workers: count(self.workers.len()),
        }
    }
}

/// Ring and group of the lane of an entry.
fn place_of(entry: &[u8]) -> (Ring, Group) {
    envelope::place(entry).map_or_else(Default::default, |(ring, group)| (ring.to_vec(), group.to_vec()))
}
