//! Amazon: usage plans as it documents them, for each seller and operation and for our application, and the time that an
//! answer takes.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use jobs::sp_api::{Operation, Region, operations::UsagePlan};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

/// Every hundredth answer is slow.
const SLOW: f64 = 0.01;

/// Amazon, as far as a client can tell.
#[derive(Debug)]
pub(crate) struct Amazon {
    origin: Instant,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    random: StdRng,
    /// By seller and operation; by region where it is our application's.
    buckets: BTreeMap<(Holder, Operation), Bucket>,
    calls: BTreeMap<Operation, u64>,
    throttled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Seller(u32),
    Application(u8),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    calls: f64,
    at: f64,
}

/// The bucket was empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttled;

impl Amazon {
    pub(crate) fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ 0x00a3_a20e);
        let state = State { random, buckets: BTreeMap::new(), calls: BTreeMap::new(), throttled: 0 };
        Self { origin: Instant::now(), state: RefCell::new(state) }
    }

    /// One call: travels, is counted against the plans, is answered.
    pub(crate) async fn call(
        &self,
        seller: u32,
        region: Region,
        operation: Operation,
    ) -> Result<(), Throttled> {
        let (there, back) = self.state.borrow_mut().travel();
        tokio::time::sleep(there).await;
        let taken =
            self.state.borrow_mut().take(seller, region, operation, self.origin.elapsed().as_secs_f64());
        tokio::time::sleep(back).await;
        taken
    }

    /// How often each operation was called since the last time this was asked.
    pub(crate) fn take_calls(&self) -> BTreeMap<Operation, u64> {
        std::mem::take(&mut self.state.borrow_mut().calls)
    }

    /// How many calls found their bucket empty.
    pub(crate) fn throttled(&self) -> u64 {
        self.state.borrow().throttled
    }
}

impl State {
    fn travel(&mut self) -> (Duration, Duration) {
        let factor = if self.random.random::<f64>() < SLOW { 10 } else { 1 };
        let milliseconds = |random: &mut StdRng| Duration::from_millis(random.random_range(30..200) * factor);
        (milliseconds(&mut self.random), milliseconds(&mut self.random))
    }

    fn take(&mut self, seller: u32, region: Region, operation: Operation, now: f64) -> Result<(), Throttled> {
        *self.calls.entry(operation).or_default() += 1;
        let entry = operation.entry();
        let limits = [
            Some((Holder::Seller(seller), entry.plan)),
            entry.application_plan.map(|plan| (Holder::Application(region as u8), plan)),
        ];
        let mut result = Ok(());
        for (holder, plan) in limits.into_iter().flatten() {
            let bucket = self.buckets.entry((holder, operation)).or_insert(Bucket::full(plan, now));
            if !bucket.take(plan, now) {
                result = Err(Throttled);
            }
        }
        self.throttled += u64::from(result.is_err());
        result
    }
}

impl Bucket {
    fn full(plan: UsagePlan, at: f64) -> Self {
        Self { calls: f64::from(plan.burst), at }
    }

    fn take(&mut self, plan: UsagePlan, now: f64) -> bool {
        self.calls = (self.calls + (now - self.at) * plan.rate).min(f64::from(plan.burst));
        self.at = now;
        if self.calls < 1.0 {
            return false;
        }
        self.calls -= 1.0;
        true
    }
}
