//! Several budgets asked at once: all are taken or none, and only what is short sets a moment aside.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::limit::{Budget, BudgetError, Budgets, Grant, MAX_TOGETHER};

use crate::deployment::{Queues, start};

async fn budgets() -> (Queues, Budgets) {
    let queues = Queues::new().await;
    let budgets = Budgets::new(queues.redis().clone(), Arc::new(queues.clock.clone()));
    (queues, budgets)
}

/// Two a second, three at once.
fn seller(number: u32) -> Budget {
    Budget { name: format!("searchOrders:seller-{number}"), rate: 2.0, burst: 3 }
}

/// Five a second, four at once.
fn application() -> Budget {
    Budget { name: "searchOrders:application".to_owned(), rate: 5.0, burst: 4 }
}

fn of_seller(number: u32) -> [Budget; 2] {
    [seller(number), application()]
}

const SELLER: usize = 0;
const APPLICATION: usize = 1;

fn at_ms(milliseconds: i64, waits_for: usize) -> Grant {
    Grant::At { moment: start() + TimeDelta::milliseconds(milliseconds), waits_for }
}

/// Calls at once, and slots set aside, of each budget.
async fn levels(budgets: &Budgets, looked_at: &[Budget]) -> Vec<(u64, u64)> {
    budgets.look(looked_at).await.unwrap().iter().map(|level| (level.calls, level.set_aside)).collect()
}

#[tokio::test]
async fn both_are_taken_or_none() {
    let (_queues, budgets) = budgets().await;
    for n in 0..3 {
        assert_eq!(budgets.ask(&of_seller(1), &format!("job-{n}")).await.unwrap(), Grant::Now);
    }
    assert_eq!(levels(&budgets, &of_seller(1)).await, [(0, 0), (1, 0)]);

    assert_eq!(budgets.ask(&of_seller(1), "job-3").await.unwrap(), at_ms(500, SELLER));
    assert_eq!(levels(&budgets, &of_seller(1)).await, [(0, 1), (1, 0)], "the application keeps its call");
    assert_eq!(budgets.ask(&of_seller(2), "other").await.unwrap(), Grant::Now, "another seller gets it");

    assert_eq!(budgets.ask(&of_seller(2), "another").await.unwrap(), at_ms(200, APPLICATION));
    assert_eq!(levels(&budgets, &of_seller(2)).await, [(2, 0), (0, 1)], "the seller's own are not touched");
}

#[tokio::test]
async fn at_its_moment_a_ticket_takes_its_slot_and_the_rest() {
    let (queues, budgets) = budgets().await;
    for n in 0..4 {
        budgets.ask(&of_seller(1), &format!("job-{n}")).await.unwrap();
    }
    queues.clock.advance(Duration::from_millis(499));
    assert_eq!(budgets.ask(&of_seller(1), "job-3").await.unwrap(), at_ms(500, SELLER), "not before");
    queues.clock.advance(Duration::from_millis(1));
    assert_eq!(budgets.ask(&of_seller(1), "job-3").await.unwrap(), Grant::Now);
    // Three were used at once, and one now; two and a half came back at the application.
    assert_eq!(levels(&budgets, &of_seller(1)).await, [(0, 0), (2, 0)]);
}

#[tokio::test]
async fn a_slot_far_away_does_not_block_a_cap_with_room() {
    let (_queues, budgets) = budgets().await;
    let slow = Budget { name: "createReport:seller-1".to_owned(), rate: 0.01, burst: 1 };
    let asked = [slow, application()];
    assert_eq!(budgets.ask(&asked, "first").await.unwrap(), Grant::Now);
    for n in 1_u32..=5 {
        let answer = budgets.ask(&asked, &format!("slow-{n}")).await.unwrap();
        assert_eq!(answer, at_ms(100_000 * i64::from(n), SELLER));
    }
    for n in 0..3 {
        assert_eq!(budgets.ask(&of_seller(2), &format!("job-{n}")).await.unwrap(), Grant::Now);
    }
}

#[tokio::test]
async fn a_slot_is_kept_while_it_is_good_and_given_back_where_it_would_run_over() {
    let (queues, budgets) = budgets().await;
    for n in 0..4 {
        budgets.ask(&of_seller(1), &format!("job-{n}")).await.unwrap();
    }
    // Others take what the application has, up to a second ahead.
    let take = async |most: usize| {
        for n in 0..most {
            budgets.ask(&[application()], &format!("crowd-{most}-{n}")).await.unwrap();
        }
    };
    queues.clock.advance(Duration::from_millis(500));
    take(6).await;
    // The seller's slot is good until 1.5 s, and the application's next moment is before that.
    assert_eq!(budgets.ask(&of_seller(1), "job-3").await.unwrap(), at_ms(1_200, APPLICATION));
    assert_eq!(levels(&budgets, &of_seller(1)).await, [(0, 1), (0, 4)]);
    queues.clock.set(start() + TimeDelta::milliseconds(1_200));
    assert_eq!(budgets.ask(&of_seller(1), "job-3").await.unwrap(), Grant::Now, "both slots are good");

    // Now the application is short for longer than the seller's slot is good.
    assert_eq!(budgets.ask(&[seller(1)], "a").await.unwrap(), Grant::Now);
    assert_eq!(budgets.ask(&[seller(1)], "b").await.unwrap(), at_ms(1_500, 0));
    take(20).await;
    let Grant::At { moment, waits_for: APPLICATION } = budgets.ask(&of_seller(1), "b").await.unwrap() else {
        panic!("the application is short")
    };
    assert!(moment > start() + TimeDelta::milliseconds(2_500), "{moment}");
    let levels = budgets.look(&[seller(1)]).await.unwrap();
    assert_eq!(levels[0].set_aside, 0, "given back");
    assert_eq!(levels[0].next_free_at, start() + TimeDelta::milliseconds(1_500), "to whoever comes");
}

#[tokio::test]
async fn giving_back_frees_the_slots_of_all_that_are_named() {
    let (_queues, budgets) = budgets().await;
    for n in 0..3 {
        budgets.ask(&of_seller(1), &format!("job-{n}")).await.unwrap();
    }
    assert_eq!(budgets.ask(&[seller(1)], "job").await.unwrap(), at_ms(500, 0));
    budgets.ask(&[application()], "last").await.unwrap();
    assert_eq!(budgets.ask(&[application()], "job").await.unwrap(), at_ms(200, 0));
    assert_eq!(budgets.give_back(&of_seller(1), "job").await.unwrap(), 2);
    assert_eq!(levels(&budgets, &of_seller(1)).await, [(0, 0), (0, 0)]);
    assert_eq!(budgets.ask(&of_seller(1), "next").await.unwrap(), at_ms(500, SELLER));
    assert_eq!(budgets.ask(&of_seller(2), "next").await.unwrap(), at_ms(200, APPLICATION));
}

#[tokio::test]
async fn none_too_many_or_the_same_twice_are_refused() {
    let (_queues, budgets) = budgets().await;
    let many: Vec<_> = (0..=8).map(seller).collect();
    assert!(budgets.ask(&many[..MAX_TOGETHER], "job").await.unwrap() == Grant::Now);
    for wrong in [&many[..], &[], &[seller(1), application(), seller(1)]] {
        assert!(matches!(budgets.ask(wrong, "job").await, Err(BudgetError::Together)));
        assert!(matches!(budgets.give_back(wrong, "job").await, Err(BudgetError::Together)));
        assert!(matches!(budgets.look(wrong).await, Err(BudgetError::Together)));
    }
}
