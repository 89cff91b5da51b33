//! Budgets: what is asked for is granted now or set aside for later, and taken once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::{
    keys::BudgetKeys,
    limit::{Budget, BudgetError, Budgets, Grant, Level},
};
use redis::AsyncCommands;
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
    Grant::At { moment: start() + TimeDelta::milliseconds(milliseconds), waits_for: 0 }
}

async fn ask(budgets: &Budgets, budget: &Budget, ticket: &str) -> Grant {
    budgets.ask(std::slice::from_ref(budget), ticket).await.unwrap()
}

async fn look(budgets: &Budgets) -> Level {
    budgets.look(&[search_orders()]).await.unwrap().remove(0)
}

async fn calls(budgets: &Budgets, looked_at: &[Budget]) -> Vec<u64> {
    budgets.look(looked_at).await.unwrap().iter().map(|level| level.calls).collect()
}

#[tokio::test]
async fn the_burst_is_granted_then_each_gets_a_moment_of_its_own() {
    let (_queues, budgets) = budgets().await;
    let mut grants = Vec::new();
    for n in 0..5 {
        grants.push(ask(&budgets, &search_orders(), &format!("job-{n}")).await);
    }
    assert_eq!(grants, [Grant::Now, Grant::Now, Grant::Now, at_ms(500), at_ms(1_000)]);
}

#[tokio::test]
async fn who_asks_again_hears_the_same_and_takes_nothing_more() {
    let (queues, budgets) = budgets().await;
    for n in 0..3 {
        ask(&budgets, &search_orders(), &format!("job-{n}")).await;
    }
    for _ in 0..3 {
        assert_eq!(ask(&budgets, &search_orders(), "patient").await, at_ms(500));
        queues.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(ask(&budgets, &search_orders(), "next").await, at_ms(1_000));

    queues.clock.set(start() + TimeDelta::milliseconds(500));
    assert_eq!(ask(&budgets, &search_orders(), "patient").await, Grant::Now);
    assert_eq!(ask(&budgets, &search_orders(), "patient").await, at_ms(1_500), "its slot is used up");
}

#[tokio::test]
async fn who_comes_a_little_late_is_granted_all_the_same() {
    let (queues, budgets) = budgets().await;
    for n in 0..4 {
        ask(&budgets, &search_orders(), &format!("job-{n}")).await;
    }
    queues.clock.advance(Duration::from_millis(900));
    assert_eq!(ask(&budgets, &search_orders(), "job-3").await, Grant::Now);
}

#[tokio::test]
async fn slots_that_nobody_came_for_are_not_saved_up() {
    let (queues, budgets) = budgets().await;
    let tickets: Vec<_> = (0..20).map(|n| format!("job-{n}")).collect();
    for ticket in &tickets {
        ask(&budgets, &search_orders(), ticket).await;
    }
    // All workers were down for a minute: Amazon's bucket holds its burst by now, and not a call more.
    queues.clock.advance(Duration::from_secs(60));
    let mut granted = BTreeSet::new();
    for ticket in &tickets {
        if ask(&budgets, &search_orders(), ticket).await == Grant::Now {
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
                grants.push(ask(&budgets, &search_orders(), &format!("{worker}-{n}")).await);
            }
            grants
        })
    });
    let mut moments = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        moments.extend(worker.await.expect("it does not panic").into_iter().map(|grant| match grant {
            Grant::Now => start(),
            Grant::At { moment, .. } => moment,
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
    assert_eq!(ask(&budgets, &search_orders(), "first").await, Grant::Now);
    assert_eq!(budgets.drain(&search_orders()).await.unwrap(), start() + TimeDelta::milliseconds(500));
    assert_eq!(ask(&budgets, &search_orders(), "second").await, at_ms(500));
    assert_eq!(ask(&budgets, &search_orders(), "third").await, at_ms(1_000));

    // Several refusals at once empty it once.
    let next = budgets.drain(&search_orders()).await.unwrap();
    assert_eq!(budgets.drain(&search_orders()).await.unwrap(), next);
    queues.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&budgets, &search_orders(), "later").await, Grant::Now, "it fills again");
}

