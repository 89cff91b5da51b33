//! Circuits: while Amazon is ill for a seller, or in an operation, or denies a seller's calls of an operation, calls rest
//! instead of failing one by one.
//!
//! A circuit opens after some failures in a row without a healthy answer in between. While it is open no call is made; when
//! its rest is over one call goes ahead, and its answer closes the circuit, or opens it for twice as long. So it closes by
//! itself, soon after Amazon is well again. Each process finds out for itself: that costs it a few calls, and nothing shared
//! can break. What is refused for a reason (a 4xx) is a healthy answer; an empty bucket (429) says neither.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    sp_api::{Operation, Region},
    store::sellers::SellerId,
};

/// Failures in a row of one seller's calls that open its circuit.
const SELLER_FAILURES: u32 = 5;
/// Failures in a row of an operation that open its circuit, and of how many sellers they must be: one seller's trouble is not
/// the operation's.
const OPERATION_FAILURES: u32 = 10;
const OPERATION_SELLERS: usize = 3;
/// The first rest while Amazon is ill; each further one is twice as long.
const FIRST_REST: TimeDelta = TimeDelta::seconds(15);
const LONGEST_REST: TimeDelta = TimeDelta::minutes(5);
/// The same where access is denied: a person must act.
const FIRST_DENIED_REST: TimeDelta = TimeDelta::minutes(30);
const LONGEST_DENIED_REST: TimeDelta = TimeDelta::hours(4);

/// What a circuit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All calls for a seller.
    Seller(SellerId),
    /// All calls of an operation in a region.
    Operation(Region, Operation),
    /// A seller's calls of an operation, to which Amazon denies access: a role is missing.
    Role(SellerId, Operation),
}

impl Scope {
    /// What rests, for people and as a metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seller(_) => "seller",
            Self::Operation(..) => "operation",
            Self::Role(..) => "role",
        }
    }

    const fn failures(self) -> u32 {
        match self {
            Self::Seller(_) => SELLER_FAILURES,
            Self::Operation(..) => OPERATION_FAILURES,
            Self::Role(..) => 1,
        }
    }

    const fn sellers(self) -> usize {
        match self {
            Self::Seller(_) | Self::Role(..) => 1,
            Self::Operation(..) => OPERATION_SELLERS,
        }
    }

    /// The first rest, and the longest.
    const fn rests(self) -> (TimeDelta, TimeDelta) {
        match self {
            Self::Seller(_) | Self::Operation(..) => (FIRST_REST, LONGEST_REST),
            Self::Role(..) => (FIRST_DENIED_REST, LONGEST_DENIED_REST),
        }
    }
}

/// A circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// For what.
    pub scope: Scope,
    /// When to ask again.
    pub until: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    sellers: HashSet<SellerId>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    rest: TimeDelta,
    until: DateTime<Utc>,
    /// The rest is over, and one call has gone ahead.
    probed: bool,
}

/// The circuits of this process.
#[derive(Debug, Default)]
pub struct Circuits {
    circuits: Mutex<HashMap<Scope, Circuit>>,
}

