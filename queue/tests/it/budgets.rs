//! Budgets: what is asked for is granted now or set aside for later, and taken once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::limit::{Budget, Budgets, Grant};
use runtime::clock::Clock;

use crate::deployment::{Queues, seconds, start};

/// Two a second, three at once.
fn search_orders() -> Budget {
    Budget { name: "searchOrders:seller-1".to_owned(), rate: 2.0, burst: 3 }
}

async fn budgets() -> (Queues, Budgets) {
    let queues = Queues::new().await;
    let budgets = Budgets::new(queues.redis().clone(), Arc::new(queues.clock.clone()));
    (queues, budgets)
}

fn at_ms(milliseconds: i64) -> Grant {
    Grant::At(start() + TimeDelta::milliseconds(milliseconds))
}

#[tokio::test]
async fn the_burst_is_granted_then_each_gets_a_moment_of_its_own() {
    let (_queues, budgets) = budgets().await;
    let mut grants = Vec::new();
    for n in 0..5 {
        grants.push(budgets.ask(&search_orders(), &format!("job-{n}")).await.unwrap());
    }
    assert_eq!(grants, [Grant::Now, Grant::Now, Grant::Now, at_ms(500), at_ms(1_000)]);
}

#[tokio::test]
async fn who_asks_again_hears_the_same_and_takes_nothing_more() {
    let (queues, budgets) = budgets().await;
    for n in 0..3 {
        budgets.ask(&search_orders(), &format!("job-{n}")).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(budgets.ask(&search_orders(), "patient").await.unwrap(), at_ms(500));
        queues.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(budgets.ask(&search_orders(), "next").await.unwrap(), at_ms(1_000));

    queues.clock.set(start() + TimeDelta::milliseconds(500));
    assert_eq!(budgets.ask(&search_orders(), "patient").await.unwrap(), Grant::Now);
    assert_eq!(budgets.ask(&search_orders(), "patient").await.unwrap(), at_ms(1_500), "its slot is used up");
}

#[tokio::test]
async fn who_comes_a_little_late_is_granted_all_the_same() {
    let (queues, budgets) = budgets().await;
    for n in 0..4 {
        budgets.ask(&search_orders(), &format!("job-{n}")).await.unwrap();
    }
    queues.clock.advance(Duration::from_millis(900));
    assert_eq!(budgets.ask(&search_orders(), "job-3").await.unwrap(), Grant::Now);
}

#[tokio::test]
async fn slots_that_nobody_came_for_are_not_saved_up() {
    let (queues, budgets) = budgets().await;
    let tickets: Vec<_> = (0..20).map(|n| format!("job-{n}")).collect();
    for ticket in &tickets {
        budgets.ask(&search_orders(), ticket).await.unwrap();
    }
    // All workers were down for a minute: Amazon's bucket holds its burst by now, and not a call more.
    queues.clock.advance(Duration::from_secs(60));
    let mut granted = BTreeSet::new();
    for ticket in &tickets {
        if budgets.ask(&search_orders(), ticket).await.unwrap() == Grant::Now {
            granted.insert(ticket.as_str());
        }
    }
    assert_eq!(granted, BTreeSet::from(["job-0", "job-1", "job-2"]));
}

#[tokio::test]
async fn four_who_ask_at_once_take_each_slot_once() {
    let (_queues, budgets) = budgets().await;
    let workers = (0..4).map(|worker| {
        let budgets = budgets.clone();
        tokio::spawn(async move {
            let mut grants = Vec::new();
            for n in 0..25 {
                grants.push(budgets.ask(&search_orders(), &format!("{worker}-{n}")).await.unwrap());
            }
            grants
        })
    });
    let mut moments = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        moments.extend(worker.await.expect("it does not panic").into_iter().map(|grant| match grant {
            Grant::Now => start(),
            Grant::At(moment) => moment,
        }));
    }
    moments.sort_unstable();
    let expected: Vec<_> =
        (0..100).map(|n: i64| start() + TimeDelta::milliseconds(500 * (n - 2).max(0))).collect();
    assert_eq!(moments, expected);
}