#[tokio::test]
async fn refusals_that_come_again_show_that_somebody_else_uses_a_part_of_the_rate() {
    let (queues, budgets) = budgets().await;
    let hour = Duration::from_secs(3_600);
    let refused = async |after: Duration| {
        queues.clock.advance(after);
        budgets.drain(&search_orders()).await.unwrap();
        let level = look(&budgets).await;
        (level.share, level.rate, level.shared_until)
    };
    let alone = (1.0, 2.0, None);
    assert_eq!(refused(Duration::ZERO).await, alone, "once may be chance");
    assert_eq!(refused(Duration::from_secs(59)).await, alone, "of several at once, one counts");
    let until = |seconds| Some(start() + TimeDelta::seconds(seconds));
    assert_eq!(refused(Duration::from_secs(1)).await, (0.75, 1.5, until(3_660)));
    assert_eq!(refused(Duration::from_secs(60)).await, (0.562, 1.124, until(3_720)));
    // The other side's own word about the rate is about the whole of it.
    budgets.move_rate(&search_orders(), 4.0).await.unwrap();
    assert_eq!(look(&budgets).await.rate, 4.0 * 0.562);
    // Quiet for an hour: all of it again.
    queues.clock.advance(hour);
    let level = look(&budgets).await;
    assert_eq!((level.share, level.rate, level.shared_until), (1.0, 4.0, None));
    assert_eq!(refused(Duration::from_secs(1)).await.0, 1.0, "too long after the last one");
    for _ in 0..8 {
        refused(Duration::from_secs(60)).await;
    }
    assert_eq!(look(&budgets).await.share, 0.25, "never less than a quarter");
}

#[tokio::test]
async fn a_bucket_lives_until_the_last_slot_that_it_set_aside() {
    let (queues, budgets) = budgets().await;
    // One call in 1,000 seconds: a hundred slots reach further than the day for which the rate is believed.
    let slow = Budget { name: "createReport:app".to_owned(), rate: 0.001, burst: 1 };
    budgets.move_rate(&slow, 0.001).await.unwrap();
    for n in 0..100 {
        ask(&budgets, &slow, &format!("job-{n}")).await;
    }
    let bucket = BudgetKeys::new(queues.redis().prefix(), &slow.name).bucket;
    let left_ms: i64 = queues.connection().pttl(&bucket).await.unwrap();
    assert!(left_ms > 99_000_000, "forgotten after {left_ms} ms, it would grant a burst too early");
}

#[tokio::test]
async fn what_is_full_again_is_forgotten() {
    let (queues, budgets) = budgets().await;
    for n in 0..5 {
        ask(&budgets, &search_orders(), &format!("job-{n}")).await;
    }
    budgets.give_back(&[search_orders()], "job-4").await.unwrap();
    let keys = BudgetKeys::new(queues.redis().prefix(), &search_orders().name);
    for key in [keys.bucket, keys.slots, keys.free] {
        let left_ms: i64 = queues.connection().pttl(&key).await.unwrap();
        assert!((1..70_000).contains(&left_ms), "{key} lives for {left_ms} ms");
    }
}

#[tokio::test]
async fn budgets_do_not_touch_each_other() {
    let (_queues, budgets) = budgets().await;
    let other = Budget { name: "searchOrders:seller-2".to_owned(), ..search_orders() };
    for n in 0..3 {
        let ticket = format!("job-{n}");
        assert_eq!(ask(&budgets, &search_orders(), &ticket).await, Grant::Now);
        assert_eq!(ask(&budgets, &other, &ticket).await, Grant::Now);
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
        match ask(&budgets, &search_orders(), &job.to_string()).await {
            Grant::Now => {
                granted += 1;
                waiting.push((queues.clock.now(), next_job));
                next_job += 1;
            }
            Grant::At { moment: slot, .. } => waiting.push((slot + TimeDelta::milliseconds(job % 40), job)),
        }
    }
    let plan = 3 + 2 * 300;
    assert!(granted * 100 >= plan * 97 && granted <= plan, "{granted} of {plan}");
}

