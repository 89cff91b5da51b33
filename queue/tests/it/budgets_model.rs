//! However many ask, in whatever order, and however late they come for their slots: no window of time ever sees more calls
//! than the plan allows.

use std::{cell::Cell, collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use queue::limit::{Budget, Budgets, Grant};
use runtime::{
    clock::{Clock, FakeClock},
    testing::TestRedis,
};

use crate::deployment::start;

#[derive(Debug, Clone)]
enum Step {
    Ask { ticket: usize },
    Wait { ms: u64 },
    Drain,
}

fn plans() -> impl Strategy<Value = (f64, u32, Vec<Step>)> {
    let step = prop_oneof![
        6 => (0_usize..12).prop_map(|ticket| Step::Ask { ticket }),
        3 => (0_u64..2_500).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Drain),
    ];
    (prop_oneof![Just(0.5), Just(1.0), Just(3.0), Just(10.0)], 1_u32..6, vec(step, 1..80))
}

async fn check(budgets: &Budgets, clock: &FakeClock, budget: &Budget, steps: Vec<Step>) {
    let mut calls: Vec<DateTime<Utc>> = Vec::new();
    let mut slots: BTreeMap<usize, DateTime<Utc>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Wait { ms } => clock.advance(Duration::from_millis(ms)),
            Step::Drain => {
                let next = budgets.drain(budget).await.unwrap();
                assert!(next > clock.now());
            }
            Step::Ask { ticket } => match budgets.ask(budget, &ticket.to_string()).await.unwrap() {
                Grant::Now => {
                    assert!(
                        slots.remove(&ticket).is_none_or(|slot| slot <= clock.now()),
                        "before its moment"
                    );
                    calls.push(clock.now());
                }
                Grant::At(moment) => {
                    assert!(moment > clock.now());
                    let before = slots.insert(ticket, moment).filter(|slot| *slot > clock.now());
                    assert!(
                        before.is_none_or(|slot| slot == moment),
                        "a moment that was set aside has moved"
                    );
                }
            },
        }
    }
    for (first, from) in calls.iter().enumerate() {
        for (last, until) in calls.iter().enumerate().skip(first) {
            #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
            let window_seconds = (*until - *from).num_microseconds().expect("it is short") as f64 / 1e6;
            // One over at most where the plan has no burst: nobody could come in the very moment of a slot.
            let allowed = budget.rate * window_seconds + f64::from(budget.burst.max(2)) + 1e-6;
            let seen = u32::try_from(last - first + 1).expect("few calls");
            assert!(
                f64::from(seen) <= allowed,
                "{seen} calls in {window_seconds} s of {budget:?}: {calls:?}"
            );
        }
    }
}

#[test]
fn no_window_sees_more_than_the_plan_allows() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let redis = runtime.block_on(TestRedis::new());
    let case = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&plans(), |(rate, burst, steps)| {
        case.set(case.get() + 1);
        let budget = Budget { name: format!("case-{}", case.get()), rate, burst };
        let clock = FakeClock::at(start());
        let budgets = Budgets::new(redis.redis.clone(), Arc::new(clock.clone()));
        runtime.block_on(check(&budgets, &clock, &budget, steps));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
