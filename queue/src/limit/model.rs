//! The same arithmetic in memory: the in-memory engine runs on it, and tests hold the scripts against it.
//!
//! Pure: no clock, no chance, nothing outside. It answers exactly as `lua/budget_*.lua` do, step for step; what the steps
//! are for is said there, mostly in `lua/budget_state.lua`. It keeps every budget that was ever named, where Redis forgets
//! those that are full again: the answers are the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::{BELIEVE_RATE, Budget, Grant, Level, interval_us, rate_of};

/// Beyond any moment that is meant, in microseconds since 1970.
const FAR: i64 = 8_000_000_000_000_000;
/// A clock that went back further than this (us) is believed, and the budget begins anew, empty.
const WENT_BACK: i64 = 60_000_000;
/// Longest time (us) for which calls are saved up, however large the burst.
const LONGEST_REACH: i64 = 1_000_000_000_000_000;
/// Most slots that a walk looks at before it goes to the end of the line.
const MOST_WALKED: usize = 100;
/// Most slots that are kept when a rate falls.
const MOST_KEPT: usize = 500;
/// Refusals closer together (us) are one.
const ONE_REFUSAL: i64 = 60_000_000;
/// A refusal at most this long (us) after another shows that somebody else uses a part of the rate, and for so long that is
/// assumed.
const SHARED_FOR: i64 = 3_600_000_000;
/// All of the rate, and the least that is used of it, per mille.
const WHOLE: i64 = 1_000;
const LEAST_SHARE: i64 = 250;

/// All budgets of a deployment, in memory.
#[derive(Debug, Default)]
pub struct BudgetBook {
    buckets: HashMap<String, Bucket>,
}

/// What Redis holds of a budget. Moments and intervals in microseconds.
#[derive(Debug, Default, Clone)]
struct Bucket {
    next: Option<i64>,
    interval: Option<i64>,
    told: Option<Told>,
    seen: Option<i64>,
    last: i64,
    slots: BTreeMap<String, i64>,
    free: BTreeSet<i64>,
    refused: Option<i64>,
    share: Option<Share>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    interval: i64,
    until: i64,
}

/// The part of the rate (per mille) that is used while somebody else uses the rest.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: i64,
    until: i64,
}

/// A budget as a question finds it.
#[derive(Debug)]
struct Found {
    interval: i64,
    /// For how long calls are saved up.
    reach: i64,
    /// For how long after its moment a slot is good.
    late: i64,
    next: i64,
    last: i64,
    documented: i64,
    told: Option<Told>,
    refused: Option<i64>,
    share: Option<Share>,
    slots: BTreeMap<String, i64>,
    free: BTreeSet<i64>,
    /// How long slots were good before the rate fell, if it did and they are still to be moved apart.
    fell_from: Option<i64>,
}

impl BudgetBook {
    /// As `Budgets::ask`, for at most [`super::MAX_TOGETHER`] different budgets.
    pub fn ask(&mut self, now: DateTime<Utc>, budgets: &[Budget], ticket: &str) -> Grant {
        let (now, mut found) = self.find(now, budgets);
        for budget in &mut found {
            budget.move_apart(now);
        }
        let held: Vec<_> = found.iter().map(|budget| budget.good_slot(ticket, now)).collect();
        let moments: Vec<_> = found
            .iter()
            .zip(&held)
            .map(|(budget, held)| held.unwrap_or_else(|| budget.free_moment(now)))
            .collect();
        let (mut latest, mut waits_for) = (now, None);
        for (position, moment) in moments.iter().enumerate() {
            if *moment > latest {
                (latest, waits_for) = (*moment, Some(position));
            }
        }
        for (position, budget) in found.iter_mut().enumerate() {
            match (waits_for, held[position]) {
                (None, Some(slot)) => {
                    budget.slots.remove(ticket);
                    budget.next = budget.next.max(slot + budget.interval);
                }
                (None, None) => {
                    budget.take(moments[position]);
                    budget.slots.remove(ticket);
                }
                (Some(_), Some(slot)) if latest - slot > budget.late => budget.give_back(ticket, slot, now),
                (Some(_), Some(_)) => {}
                (Some(_), None) if moments[position] == latest => {
                    budget.take(latest);
                    budget.last = budget.last.max(latest);
                    budget.slots.retain(|_, slot| now - *slot <= budget.late);
                    budget.slots.insert(ticket.to_owned(), latest);
                }
                (Some(_), None) => drop(budget.slots.remove(ticket)),
            }
        }
        self.store(now, budgets, found);
        waits_for.map_or(Grant::Now, |waits_for| Grant::At { moment: moment_of(latest), waits_for })
    }