#[tokio::test]
async fn what_is_given_back_goes_to_who_asks_next() {
    let (queues, budgets) = budgets().await;
    let one = [search_orders()];
    for n in 0..6 {
        ask(&budgets, &search_orders(), &format!("job-{n}")).await;
    }
    assert_eq!(budgets.give_back(&one, "job-3").await.unwrap(), 1);
    assert_eq!(budgets.give_back(&one, "job-4").await.unwrap(), 1);
    assert_eq!(ask(&budgets, &search_orders(), "next").await, at_ms(500), "the earliest first");
    assert_eq!(ask(&budgets, &search_orders(), "and next").await, at_ms(1_000));
    assert_eq!(ask(&budgets, &search_orders(), "and the next").await, at_ms(2_000), "job-5 keeps its own");
    assert_eq!(ask(&budgets, &search_orders(), "job-3").await, at_ms(2_500), "who gave back asks anew");

    // Given back too late, it has run over: the bucket of the other side would not have saved it up.
    queues.clock.advance(Duration::from_secs(60));
    assert_eq!(budgets.give_back(&one, "next").await.unwrap(), 1);
    let mut granted = Vec::new();
    for n in 0..4 {
        granted.push(ask(&budgets, &search_orders(), &format!("late-{n}")).await);
    }
    assert_eq!(granted, [Grant::Now, Grant::Now, Grant::Now, at_ms(60_500)]);
}

#[tokio::test]
async fn giving_back_twice_or_what_nobody_holds_frees_nothing() {
    let (_queues, budgets) = budgets().await;
    let one = [search_orders()];
    for n in 0..4 {
        ask(&budgets, &search_orders(), &format!("job-{n}")).await;
    }
    assert_eq!(budgets.give_back(&one, "job-0").await.unwrap(), 0, "it was granted: that is used");
    assert_eq!(budgets.give_back(&one, "job-3").await.unwrap(), 1);
    assert_eq!(budgets.give_back(&one, "job-3").await.unwrap(), 0);
    assert_eq!(ask(&budgets, &search_orders(), "a").await, at_ms(500));
    assert_eq!(ask(&budgets, &search_orders(), "b").await, at_ms(1_000));
}

