//! Budgets against a plain model, and against what they promise: however many ask, for whichever budgets, in whatever order,
//! and however late they come for their slots, no span of time sees more calls than the plan allows, and a plan is used up.

use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};
use queue::limit::{BELIEVE_RATE, Budget, Budgets, Grant, model::BudgetBook};
use runtime::{
    clock::{Clock, FakeClock},
    testing::TestRedis,
};

use crate::deployment::start;

/// What is asked for, as a set of the three budgets: bit by bit.
type Which = usize;

#[derive(Debug, Clone)]
enum Step {
    Ask {
        which: Which,
        ticket: usize,
    },
    GiveBack {
        which: Which,
        ticket: usize,
    },
    Drain {
        budget: usize,
    },
    Move {
        budget: usize,
        rate: f64,
    },
    Look,
    Wait {
        ms: u64,
    },
    /// The clock is set back: a little, as processes differ, or far.
    Back {
        ms: i64,
    },
}

/// Steps that meet the edges: few tickets, mostly for the first two budgets, at moments that coincide or just miss each other.
fn steps(most: usize, clocks_jump: bool) -> impl Strategy<Value = Vec<Step>> {
    let which = prop::sample::select(vec![1, 1, 1, 2, 3, 3, 3, 4, 6, 7]);
    let budget = prop::sample::select(vec![0, 0, 0, 1, 1, 2]);
    let rate = prop::sample::select(vec![0.3, 0.5, 0.7, 1.0, 1.3, 2.0, 4.0, 10.0]);
    let wait = (0_u64..10, prop::sample::select(vec![0, 0, 1, 137]));
    let jump = u32::from(clocks_jump);
    let step = prop_oneof![
        24 => (which.clone(), 0_usize..9).prop_map(|(which, ticket)| Step::Ask { which, ticket }),
        3 => (which, 0_usize..9).prop_map(|(which, ticket)| Step::GiveBack { which, ticket }),
        2 => budget.clone().prop_map(|budget| Step::Drain { budget }),
        3 => (budget, rate).prop_map(|(budget, rate)| Step::Move { budget, rate }),
        2 => Just(Step::Look),
        12 => wait.prop_map(|(quarters, ms)| Step::Wait { ms: quarters * 250 + ms }),
        jump => prop_oneof![Just(30_000_u64), Just(90_000), Just(90_000_000)].prop_map(|ms| Step::Wait { ms }),
        jump => (0_i64..3_000).prop_map(|ms| Step::Back { ms }),
        jump => prop_oneof![Just(60_000_i64), Just(60_001), Just(3_600_000)].prop_map(|ms| Step::Back { ms }),
    ];
    vec(step, most / 4..most)
}

/// Rate and burst of three budgets.
fn plans() -> impl Strategy<Value = Vec<(f64, u32)>> {
    vec((prop::sample::select(vec![0.5, 1.0, 2.0, 4.0]), 1_u32..6), 3)
}

fn budgets_of(plans: &[(f64, u32)], case: u32) -> Vec<Budget> {
    let numbered = plans.iter().enumerate();
    numbered
        .map(|(n, (rate, burst))| Budget { name: format!("case-{case}-{n}"), rate: *rate, burst: *burst })
        .collect()
}

fn chosen(budgets: &[Budget], which: Which) -> Vec<(usize, Budget)> {
    budgets.iter().cloned().enumerate().filter(|(n, _)| which >> n & 1 == 1).collect()
}

/// What a budget granted, by its own time, which never goes back.
#[derive(Debug)]
struct Trace {
    plan: Budget,
    /// The last moment of its own time, which begins with the first question.
    seen: Option<DateTime<Utc>>,
    /// Since when which rate is in force.
    rates: Vec<(DateTime<Utc>, f64)>,
    believed: Option<DateTime<Utc>>,
    calls: Vec<DateTime<Utc>>,
}

impl Trace {
    fn new(plan: Budget) -> Self {
        Self { seen: None, rates: Vec::new(), believed: None, calls: Vec::new(), plan }
    }

    /// Whether the budget begins anew at this moment, for its clock was set back far.
    fn begins_anew(&self, now: DateTime<Utc>) -> bool {
        self.seen.is_some_and(|seen| seen - now > TimeDelta::minutes(1))
    }

    fn reaches(&mut self, now: DateTime<Utc>, told_now: DateTime<Utc>) {
        if self.begins_anew(told_now) {
            self.check();
            let rate = self.rates.last().expect("it has a rate").1;
            (self.calls, self.rates) = (Vec::new(), vec![(now, rate)]);
        }
        if self.seen.replace(now).is_none() {
            self.rates.push((now, self.plan.rate));
        }
        if self.believed.is_some_and(|until| until <= now) {
            self.believed = None;
            self.rates.push((now, self.plan.rate));
        }
    }

    fn told(&mut self, rate: f64) {
        let now = self.seen.expect("somebody has asked");
        self.rates.push((now, rate));
        self.believed = Some(now + BELIEVE_RATE);
    }

