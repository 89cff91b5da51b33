//! Budgets whose rate moves while moments are set aside, and clocks that jump.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::limit::{BELIEVE_RATE, Budget, Budgets, Grant};

use crate::deployment::{Queues, start};

async fn budgets() -> (Queues, Budgets) {
    let queues = Queues::new().await;
    let budgets = Budgets::new(queues.redis().clone(), Arc::new(queues.clock.clone()));
    (queues, budgets)
}

/// One a second, three at once.
fn search_orders() -> Budget {
    Budget { name: "searchOrders:seller-1".to_owned(), rate: 1.0, burst: 3 }
}

fn at_ms(milliseconds: i64) -> Grant {
    Grant::At { moment: start() + TimeDelta::milliseconds(milliseconds), waits_for: 0 }
}

async fn ask(budgets: &Budgets, ticket: &str) -> Grant {
    budgets.ask(&[search_orders()], ticket).await.unwrap()
}

/// Asks for tickets called `first` and up.
async fn ask_many(budgets: &Budgets, first: usize, count: usize) -> Vec<Grant> {
    let mut grants = Vec::new();
    for n in first..first + count {
        grants.push(ask(budgets, &format!("job-{n}")).await);
    }
    grants
}

#[tokio::test]
async fn what_was_used_stays_used_in_calls() {
    let (_queues, budgets) = budgets().await;
    ask_many(&budgets, 0, 2).await;
    budgets.move_rate(&search_orders(), 4.0).await.unwrap();
    assert_eq!(ask_many(&budgets, 2, 3).await, [Grant::Now, at_ms(250), at_ms(500)]);
}

#[tokio::test]
async fn a_told_rate_is_believed_for_a_day() {
    let (queues, budgets) = budgets().await;
    budgets.move_rate(&search_orders(), 4.0).await.unwrap();
    let told = &budgets.look(&[search_orders()]).await.unwrap()[0];
    let until = start() + TimeDelta::from_std(BELIEVE_RATE).expect("a day");
    assert_eq!((told.rate, told.told_until), (4.0, Some(until)));

    queues.clock.set(until - TimeDelta::milliseconds(1));
    assert_eq!(ask_many(&budgets, 0, 4).await[3], at_ms(86_400_000 - 1 + 250));
    queues.clock.set(until);
    let documented = &budgets.look(&[search_orders()]).await.unwrap()[0];
    assert_eq!((documented.rate, documented.told_until), (1.0, None));
    assert_eq!(ask(&budgets, "job-3").await, at_ms(86_400_000 + 996), "249 ms were 0.996 calls");
    assert_eq!(ask(&budgets, "next").await, at_ms(86_400_000 + 1_996));
}

#[tokio::test]
async fn after_a_rise_promises_are_kept_and_the_room_between_them_is_used() {
    let (queues, budgets) = budgets().await;
    assert_eq!(ask_many(&budgets, 0, 5).await[3..], [at_ms(1_000), at_ms(2_000)]);
    budgets.move_rate(&search_orders(), 4.0).await.unwrap();
    assert_eq!(ask_many(&budgets, 3, 2).await, [at_ms(1_000), at_ms(2_000)], "as they were promised");
    let between = [250, 500, 750, 1_250, 1_500, 1_750, 2_250].map(at_ms);
    assert_eq!(ask_many(&budgets, 5, 7).await, between);
    queues.clock.advance(Duration::from_millis(1_000));
    assert_eq!(ask(&budgets, "job-3").await, Grant::Now);
}

#[tokio::test]
async fn after_a_rise_that_leaves_no_room_between_promises_who_comes_is_behind_them() {
    let (_queues, budgets) = budgets().await;
    // A long line and a short one: a question looks at a hundred slots, and then goes to the end.
    for line in [20, 250] {
        let budget = [Budget { name: format!("line-{line}"), ..search_orders() }];
        let ask = async |ticket: String| budgets.ask(&budget, &ticket).await.unwrap();
        for n in 0..3 + line {
            ask(format!("job-{n}")).await;
        }
        budgets.move_rate(&budget[0], 1.25).await.unwrap();
        assert_eq!(ask("new".to_owned()).await, at_ms(line * 1_000 + 800), "a line of {line}");
        assert_eq!(ask("newer".to_owned()).await, at_ms(line * 1_000 + 1_600));
    }
}