impl Circuits {
    /// Whether a call may be made now. After a rest, the first who asks may go ahead, and must say what came of it; for
    /// `patience` the others wait for that.
    ///
    /// # Errors
    /// [`Resting`] until when.
    pub fn ask(
        &self,
        seller: SellerId,
        region: Region,
        operation: Operation,
        patience: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<(), Resting> {
        let mut circuits = self.lock();
        let scopes = scopes(seller, region, operation);
        for scope in scopes {
            if let Some(open) = circuits.get(&scope).and_then(|circuit| circuit.open)
                && open.until > now
            {
                return Err(Resting { scope, until: open.until });
            }
        }
        for scope in scopes {
            if let Some(open) = circuits.get_mut(&scope).and_then(|circuit| circuit.open.as_mut()) {
                (open.until, open.probed) = (now + patience, true);
            }
        }
        Ok(())
    }

    /// Amazon answered, whatever it said. Returns what rested because of an earlier failure.
    pub fn well(&self, seller: SellerId, region: Region, operation: Operation) -> Vec<Scope> {
        let mut circuits = self.lock();
        let mut closed = Vec::new();
        for scope in scopes(seller, region, operation) {
            if circuits.remove(&scope).is_some_and(|circuit| circuit.open.is_some()) {
                closed.push(scope);
            }
        }
        closed
    }

    /// Amazon failed, or did not answer. Returns what rests from now on.
    pub fn ill(
        &self,
        seller: SellerId,
        region: Region,
        operation: Operation,
        now: DateTime<Utc>,
    ) -> Vec<Resting> {
        self.failed(&[Scope::Seller(seller), Scope::Operation(region, operation)], seller, now)
    }

    /// Amazon denied the seller access to the operation. Returns what rests from now on.
    pub fn denied(&self, seller: SellerId, operation: Operation, now: DateTime<Utc>) -> Vec<Resting> {
        self.failed(&[Scope::Role(seller, operation)], seller, now)
    }

    fn failed(&self, scopes: &[Scope], seller: SellerId, now: DateTime<Utc>) -> Vec<Resting> {
        let mut circuits = self.lock();
        let mut resting = Vec::new();
        for scope in scopes.iter().copied() {
            let circuit = circuits.entry(scope).or_default();
            circuit.failures = circuit.failures.saturating_add(1);
            circuit.sellers.insert(seller);
            let enough = circuit.failures >= scope.failures() && circuit.sellers.len() >= scope.sellers();
            let (first, longest) = scope.rests();
            let rest = match circuit.open {
                None if enough => first,
                Some(open) if open.probed => (open.rest * 2).min(longest),
                // Too few; or a call that was under way when the circuit opened, which says nothing new.
                _ => continue,
            };
            let until = now + rest;
            circuit.open = Some(Open { rest, until, probed: false });
            resting.push(Resting { scope, until });
        }
        resting
    }

    /// Sets the metric of open circuits.
    pub fn measure(&self) {
        for (scope, open) in self.open() {
            metrics::gauge!("amazon_circuits_open", "scope" => scope).set(f64::from(open));
        }
    }

    /// How many circuits are open, by what they are for.
    fn open(&self) -> HashMap<&'static str, u32> {
        let circuits = self.lock();
        let mut open = HashMap::from([("seller", 0), ("operation", 0), ("role", 0)]);
        for (scope, _) in circuits.iter().filter(|(_, circuit)| circuit.open.is_some()) {
            *open.entry(scope.name()).or_default() += 1;
        }
        open
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Circuit>> {
        // Counters are whole at every moment, whoever panicked.
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn scopes(seller: SellerId, region: Region, operation: Operation) -> [Scope; 3] {
    [Scope::Seller(seller), Scope::Operation(region, operation), Scope::Role(seller, operation)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Operation = Operation::SearchOrders;
    const PATIENCE: TimeDelta = TimeDelta::seconds(60);

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a moment")
    }

    fn ask(circuits: &Circuits, seller: SellerId, at: i64) -> Result<(), Resting> {
        circuits.ask(seller, Region::Eu, SEARCH, PATIENCE, start() + TimeDelta::seconds(at))
    }

    fn ill(circuits: &Circuits, seller: SellerId, at: i64) -> Vec<Scope> {
        let resting = circuits.ill(seller, Region::Eu, SEARCH, start() + TimeDelta::seconds(at));
        resting.into_iter().map(|resting| resting.scope).collect()
    }

    fn until(asked: Result<(), Resting>) -> i64 {
        (asked.expect_err("it rests").until - start()).num_seconds()
    }

    #[test]
    fn some_failures_in_a_row_open_it_and_the_first_answer_closes_it() {
        let (circuits, seller, other) = (Circuits::default(), SellerId::new(), SellerId::new());
        for _ in 0..4 {
            assert_eq!(ill(&circuits, seller, 0), []);
        }
        assert_eq!(circuits.well(seller, Region::Eu, SEARCH), [], "it was not open");
        for _ in 0..4 {
            assert_eq!(ill(&circuits, seller, 0), []);
        }
        assert_eq!(ill(&circuits, seller, 0), [Scope::Seller(seller)]);
        assert_eq!(circuits.open()["seller"], 1);
        assert_eq!(until(ask(&circuits, seller, 14)), 15);
        assert_eq!(ask(&circuits, other, 14), Ok(()), "other sellers are not concerned");

        assert_eq!(ask(&circuits, seller, 15), Ok(()), "one goes ahead");
        assert_eq!(until(ask(&circuits, seller, 15)), 75, "the others wait for what becomes of it");
        assert_eq!(circuits.well(seller, Region::Eu, SEARCH), [Scope::Seller(seller)]);
        assert_eq!(ask(&circuits, seller, 15), Ok(()));
        assert_eq!(circuits.open()["seller"], 0);
    }

    #[test]
    fn each_rest_is_twice_as_long_and_calls_under_way_do_not_count() {
        let (circuits, seller) = (Circuits::default(), SellerId::new());
        for _ in 0..5 {
            ill(&circuits, seller, 0);
        }
        assert_eq!(ill(&circuits, seller, 1), [], "it was under way when the circuit opened");
        let mut at = 15;
        for rest in [30, 60, 120, 240, 300, 300] {
            assert_eq!(ask(&circuits, seller, at), Ok(()));
            assert_eq!(ill(&circuits, seller, at), [Scope::Seller(seller)]);
            assert_eq!(until(ask(&circuits, seller, at)), at + rest);
            at += rest;
        }
        assert_eq!(ask(&circuits, seller, at), Ok(()));
        assert_eq!(ask(&circuits, seller, at + 60), Ok(()), "who went ahead never came back");
    }

    #[test]
    fn an_operation_rests_when_several_sellers_calls_fail() {
        let circuits = Circuits::default();
        let sellers: Vec<_> = (0..12).map(|_| SellerId::new()).collect();
        for seller in &sellers[..9] {
            assert_eq!(ill(&circuits, *seller, 0), []);
        }
        let operation = Scope::Operation(Region::Eu, SEARCH);
        assert_eq!(ill(&circuits, sellers[9], 0), [operation]);
        assert_eq!(ask(&circuits, sellers[10], 0).expect_err("it rests").scope, operation);
        let elsewhere = [(Region::Na, SEARCH), (Region::Eu, Operation::GetReport)];
        for (region, operation) in elsewhere {
            assert_eq!(circuits.ask(sellers[10], region, operation, PATIENCE, start()), Ok(()));
        }
        assert_eq!(ask(&circuits, sellers[11], 15), Ok(()));
        assert_eq!(circuits.well(sellers[11], Region::Eu, SEARCH), [operation]);
        assert_eq!(ask(&circuits, sellers[10], 15), Ok(()));
    }

    #[test]
    fn a_denied_operation_rests_for_that_seller_until_it_is_allowed() {
        let (circuits, seller) = (Circuits::default(), SellerId::new());
        let role = Scope::Role(seller, SEARCH);
        let resting = circuits.denied(seller, SEARCH, start());
        assert_eq!(resting, [Resting { scope: role, until: start() + FIRST_DENIED_REST }]);
        assert_eq!(circuits.denied(seller, SEARCH, start()), [], "it was under way");
        assert_eq!(ask(&circuits, seller, 1_799).expect_err("it rests").scope, role);
        assert_eq!(circuits.ask(seller, Region::Eu, Operation::GetReport, PATIENCE, start()), Ok(()));
        assert_eq!(ask(&circuits, SellerId::new(), 0), Ok(()));
        assert_eq!(ask(&circuits, seller, 1_800), Ok(()));
        assert_eq!(circuits.well(seller, Region::Eu, SEARCH), [role]);
    }

    #[test]
    fn one_sellers_trouble_is_not_the_operations() {
        let (circuits, seller) = (Circuits::default(), SellerId::new());
        for _ in 0..50 {
            ill(&circuits, seller, 0);
        }
        assert_eq!(ask(&circuits, SellerId::new(), 0), Ok(()));
    }
}
