//! Claims: groups take turns, nobody starves, and never more is taken than was asked for.

use queue::{WorkerId, envelope::Envelope, lease::MAX_CLAIM};
use redis::AsyncCommands;

use crate::deployment::{QUEUE, Queues, envelope, envelopes, ids_of};

#[tokio::test]
async fn groups_take_turns_and_each_keeps_its_order() {
    let queues = Queues::new().await;
    let (a, b, c) = (envelopes("a", 3), envelopes("b", 1), envelopes("c", 2));
    queues.push(&[a.clone(), b.clone(), c.clone()].concat()).await;

    let worker = WorkerId::new();
    assert_eq!(queues.claim(worker, 3).await, [a[0].id, b[0].id, c[0].id]);
    // Two groups are left for three places: the first in turn gives two.
    assert_eq!(queues.claim(worker, 3).await, [a[1].id, a[2].id, c[1].id]);
    assert_eq!(queues.claim(worker, 3).await, []);
    assert_eq!(queues.engine.depth(QUEUE).await.unwrap().groups, 0);
}

#[tokio::test]
async fn a_whale_does_not_starve_the_others() {
    let queues = Queues::new().await;
    let whale = envelopes("whale", 1_000);
    queues.push(&whale).await;
    let minnows = [envelope("minnow"), envelope("shrimp")];
    queues.push(&minnows).await;

    let taken = queues.claim(WorkerId::new(), 9).await;
    let whale = ids_of(&whale);
    let expected = [&whale[..3], &ids_of(&minnows), &whale[3..7]].concat();
    assert_eq!(taken, expected, "three of each group in turn, then what is left of the places");
}

#[tokio::test]
async fn a_group_that_comes_late_waits_one_round_at_most() {
    let queues = Queues::new().await;
    let (a, b) = (envelopes("a", 4), envelopes("b", 4));
    queues.push(&[a.clone(), b.clone()].concat()).await;
    let worker = WorkerId::new();
    assert_eq!(queues.claim(worker, 1).await, [a[0].id]);
    let late = envelope("late");
    queues.push(std::slice::from_ref(&late)).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(queues.claim(worker, 1).await);
    }
    assert_eq!(order, [b[0].id, a[1].id, late.id]);
}

#[tokio::test]
async fn no_claim_takes_more_than_was_asked_or_than_the_limit() {
    let queues = Queues::new().await;
    let all = envelopes("a", MAX_CLAIM + 44);
    queues.push(&all).await;
    let worker = WorkerId::new();
    assert_eq!(queues.claim(worker, 0).await, []);
    assert_eq!(queues.claim(worker, 2).await, ids_of(&all[..2]));
    assert_eq!(queues.claim(worker, 10_000).await, ids_of(&all[2..MAX_CLAIM + 2]));
    assert_eq!(queues.claim(worker, 10_000).await, ids_of(&all[MAX_CLAIM + 2..]));
}

#[tokio::test]
async fn nothing_ready_is_an_empty_answer_and_leaves_nothing_behind() {
    let queues = Queues::new().await;
    let claimed = queues.engine.claim(QUEUE, WorkerId::new(), 10).await.unwrap();
    assert!(claimed.entries.is_empty());
    assert_eq!(queues.workers().await, []);
}

#[tokio::test]
async fn the_token_grows_though_the_clock_stands_or_goes_back() {
    let queues = Queues::new().await;
    queues.push(&envelopes("a", 3)).await;
    let worker = WorkerId::new();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(queues.engine.claim(QUEUE, worker, 1).await.unwrap().fence);
        queues.clock.set(crate::deployment::start() - crate::deployment::seconds(3_600));
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[tokio::test]
async fn an_entry_without_an_id_is_shown_once_and_is_gone() {
    let queues = Queues::new().await;
    let mut connection = queues.engine.redis().connection();
    let list = format!("{}a", queues.keys.groups());
    connection.rpush::<_, _, ()>(&list, b"short").await.unwrap();
    connection.rpush::<_, _, ()>(queues.keys.ring(), "a").await.unwrap();

    let worker = WorkerId::new();
    let claimed = queues.engine.claim(QUEUE, worker, 5).await.unwrap();
    assert_eq!(claimed.entries, [b"short".to_vec()]);
    // Nothing could ever end its lease: there is no id to end it by.
    let leased: usize = connection.hlen(queues.keys.lease(worker)).await.unwrap();
    assert_eq!(leased, 0);
}

#[tokio::test]
async fn a_group_whose_list_is_gone_does_not_stop_the_others() {
    let queues = Queues::new().await;
    let (a, b) = (envelope("a"), envelope("b"));
    queues.push(&[a, b.clone()]).await;
    queues.engine.redis().connection().del::<_, ()>(format!("{}a", queues.keys.groups())).await.unwrap();
    assert_eq!(queues.claim(WorkerId::new(), 5).await, [b.id]);
}

#[tokio::test]
async fn names_and_payloads_of_any_bytes_come_back_as_they_were() {
    let queues = Queues::new().await;
    let odd = Envelope { group: "ü\n{%s}:*".to_owned(), payload: (0..=255).collect(), ..envelope("x") };
    queues.push(std::slice::from_ref(&odd)).await;
    let claimed = queues.engine.claim(QUEUE, WorkerId::new(), 1).await.unwrap();
    assert_eq!(Envelope::decode(&claimed.entries[0]), Ok(odd));
}