#[tokio::test]
async fn a_refusal_by_the_other_side_empties_the_budget() {
    let (queues, budgets) = budgets().await;
    assert_eq!(budgets.ask(&search_orders(), "first").await.unwrap(), Grant::Now);
    assert_eq!(budgets.drain(&search_orders()).await.unwrap(), start() + TimeDelta::milliseconds(500));
    assert_eq!(budgets.ask(&search_orders(), "second").await.unwrap(), at_ms(500));
    assert_eq!(budgets.ask(&search_orders(), "third").await.unwrap(), at_ms(1_000));

    // Several refusals at once empty it once.
    let next = budgets.drain(&search_orders()).await.unwrap();
    assert_eq!(budgets.drain(&search_orders()).await.unwrap(), next);
    queues.clock.advance(Duration::from_secs(60));
    assert_eq!(budgets.ask(&search_orders(), "later").await.unwrap(), Grant::Now, "it fills again");
}

#[tokio::test]
async fn the_other_sides_rate_is_believed_for_a_day() {
    let (queues, budgets) = budgets().await;
    budgets.move_rate(&search_orders(), 4.0).await.unwrap();
    let mut grants = Vec::new();
    for n in 0..5 {
        grants.push(budgets.ask(&search_orders(), &format!("job-{n}")).await.unwrap());
    }
    assert_eq!(grants[3..], [at_ms(250), at_ms(500)]);

    let bucket = queue::keys::BudgetKeys::new(queues.redis().prefix(), &search_orders().name).bucket;
    let left_ms: i64 = redis::AsyncCommands::pttl(&mut queues.connection(), &bucket).await.unwrap();
    assert!((86_000_000..=86_400_000).contains(&left_ms), "{left_ms}");
}

#[tokio::test]
async fn a_bucket_lives_until_the_last_slot_that_it_set_aside() {
    let (queues, budgets) = budgets().await;
    // One call in 1,000 seconds: a hundred slots reach further than the day for which the rate is believed.
    let slow = Budget { name: "createReport:app".to_owned(), rate: 0.001, burst: 1 };
    budgets.move_rate(&slow, 0.001).await.unwrap();
    for n in 0..100 {
        budgets.ask(&slow, &format!("job-{n}")).await.unwrap();
    }
    let bucket = queue::keys::BudgetKeys::new(queues.redis().prefix(), &slow.name).bucket;
    let left_ms: i64 = redis::AsyncCommands::pttl(&mut queues.connection(), &bucket).await.unwrap();
    assert!(left_ms > 99_000_000, "forgotten after {left_ms} ms, it would grant a burst too early");
}

#[tokio::test]
async fn budgets_do_not_touch_each_other() {
    let (_queues, budgets) = budgets().await;
    let other = Budget { name: "searchOrders:seller-2".to_owned(), ..search_orders() };
    for n in 0..3 {
        let ticket = format!("job-{n}");
        assert_eq!(budgets.ask(&search_orders(), &ticket).await.unwrap(), Grant::Now);
        assert_eq!(budgets.ask(&other, &ticket).await.unwrap(), Grant::Now);
    }
}

/// Four workers that always have something to ask for, and come back a little after their moments, as through a queue.
#[tokio::test]
async fn at_least_97_percent_of_a_plan_are_used_when_more_is_wanted() {
    let (queues, budgets) = budgets().await;
    let end = start() + seconds(300);
    let mut waiting: Vec<_> = (0..12).map(|job| (start(), job)).collect();
    let mut next_job = 12;
    let mut granted = 0_u32;
    while let Some(position) = (0..waiting.len()).min_by_key(|n| waiting[*n]) {
        let (moment, job) = waiting.swap_remove(position);
        if moment >= end {
            break;
        }
        queues.clock.set(moment.max(queues.clock.now()));
        match budgets.ask(&search_orders(), &job.to_string()).await.unwrap() {
            Grant::Now => {
                granted += 1;
                waiting.push((queues.clock.now(), next_job));
                next_job += 1;
            }
            Grant::At(slot) => waiting.push((slot + TimeDelta::milliseconds(job % 40), job)),
        }
    }
    let plan = 3 + 2 * 300;
    assert!(granted * 100 >= plan * 97 && granted <= plan, "{granted} of {plan}");
}