    /// Calls that the rates give from the beginning of the trace until a moment.
    fn given_until(&self, moment: DateTime<Utc>) -> f64 {
        let ends = self.rates.iter().skip(1).map(|(from, _)| *from).chain([moment]);
        self.rates
            .iter()
            .zip(ends)
            .map(|((from, rate), end)| (end.min(moment) - *from).as_seconds_f64().max(0.0) * rate)
            .sum()
    }

    /// Every span of time from one call to another: at most the burst and what the rates give in it.
    fn check(&self) {
        // One over at most where the plan has no burst: nobody could come in the very moment of a slot.
        let burst = f64::from(self.plan.burst.max(2));
        let given: Vec<_> = self.calls.iter().map(|moment| self.given_until(*moment)).collect();
        for first in 0..given.len() {
            for last in first..given.len() {
                let allowed = burst + given[last] - given[first] + 1e-3;
                let seen = f64::from(u32::try_from(last - first + 1).expect("few calls"));
                assert!(
                    seen <= allowed,
                    "{seen} calls from {} to {}, {allowed} allowed: {self:?}",
                    self.calls[first],
                    self.calls[last]
                );
            }
        }
    }
}

/// All traces of a case.
#[derive(Debug)]
struct Traces(Vec<Trace>);

impl Traces {
    /// The time that these budgets have together when a process whose clock shows `now` comes.
    fn reach(&mut self, which: impl IntoIterator<Item = usize> + Clone, now: DateTime<Utc>) {
        let asked = which.clone().into_iter().map(|n| &self.0[n]).filter(|trace| !trace.begins_anew(now));
        let together = asked.filter_map(|trace| trace.seen).fold(now, DateTime::max);
        for n in which {
            self.0[n].reaches(together, now);
        }
    }

    fn granted(&mut self, which: impl IntoIterator<Item = usize>) {
        for n in which {
            let moment = self.0[n].seen;
            self.0[n].calls.extend(moment);
        }
    }

    fn check(&self) {
        self.0.iter().for_each(Trace::check);
    }
}

/// One case on the scripts and the model side by side.
async fn on_both(scripts: &Budgets, clock: &FakeClock, budgets: &[Budget], steps: Vec<Step>) {
    let mut book = BudgetBook::default();
    let mut traces = Traces(budgets.iter().cloned().map(Trace::new).collect());
    for (position, step) in steps.into_iter().enumerate() {
        let now = clock.now();
        let at = format!("step {position}, {step:?} at {now}");
        match step {
            Step::Wait { ms } => clock.advance(Duration::from_millis(ms)),
            Step::Back { ms } => clock.set(now - TimeDelta::milliseconds(ms)),
            Step::Look => {
                assert_eq!(scripts.look(budgets).await.unwrap(), book.look(now, budgets), "{at}");
            }
            Step::Ask { which, ticket } => {
                let (numbers, asked): (Vec<_>, Vec<_>) = chosen(budgets, which).into_iter().unzip();
                let ticket = ticket.to_string();
                let answer = scripts.ask(&asked, &ticket).await.unwrap();
                assert_eq!(answer, book.ask(now, &asked, &ticket), "{at}");
                traces.reach(numbers.iter().copied(), now);
                if answer == Grant::Now {
                    traces.granted(numbers);
                }
            }
            Step::GiveBack { which, ticket } => {
                let (numbers, asked): (Vec<_>, Vec<_>) = chosen(budgets, which).into_iter().unzip();
                let ticket = ticket.to_string();
                let answer = scripts.give_back(&asked, &ticket).await.unwrap();
                assert_eq!(answer, book.give_back(now, &asked, &ticket), "{at}");
                traces.reach(numbers, now);
            }
            Step::Drain { budget: n } => {
                let answer = scripts.drain(&budgets[n]).await.unwrap();
                assert_eq!(answer, book.drain(now, &budgets[n]), "{at}");
                traces.reach([n], now);
                assert!(Some(answer) > traces.0[n].seen, "{at}");
            }
            Step::Move { budget: n, rate } => {
                scripts.move_rate(&budgets[n], rate).await.unwrap();
                book.move_rate(now, &budgets[n], rate);
                traces.reach([n], now);
                traces.0[n].told(rate);
            }
        }
    }
    traces.check();
}

