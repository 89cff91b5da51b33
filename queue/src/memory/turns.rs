//! Rings, groups and limits in memory: whose turn it is. What `claim.lua`, `put_ready.lua` and `release.lua` do.

use std::collections::HashMap;

use super::{Entry, Group, Lane, MemoryQueue, Ring, place_of};
use crate::{
    KnownKinds, WorkerId,
    envelope::{self, Envelope},
};

/// Turns of a ring of each priority while a ring of low priority gets one.
const fn weight_of(priority: u8) -> f64 {
    match priority {
        b'h' => 16.0,
        b'n' => 4.0,
        _ => 1.0,
    }
}

/// A ring that a claim may take from.
struct Open {
    ring: Ring,
    pass: f64,
    weight: f64,
    visited: bool,
    dry: bool,
}

/// What a claim sees when it begins.
struct Around {
    open: Vec<Open>,
    paused: Vec<(Ring, f64)>,
    kinds: HashMap<Vec<u8>, KindLeft>,
}

/// What a claim has left of a kind.
struct KindLeft {
    room: i64,
    limited: bool,
    each: Option<i64>,
}

pub(super) fn group_of_scope(scope: &[u8]) -> Option<Group> {
    match scope {
        [b'g', group @ ..] => Some(group.to_vec()),
        [b'e', rest @ ..] => rest.splitn(2, |byte| *byte == 0).nth(1).map(<[u8]>::to_vec),
        _ => None,
    }
}

fn of_kind(kind: &[u8]) -> Vec<u8> {
    [b"k", kind].concat()
}

fn of_group(group: &[u8]) -> Vec<u8> {
    [b"g", group].concat()
}

fn of_each(kind: &[u8], group: &[u8]) -> Vec<u8> {
    [b"e", kind, b"\0", group].concat()
}

impl MemoryQueue {
    fn enter_ring(&mut self, ring: &Ring, groups: Vec<Group>) -> bool {
        let first = self.rings.values().map(|(pass, _)| *pass).reduce(f64::min).unwrap_or(0.0);
        let was_empty = !self.rings.contains_key(ring);
        self.rings.entry(ring.clone()).or_insert((first, Default::default())).1.extend(groups);
        was_empty
    }

    pub(super) fn put_ready(&mut self, entries: Vec<Entry>) {
        let mut by_lane: Vec<(Lane, Ring, Group, Vec<Entry>)> = Vec::new();
        for entry in entries {
            let (ring, group) = place_of(&entry);
            let lane = envelope::lane(&ring, &group);
            match by_lane.iter_mut().find(|known| known.0 == lane) {
                Some(known) => known.3.push(entry),
                None => by_lane.push((lane, ring, group, vec![entry])),
            }
        }
        let mut by_ring: Vec<(Ring, Vec<Group>)> = Vec::new();
        for (lane, ring, group, entries) in by_lane {
            let list = self.lanes.entry(lane).or_default();
            let was_empty = list.is_empty();
            list.extend(entries);
            if was_empty {
                match by_ring.iter_mut().find(|known| known.0 == ring) {
                    Some(known) => known.1.push(group),
                    None => by_ring.push((ring, vec![group])),
                }
            }
        }
        for (ring, groups) in by_ring {
            self.wakes |= self.enter_ring(&ring, groups);
        }
    }

    pub(super) fn unpark(&mut self, group: &Group) {
        for lane in self.parked.remove(group).unwrap_or_default() {
            if self.lanes.get(&lane).is_some_and(|list| !list.is_empty()) {
                let ring = lane[1..=usize::from(lane[0])].to_vec();
                self.enter_ring(&ring, vec![group.clone()]);
            }
        }
    }