    /// As `Budgets::give_back`.
    pub fn give_back(&mut self, now: DateTime<Utc>, budgets: &[Budget], ticket: &str) -> usize {
        let (now, mut found) = self.find(now, budgets);
        let mut given_back = 0;
        for budget in &mut found {
            budget.move_apart(now);
            if let Some(slot) = budget.slots.get(ticket).copied() {
                budget.give_back(ticket, slot, now);
                given_back += 1;
            }
        }
        self.store(now, budgets, found);
        given_back
    }

    /// As `Budgets::drain`.
    pub fn drain(&mut self, now: DateTime<Utc>, budget: &Budget) -> DateTime<Utc> {
        let budgets = std::slice::from_ref(budget);
        let (now, mut found) = self.find(now, budgets);
        let mut next = now;
        for budget in &mut found {
            budget.move_apart(now);
            budget.note_refusal(now, budgets[0].burst);
            budget.next = budget.next.max(now + budget.interval);
            budget.free.retain(|moment| *moment > now);
            next = budget.free_moment(now);
        }
        self.store(now, budgets, found);
        moment_of(next)
    }

    /// As `Budgets::move_rate`.
    pub fn move_rate(&mut self, now: DateTime<Utc>, budget: &Budget, rate: f64) {
        let budgets = std::slice::from_ref(budget);
        let (now, mut found) = self.find(now, budgets);
        for budget in &mut found {
            budget.move_apart(now);
            budget.told = Some(Told { interval: interval_us(rate), until: now + micros(BELIEVE_RATE) });
            budget.obey(now, budgets[0].burst);
        }
        self.store(now, budgets, found);
    }

    /// As `Budgets::look`.
    #[must_use]
    pub fn look(&self, now: DateTime<Utc>, budgets: &[Budget]) -> Vec<Level> {
        let (now, found) = self.find(now, budgets);
        let levels = found.iter().zip(budgets);
        levels
            .map(|(found, budget)| {
                let good = found.slots.values().filter(|slot| now - **slot <= found.late);
                Level {
                    calls: found.level(now),
                    burst: budget.burst.max(1),
                    rate: found.told.map_or(budget.rate, |told| rate_of(told.interval)) * found.used_share(),
                    told_until: found.told.map(|told| moment_of(told.until)),
                    share: found.used_share(),
                    shared_until: found.share.map(|share| moment_of(share.until)),
                    next_free_at: moment_of(found.free_moment(now).max(now)),
                    set_aside: good.count() as u64,
                }
            })
            .collect()
    }

    /// Reads budgets as they are now: the rate that is in force may have changed since, and clocks go back.
    fn find(&self, now: DateTime<Utc>, budgets: &[Budget]) -> (i64, Vec<Found>) {
        let told_now = now.timestamp_micros();
        let stored: Vec<_> = budgets
            .iter()
            .map(|budget| self.buckets.get(&budget.name).cloned().unwrap_or_default())
            .collect();
        let believed =
            stored.iter().filter_map(|bucket| bucket.seen).filter(|seen| seen - told_now <= WENT_BACK);
        let now = believed.fold(told_now, i64::max);
        let found =
            stored.into_iter().zip(budgets).map(|(bucket, budget)| Found::new(bucket, budget, told_now, now));
        (now, found.collect())
    }