/// One case on the model alone, with what must hold of its answers at each step.
fn on_the_model(budgets: &[Budget], steps: Vec<Step>) {
    let mut book = BudgetBook::default();
    let mut traces = Traces(budgets.iter().cloned().map(Trace::new).collect());
    let mut now = start();
    for step in steps {
        match step {
            Step::Wait { ms } => now += Duration::from_millis(ms),
            Step::Back { .. } => {}
            Step::Look => {
                for (level, budget) in book.look(now, budgets).into_iter().zip(budgets) {
                    assert!(level.calls <= u64::from(budget.burst.max(2)), "{level:?} of {budget:?}");
                    assert_eq!(level.calls > 0, level.next_free_at <= now, "{level:?} at {now}");
                }
            }
            Step::Ask { which, ticket } => {
                let (numbers, asked): (Vec<_>, Vec<_>) = chosen(budgets, which).into_iter().unzip();
                let answer = book.ask(now, &asked, &ticket.to_string());
                traces.reach(numbers.iter().copied(), now);
                match answer {
                    Grant::Now => traces.granted(numbers),
                    Grant::At { moment, waits_for } => {
                        assert!(moment > now && waits_for < asked.len());
                        let again = book.ask(now, &asked, &ticket.to_string());
                        // Of several, one in which a slot was given back may be the shorter one now.
                        assert!(again == answer || asked.len() > 1, "{again:?} after {answer:?}");
                        assert!(matches!(again, Grant::At { moment: later, .. } if later >= moment));
                    }
                }
            }
            Step::GiveBack { which, ticket } => {
                let (numbers, asked): (Vec<_>, Vec<_>) = chosen(budgets, which).into_iter().unzip();
                book.give_back(now, &asked, &ticket.to_string());
                assert_eq!(book.give_back(now, &asked, &ticket.to_string()), 0, "once is enough");
                traces.reach(numbers, now);
            }
            Step::Drain { budget: n } => {
                assert!(book.drain(now, &budgets[n]) > now);
                traces.reach([n], now);
            }
            Step::Move { budget: n, rate } => {
                book.move_rate(now, &budgets[n], rate);
                traces.reach([n], now);
                traces.0[n].told(rate);
            }
        }
    }
    traces.check();
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

#[test]
fn the_scripts_answer_as_the_model_and_no_span_sees_more_than_the_plan() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let redis = runtime.block_on(TestRedis::new());
    let case = Cell::new(0);
    let result = runner(120).run(&(plans(), steps(140, true)), |(plans, steps)| {
        case.set(case.get() + 1);
        let clock = FakeClock::at(start());
        let scripts = Budgets::new(redis.redis.clone(), Arc::new(clock.clone()));
        runtime.block_on(on_both(&scripts, &clock, &budgets_of(&plans, case.get()), steps));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn no_span_sees_more_than_the_plan_in_a_thousand_cases() {
    let result = runner(1_000).run(&(plans(), steps(140, false)), |(plans, steps)| {
        on_the_model(&budgets_of(&plans, 0), steps);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Sellers that share a cap and always want more, with jobs that come up to a fiftieth of a second late for their slots.
#[derive(Debug, Clone)]
struct Crowd {
    sellers: Vec<(f64, u32)>,
    /// The cap's rate, as a share of what all sellers may have together.
    cap: f64,
    cap_burst: u32,
    jobs_of_each: usize,
    late_us: Vec<Index>,
}

fn crowds() -> impl Strategy<Value = Crowd> {
    let seller = (prop::sample::select(vec![0.5, 1.0, 2.0, 5.0]), 2_u32..6);
    (vec(seller, 1..6), 0.3..1.6_f64, 5_u32..20, 3_usize..8, vec(any::<Index>(), 64)).prop_map(
        |(sellers, cap, cap_burst, jobs_of_each, late_us)| Crowd {
            sellers,
            cap,
            cap_burst,
            jobs_of_each,
            late_us,
        },
    )
}

/// Calls granted within the time, and calls that the plans allow in it.
fn work_through(crowd: &Crowd, span: TimeDelta) -> (f64, f64) {
    let rates: f64 = crowd.sellers.iter().map(|(rate, _)| rate).sum();
    let cap = Budget { name: "cap".to_owned(), rate: rates * crowd.cap, burst: crowd.cap_burst };
    let asked: Vec<_> =
        budgets_of(&crowd.sellers, 0).into_iter().map(|seller| [seller, cap.clone()]).collect();
    let mut book = BudgetBook::default();
    let numbers = 0..crowd.sellers.len() * crowd.jobs_of_each;
    let mut waiting: BinaryHeap<_> =
        numbers.map(|job| Reverse((start(), job, job % crowd.sellers.len()))).collect();
    let mut next_job = waiting.len();
    let mut granted = 0.0;
    while let Some(Reverse((now, job, seller))) = waiting.pop() {
        if now >= start() + span {
            break;
        }
        let late_us = crowd.late_us[(granted as usize + job) % crowd.late_us.len()].index(20_000);
        match book.ask(now, &asked[seller], &job.to_string()) {
            Grant::Now => {
                granted += 1.0;
                waiting.push(Reverse((now, next_job, seller)));
                next_job += 1;
            }
            Grant::At { moment, .. } => {
                let late = TimeDelta::microseconds(i64::try_from(late_us).expect("it is short"));
                waiting.push(Reverse((moment + late, job, seller)));
            }
        }
    }
    let allowed = |rate: f64, burst: u32| rate * span.as_seconds_f64() + f64::from(burst);
    let of_sellers: f64 = crowd.sellers.iter().map(|(rate, burst)| allowed(*rate, *burst)).sum();
    (granted, of_sellers.min(allowed(cap.rate, cap.burst)))
}

#[test]
fn at_least_97_percent_of_the_plans_are_used_when_more_is_wanted() {
    let result = runner(150).run(&crowds(), |crowd| {
        let (granted, allowed) = work_through(&crowd, TimeDelta::minutes(5));
        prop_assert!(granted >= allowed * 0.97 && granted <= allowed + 1.0, "{granted} of {allowed}");
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