#[tokio::test]
async fn after_a_fall_promises_move_apart_and_keep_their_order() {
    let (queues, budgets) = budgets().await;
    assert_eq!(ask_many(&budgets, 0, 6).await[3..], [at_ms(1_000), at_ms(2_000), at_ms(3_000)]);
    budgets.move_rate(&search_orders(), 0.25).await.unwrap();
    let moved = [at_ms(4_000), at_ms(8_000), at_ms(12_000)];
    assert_eq!(ask_many(&budgets, 3, 3).await, moved, "a call in four seconds");
    assert_eq!(ask(&budgets, "new").await, at_ms(16_000), "who comes now is behind them");

    // A rate that goes up and down again does not drive them further each time.
    for rate in [1.0, 0.25, 1.0, 0.25] {
        queues.clock.advance(Duration::from_millis(100));
        budgets.move_rate(&search_orders(), rate).await.unwrap();
        assert_eq!(ask_many(&budgets, 3, 3).await, moved);
    }
}

#[tokio::test]
async fn after_a_fall_the_first_500_keep_their_places_and_the_others_ask_anew() {
    let (queues, budgets) = budgets().await;
    ask_many(&budgets, 0, 603).await;
    budgets.move_rate(&search_orders(), 0.5).await.unwrap();
    assert_eq!(budgets.look(&[search_orders()]).await.unwrap()[0].set_aside, 500);
    assert_eq!(ask(&budgets, "job-502").await, at_ms(1_000_000), "the 500th");
    queues.clock.advance(Duration::from_secs(501));
    assert_eq!(ask(&budgets, "job-503").await, at_ms(1_002_000), "it comes at its old moment");
}

#[tokio::test]
async fn a_documented_rate_that_changes_with_a_release_moves_the_budget_too() {
    let (_queues, budgets) = budgets().await;
    assert_eq!(ask_many(&budgets, 0, 4).await[3], at_ms(1_000));
    let faster = [Budget { rate: 4.0, ..search_orders() }];
    assert_eq!(budgets.ask(&faster, "new").await.unwrap(), at_ms(250));
    assert_eq!(budgets.ask(&faster, "job-3").await.unwrap(), at_ms(1_000));
}

#[tokio::test]
async fn a_clock_that_goes_back_a_little_is_waited_for() {
    let (queues, budgets) = budgets().await;
    assert_eq!(ask_many(&budgets, 0, 4).await[3], at_ms(1_000));
    for back_ms in [1, 5_000, 60_000] {
        queues.clock.set(start() - TimeDelta::milliseconds(back_ms));
        assert_eq!(ask(&budgets, "job-3").await, at_ms(1_000), "back {back_ms} ms");
    }
    assert_eq!(ask(&budgets, "new").await, at_ms(2_000));
}

#[tokio::test]
async fn a_clock_that_goes_back_far_is_believed_and_the_bucket_is_empty() {
    let (queues, budgets) = budgets().await;
    ask_many(&budgets, 0, 10).await;
    queues.clock.set(start() - TimeDelta::days(1));
    let day_ms = 86_400_000;
    let level = &budgets.look(&[search_orders()]).await.unwrap()[0];
    assert_eq!((level.calls, level.set_aside), (0, 0));
    assert_eq!(level.next_free_at, start() + TimeDelta::milliseconds(1_000 - day_ms));
    assert_eq!(ask(&budgets, "job-5").await, at_ms(1_000 - day_ms), "not a day later");
    queues.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&budgets, "job-5").await, Grant::Now);
}

#[tokio::test]
async fn a_clock_that_jumps_on_saves_up_no_more_than_the_burst() {
    let (queues, budgets) = budgets().await;
    ask_many(&budgets, 0, 10).await;
    queues.clock.advance(Duration::from_secs(7 * 86_400));
    let grants = ask_many(&budgets, 0, 10).await;
    assert_eq!(grants.iter().filter(|grant| **grant == Grant::Now).count(), 3);
    assert_eq!(grants[3], at_ms(7 * 86_400_000 + 1_000));
}