    fn store(&mut self, now: i64, budgets: &[Budget], found: Vec<Found>) {
        for (budget, found) in budgets.iter().zip(found) {
            let Found { interval, next, last, told, refused, share, slots, free, .. } = found;
            let (next, interval, seen) = (Some(next.min(FAR)), Some(interval), Some(now));
            let bucket = Bucket { next, interval, told, seen, last, slots, free, refused, share };
            self.buckets.insert(budget.name.clone(), bucket);
        }
    }
}

impl Found {
    fn new(bucket: Bucket, budget: &Budget, told_now: i64, now: i64) -> Self {
        let told = bucket.told.filter(|told| told.until > now);
        let share = bucket.share.filter(|share| share.until > now);
        let documented = interval_us(budget.rate);
        let interval = in_force(documented, told, share);
        let before = bucket.interval.unwrap_or(interval);
        let mut found = Self {
            documented,
            refused: bucket.refused,
            share,
            interval: before,
            reach: reach(budget.burst, before),
            late: late(budget.burst, before),
            next: 0,
            last: bucket.last,
            told,
            slots: bucket.slots,
            free: bucket.free,
            fell_from: None,
        };
        found.next = bucket.next.unwrap_or(0).max(now - found.reach);
        if bucket.seen.is_some_and(|seen| seen - told_now > WENT_BACK) {
            found.slots.clear();
            found.free.clear();
            found.last = 0;
            found.next = now + before;
        }
        found.next = found.next.min(found.last.max(now) + before);
        if interval != before {
            found.turn(now, interval, budget.burst);
        }
        found
    }

    /// The part of the rate that is used, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "it is at most a thousand")]
    fn used_share(&self) -> f64 {
        self.share.map_or(1.0, |share| share.part as f64 / WHOLE as f64)
    }

    /// The second refusal within an hour shows that somebody else uses a part of the rate.
    fn note_refusal(&mut self, now: i64, burst: u32) {
        let since = self.refused.map(|refused| now - refused);
        if since.is_some_and(|since| (ONE_REFUSAL..=SHARED_FOR).contains(&since)) {
            let part = self.share.map_or(WHOLE, |share| share.part);
            self.share = Some(Share { part: (part * 3 / 4).max(LEAST_SHARE), until: now + SHARED_FOR });
            self.obey(now, burst);
        }
        if since.is_none_or(|since| since >= ONE_REFUSAL) {
            self.refused = Some(now);
        }
    }

    /// Takes up the time between calls that is to be in force.
    fn obey(&mut self, now: i64, burst: u32) {
        let interval = in_force(self.documented, self.told, self.share);
        if interval != self.interval {
            self.turn(now, interval, burst);
            self.move_apart(now);
        }
    }

    /// Changes the time between calls. What was used stays used, in calls.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as Lua's numbers are")]
    fn turn(&mut self, now: i64, interval: i64, burst: u32) {
        let due = self.slots.values().copied().filter(|slot| (now - self.late..=now).contains(slot)).max();
        let used = due.map_or(self.next, |due| self.next.max(due + self.interval));
        let to_come = self.slots.values().chain(&self.free).copied().filter(|slot| *slot > now).min();
        let open = used.min(to_come.unwrap_or(FAR)).min(now + self.interval);
        let calls_kept = ((open - now) as f64 * interval as f64 / self.interval as f64).ceil() as i64;
        self.free.clear();
        self.fell_from = (interval > self.interval).then_some(self.late);
        self.interval = interval;
        self.reach = reach(burst, interval);
        self.late = late(burst, interval);
        self.next = now.saturating_add(calls_kept).max(now - self.reach);
    }