    pub(super) fn release(&mut self, entries: &[Entry]) {
        let mut released = false;
        let mut groups: Vec<Group> = Vec::new();
        for entry in entries {
            let Some(id) = Envelope::id_of(entry) else { continue };
            let (ring, group) = place_of(entry);
            let kind = ring.get(2..).unwrap_or_default();
            for scope in [of_kind(kind), of_group(&group), of_each(kind, &group)] {
                if let Some(notes) = self.held.get_mut(&scope) {
                    notes.remove(&id);
                    released = true;
                }
            }
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        if !released {
            return;
        }
        self.held.retain(|_, notes| !notes.is_empty());
        for group in groups {
            self.unpark(&group);
        }
        self.wakes = true;
    }

    fn held_in(&self, scope: &[u8]) -> i64 {
        self.held.get(scope).map_or(0, |notes| i64::try_from(notes.len()).unwrap_or(i64::MAX))
    }

    fn hold(&mut self, scope: Vec<u8>, entries: &[Entry], worker: WorkerId) {
        if !entries.is_empty() {
            let ids = entries.iter().filter_map(|entry| Envelope::id_of(entry));
            self.held.entry(scope).or_default().extend(ids.map(|id| (id, worker)));
        }
    }

    pub(super) fn take_turns(&mut self, worker: WorkerId, most: usize, known: &KnownKinds) -> Vec<Entry> {
        let several = self.rings.len() > 1;
        let Around { mut open, paused, mut kinds } = self.look_around(most, known);
        let step = if open.len() == 1 { most } else { (most / 16).max(1) };
        let mut result = Vec::new();
        while result.len() < most {
            let next = open.iter_mut().filter(|ring| !ring.dry && kinds[&ring.ring[2..]].room > 0);
            // The first of those that are furthest behind.
            let Some(ring) = next.reduce(|best, ring| if ring.pass < best.pass { ring } else { best }) else {
                break;
            };
            let kind = ring.ring[2..].to_vec();
            let room = usize::try_from(kinds[&kind].room).unwrap_or(0);
            let count = step.min(most - result.len()).min(room);
            let taken = self.take(&ring.ring, count, most, kinds[&kind].each, worker);
            ring.visited = true;
            ring.dry = taken.len() < count;
            #[expect(clippy::cast_precision_loss, reason = "at most 256")]
            let got = taken.len() as f64;
            ring.pass += got / ring.weight;
            if let Some(left) = kinds.get_mut(&kind) {
                left.room -= i64::try_from(taken.len()).unwrap_or(i64::MAX);
                if left.limited {
                    self.hold(of_kind(&kind), &taken, worker);
                }
            }
            result.extend(taken);
        }
        open.retain(|ring| {
            let empty =
                ring.visited && self.rings.get(&ring.ring).is_none_or(|(_, groups)| groups.is_empty());
            if empty {
                self.rings.remove(&ring.ring);
            }
            !empty
        });
        if several {
            self.move_passes(&open, &paused);
        }
        result
    }

    fn move_passes(&mut self, open: &[Open], paused: &[(Ring, f64)]) {
        for ring in open {
            if let Some((pass, _)) = self.rings.get_mut(&ring.ring) {
                *pass = ring.pass;
            }
        }
        let Some(first) = open.iter().map(|ring| ring.pass).reduce(f64::min) else { return };
        for (ring, pass) in paused {
            if *pass < first
                && let Some((pass, _)) = self.rings.get_mut(ring)
            {
                *pass = first;
            }
        }
    }

    /// The rings that may be taken from, those that are paused, and what is left of each kind.
    fn look_around(&self, most: usize, known: &KnownKinds) -> Around {
        let mut rings: Vec<_> = self.rings.iter().map(|(ring, (pass, _))| (ring.clone(), *pass)).collect();
        rings.sort_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
        let (mut open, mut paused, mut kinds) = (Vec::new(), Vec::new(), HashMap::new());
        for (ring, pass) in rings {
            let kind = ring.get(2..).unwrap_or_default().to_vec();
            let name = String::from_utf8_lossy(&kind).into_owned();
            if self.controls.paused_kinds.contains(&name) {
                paused.push((ring, pass));
            } else if known.takes(&ring) {
                let limit = self.controls.kind_limits.get(&name);
                let room = limit.map_or_else(
                    || i64::try_from(most).unwrap_or(i64::MAX),
                    |limit| i64::from(*limit) - self.held_in(&of_kind(&kind)),
                );
                let each = self.controls.each_limits.get(&name).map(|limit| i64::from(*limit));
                kinds.entry(kind).or_insert(KindLeft { room, limited: limit.is_some(), each });
                let weight = f64::from(self.controls.weights.get(&name).copied().unwrap_or(1).max(1));
                let weight = weight_of(ring.first().copied().unwrap_or_default()) * weight;
                open.push(Open { ring, pass, weight, visited: false, dry: false });
            }
        }
        Around { open, paused, kinds }
    }

    /// How many more of a kind may run for a group.
    fn room_of(&self, kind: &[u8], group: &[u8], each: Option<i64>) -> Option<i64> {
        let name = String::from_utf8_lossy(group);
        if self.controls.paused_groups.contains(&*name) {
            return Some(0);
        }
        let limit = self.controls.group_limits.get(&*name).copied().or(self.controls.group_limit);
        let by_group = limit.map(|limit| i64::from(limit) - self.held_in(&of_group(group)));
        let by_each = each.map(|limit| limit - self.held_in(&of_each(kind, group)));
        [by_group, by_each].into_iter().flatten().min()
    }

    /// How many run and how many may: of the kind, of the group, of the group within the kind.
    pub(super) fn limits_of(&self, kind: &str, group: &str) -> [Option<(u64, u64)>; 3] {
        let running = |scope: &[u8]| self.held.get(scope).map_or(0, |notes| notes.len() as u64);
        let of = |limit: Option<u32>, scope: Vec<u8>| limit.map(|most| (running(&scope), u64::from(most)));
        let by_group = self.controls.group_limits.get(group).copied().or(self.controls.group_limit);
        [
            of(self.controls.kind_limits.get(kind).copied(), of_kind(kind.as_bytes())),
            of(by_group, of_group(group.as_bytes())),
            of(self.controls.each_limits.get(kind).copied(), of_each(kind.as_bytes(), group.as_bytes())),
        ]
    }

    fn take(
        &mut self,
        ring: &Ring,
        count: usize,
        most: usize,
        each: Option<i64>,
        worker: WorkerId,
    ) -> Vec<Entry> {
        let kind = ring.get(2..).unwrap_or_default().to_vec();
        let waiting = self.rings.get(ring).map_or(0, |(_, groups)| groups.len());
        let turn = count.div_ceil(waiting.max(1)).max(most.div_ceil(16));
        let mut got = Vec::new();
        while got.len() < count {
            let visits = (count - got.len()).div_ceil(turn);
            let Some((_, waiting)) = self.rings.get_mut(ring) else { break };
            if waiting.is_empty() {
                break;
            }
            let visited: Vec<Group> = waiting.drain(..visits.min(waiting.len())).collect();
            for group in visited {
                let lane = envelope::lane(ring, &group);
                let room = self.room_of(&kind, &group, each);
                let open = usize::try_from(room.unwrap_or(i64::MAX).max(0)).unwrap_or(usize::MAX);
                let want = turn.min(count - got.len()).min(open);
                let list = self.lanes.entry(lane.clone()).or_default();
                let taken: Vec<Entry> = list.drain(..want.min(list.len())).collect();
                let more = !list.is_empty();
                if !more {
                    self.lanes.remove(&lane);
                }
                let name = String::from_utf8_lossy(&group).into_owned();
                if self.controls.group_limits.contains_key(&name) || self.controls.group_limit.is_some() {
                    self.hold(of_group(&group), &taken, worker);
                }
                if each.is_some() {
                    self.hold(of_each(&kind, &group), &taken, worker);
                }
                if more && open > taken.len() {
                    if let Some((_, waiting)) = self.rings.get_mut(ring) {
                        waiting.push_back(group);
                    }
                } else if more {
                    self.parked.entry(group).or_default().insert(lane);
                }
                got.extend(taken);
            }
        }
        got
    }
}