#[tokio::test]
async fn looking_tells_the_level_and_changes_nothing() {
    let (queues, budgets) = budgets().await;
    let one = [search_orders()];
    let full = Level {
        calls: 3,
        burst: 3,
        rate: 2.0,
        told_until: None,
        share: 1.0,
        shared_until: None,
        next_free_at: start(),
        set_aside: 0,
    };
    for _ in 0..2 {
        assert_eq!(look(&budgets).await, full);
    }
    let ms = |count| start() + TimeDelta::milliseconds(count);
    for n in 0..5 {
        ask(&budgets, &search_orders(), &format!("job-{n}")).await;
    }
    let used_up = Level { calls: 0, next_free_at: ms(1_500), set_aside: 2, ..full.clone() };
    assert_eq!(look(&budgets).await, used_up);
    budgets.give_back(&one, "job-3").await.unwrap();
    let with_one_back = Level { next_free_at: ms(500), set_aside: 1, ..used_up };
    assert_eq!(look(&budgets).await, with_one_back);

    queues.clock.advance(Duration::from_millis(1_500));
    let later = Level { calls: 2, next_free_at: ms(1_500), set_aside: 1, ..full.clone() };
    assert_eq!(look(&budgets).await, later, "one was given back, one has come, one is held");
    assert_eq!(ask(&budgets, &search_orders(), "job-4").await, Grant::Now);
    queues.clock.advance(Duration::from_secs(60));
    assert_eq!(look(&budgets).await, Level { next_free_at: ms(61_500), ..full });
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_and_nothing_is_taken() {
    let (queues, budgets) = budgets().await;
    let other = Budget { name: "app".to_owned(), ..search_orders() };
    let both = [search_orders(), other.clone()];
    let keys = BudgetKeys::new(queues.redis().prefix(), &other.name);
    let mut connection = queues.connection();
    for key in [keys.bucket, keys.slots, keys.free] {
        let () = connection.set(&key, "garbage").await.unwrap();
        let error = budgets.ask(&both, "job").await.expect_err("it is a string");
        assert!(matches!(error, BudgetError::Redis(_)), "{error}");
        assert!(budgets.drain(&other).await.is_err());
        assert!(budgets.move_rate(&other, 1.0).await.is_err());
        assert!(budgets.give_back(&both, "job").await.is_err());
        assert!(budgets.look(&both).await.is_err());
        let () = connection.del(&key).await.unwrap();
    }
    assert_eq!(calls(&budgets, &both).await, [3, 3]);
}

#[tokio::test]
async fn garbage_in_a_bucket_counts_as_nothing() {
    let (queues, budgets) = budgets().await;
    let keys = BudgetKeys::new(queues.redis().prefix(), &search_orders().name);
    let mut connection = queues.connection();
    for garbage in ["", "text", "nan", "inf", "-inf", "-5", "1e300", "0.5"] {
        for field in ["next", "interval", "told", "believed", "seen", "last"] {
            let () = connection.hset(&keys.bucket, field, garbage).await.unwrap();
        }
        let () = connection.zadd(&keys.slots, "job", "inf").await.unwrap();
        let mut grants = Vec::new();
        for n in 0..4 {
            grants.push(ask(&budgets, &search_orders(), &format!("job-{n}")).await);
        }
        assert_eq!(grants, [Grant::Now, Grant::Now, Grant::Now, at_ms(500)], "{garbage:?}");
        let () = connection.del(&[&keys.bucket, &keys.slots]).await.unwrap();
    }
    // A next moment that nothing which was set aside explains is corrected to an empty bucket.
    let () = connection.hset(&keys.bucket, "next", "7999999999999999").await.unwrap();
    assert_eq!(ask(&budgets, &search_orders(), "job").await, at_ms(500));
}

#[tokio::test]
async fn rates_and_bursts_at_the_bounds_are_granted_in_whole_microseconds() {
    let (_queues, budgets) = budgets().await;
    let budget = |rate, burst| Budget { name: format!("{rate}/{burst}"), rate, burst };
    let mut number = 0;
    for (rate, interval_us) in [
        (1e9, 1),
        (f64::INFINITY, 1),
        (1e6, 1),
        (3.0, 333_334),
        (1e-6, 1_000_000_000_000),
        (1e-9, 1_000_000_000_000),
        (0.0, 1_000_000_000_000),
        (-1.0, 1_000_000_000_000),
        (f64::NAN, 1_000_000_000_000),
    ] {
        let one = budget(rate, 1);
        let mut answers = Vec::new();
        for _ in 0..3 {
            number += 1;
            answers.push(ask(&budgets, &one, &number.to_string()).await);
        }
        let at = |count: i64| Grant::At {
            moment: start() + TimeDelta::microseconds(count * interval_us),
            waits_for: 0,
        };
        assert_eq!(answers, [Grant::Now, at(1), at(2)], "{rate}");

        let many = budget(rate, u32::MAX);
        for n in 0..5 {
            assert_eq!(ask(&budgets, &many, &n.to_string()).await, Grant::Now, "{rate}");
        }
        let left = calls(&budgets, &[many]).await[0];
        // Calls are saved up for 30 years at most.
        assert!(left >= 990 && left <= u64::from(u32::MAX) - 5, "{rate}: {left}");
    }
    let nothing = budget(1.0, 0);
    assert_eq!(ask(&budgets, &nothing, "a").await, Grant::Now, "a burst is at least one");
    assert_eq!(ask(&budgets, &nothing, "b").await, at_ms(1_000));
}