    /// After the rate fell: moves slots apart, no further than they must.
    fn move_apart(&mut self, now: i64) {
        let Some(late) = self.fell_from.take() else { return };
        let mut held: Vec<_> = self
            .slots
            .iter()
            .map(|(ticket, slot)| (*slot, ticket.clone()))
            .filter(|(slot, _)| *slot >= now - late)
            .collect();
        held.sort();
        held.truncate(MOST_KEPT);
        let due = held.iter().filter(|(slot, _)| *slot <= now).count();
        let mut at_most = self.next - self.interval;
        for (slot, _) in held[..due].iter_mut().rev() {
            *slot = at_most.min(*slot);
            at_most = *slot - self.interval;
        }
        let mut at_least = self.next;
        for (slot, _) in &mut held[due..] {
            *slot = at_least.max(*slot);
            at_least = *slot + self.interval;
        }
        self.last = held.last().map_or(0, |(slot, _)| *slot);
        self.slots = held.into_iter().map(|(slot, ticket)| (ticket, slot)).collect();
    }

    fn good_slot(&self, ticket: &str, now: i64) -> Option<i64> {
        self.slots.get(ticket).copied().filter(|slot| now - slot <= self.late)
    }

    /// The moment of who comes now: one that was given back, or the next that nobody has.
    fn free_moment(&self, now: i64) -> i64 {
        let given_back = self.free.range(now - self.late..).next().copied();
        given_back.unwrap_or_else(|| self.spaced(self.next.max(now - self.reach), now).min(FAR))
    }

    /// The first moment from `moment` on that keeps an interval's distance from every slot.
    fn spaced(&self, mut moment: i64, now: i64) -> i64 {
        let held = self.slots_from(moment, now);
        for slot in held.iter().take(MOST_WALKED) {
            if *slot >= moment + self.interval {
                return moment;
            }
            moment = slot + self.interval;
        }
        match held.last() {
            Some(last) if held.len() >= MOST_WALKED => moment.max(last + self.interval),
            _ => moment,
        }
    }

    /// Good slots that `moment` would have to keep a distance from, and all later ones.
    fn slots_from(&self, moment: i64, now: i64) -> Vec<i64> {
        let from = (moment - self.interval + 1).max(now - self.late);
        let mut held: Vec<_> = self.slots.values().copied().filter(|slot| *slot >= from).collect();
        held.sort_unstable();
        held
    }

    /// Takes the moment that [`Self::free_moment`] named.
    fn take(&mut self, moment: i64) {
        if !self.free.remove(&moment) {
            self.next = moment + self.interval;
        }
    }

    fn give_back(&mut self, ticket: &str, slot: i64, now: i64) {
        self.slots.remove(ticket);
        if now - slot <= self.late && slot + self.interval <= self.next {
            self.free.insert(slot);
        }
    }

    /// How many could call at once now.
    fn level(&self, now: i64) -> u64 {
        let mut level = self.free.range(now - self.late..=now).count() as u64;
        let mut moment = self.next.max(now - self.reach);
        for slot in self
            .slots_from(moment, now)
            .into_iter()
            .filter(|slot| *slot < now + self.interval)
            .take(MOST_KEPT)
        {
            level += self.moments_in(moment, now.min(slot - self.interval));
            moment = slot + self.interval;
        }
        level + self.moments_in(moment, now)
    }

    /// How many moments an interval apart there are from the one to the other.
    fn moments_in(&self, from: i64, until: i64) -> u64 {
        u64::try_from((until - from).div_euclid(self.interval) + 1).unwrap_or(0)
    }
}

/// The time between calls that is to be in force.
fn in_force(documented: i64, told: Option<Told>, share: Option<Share>) -> i64 {
    let part = share.map_or(WHOLE, |share| share.part);
    // Rounded up, as the script's `math.ceil` does.
    (told.map_or(documented, |told| told.interval) * WHOLE + part - 1) / part
}

fn reach(burst: u32, interval: i64) -> i64 {
    i64::from(burst.max(1) - 1).saturating_mul(interval).min(LONGEST_REACH)
}

fn late(burst: u32, interval: i64) -> i64 {
    reach(burst, interval).max(interval)
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn moment_of(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
