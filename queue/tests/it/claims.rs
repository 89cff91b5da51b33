//! Claims: groups take turns, nobody starves, and never more is taken than was asked for.

use queue::{KnownKinds, WorkerId, envelope::Envelope, lease::MAX_CLAIM};
use redis::AsyncCommands;

use crate::deployment::{QUEUE, Queues, both, envelope, envelopes, ids_of, seconds, start};

both! {
    async fn groups_take_turns_and_each_keeps_its_order(queues) {
        let (a, b, c) = (envelopes("a", 3), envelopes("b", 1), envelopes("c", 2));
        queues.push(&[a.clone(), b.clone(), c.clone()].concat()).await;

        let worker = WorkerId::new();
        assert_eq!(queues.claim(worker, 3).await, [a[0].id, b[0].id, c[0].id]);
        // Two groups are left for three places: the first in turn gives two.
        assert_eq!(queues.claim(worker, 3).await, [a[1].id, a[2].id, c[1].id]);
        assert_eq!(queues.claim(worker, 3).await, []);
        assert_eq!(queues.engine.depth(QUEUE).await.unwrap().turns, 0);
    }

    async fn a_whale_does_not_starve_the_others(queues) {
        let whale = envelopes("whale", 1_000);
        queues.push(&whale).await;
        let minnows = [envelope("minnow"), envelope("shrimp")];
        queues.push(&minnows).await;

        let taken = queues.claim(WorkerId::new(), 9).await;
        let whale = ids_of(&whale);
        let expected = [&whale[..3], &ids_of(&minnows), &whale[3..7]].concat();
        assert_eq!(taken, expected, "three of each group in turn, then what is left of the places");
    }

    async fn a_group_that_comes_late_waits_one_round_at_most(queues) {
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

    async fn a_large_claim_takes_several_of_a_group_at_a_time(queues) {
        let groups: Vec<_> = (0..40).map(|n| envelopes(&format!("seller-{n}"), 20)).collect();
        queues.push(&groups[..25].concat()).await;
        queues.push(&groups[25..].concat()).await;
        let taken = queues.claim(WorkerId::new(), 160).await;
        let expected: Vec<_> = groups[..16].iter().flat_map(|group| ids_of(&group[..10])).collect();
        assert_eq!(taken, expected, "sixteen groups give ten each");
    }

    async fn no_claim_takes_more_than_was_asked_or_than_the_limit(queues) {
        let all = envelopes("a", MAX_CLAIM + 44);
        queues.push(&all).await;
        let worker = WorkerId::new();
        assert_eq!(queues.claim(worker, 0).await, []);
        assert_eq!(queues.claim(worker, 2).await, ids_of(&all[..2]));
        assert_eq!(queues.claim(worker, 10_000).await, ids_of(&all[2..MAX_CLAIM + 2]));
        assert_eq!(queues.claim(worker, 10_000).await, ids_of(&all[MAX_CLAIM + 2..]));
    }

    async fn nothing_ready_is_an_empty_answer_and_leaves_nothing_behind(queues) {
        assert_eq!(queues.claim(WorkerId::new(), 10).await, []);
        assert_eq!(queues.engine.depth(QUEUE).await.unwrap().workers, 0);
    }

    async fn the_token_grows_though_the_clock_stands_or_goes_back(queues) {
        queues.push(&envelopes("a", 3)).await;
        let worker = WorkerId::new();
        let mut tokens = Vec::new();
        for _ in 0..3 {
            tokens.push(queues.engine.claim(QUEUE, worker, 1, &KnownKinds::all()).await.unwrap().fence);
            queues.clock.set(start() - seconds(3_600));
        }
        assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
    }

    async fn names_and_payloads_of_any_bytes_come_back_as_they_were(queues) {
        let odd = Envelope { group: "ü\n{%s}:*".to_owned(), payload: (0..=255).collect(), ..envelope("x") };
        queues.push(std::slice::from_ref(&odd)).await;
        let claimed = queues.engine.claim(QUEUE, WorkerId::new(), 1, &KnownKinds::all()).await.unwrap();
        assert_eq!(Envelope::decode(&claimed.entries[0]), Ok(odd));
    }

    async fn a_queue_that_lost_its_data_stays_closed_until_its_controls_are_known(queues) {
        let job = envelope("a");
        queues.flush().await;
        queues.push(std::slice::from_ref(&job)).await;
        assert!(!queues.engine.is_open(QUEUE).await.unwrap());
        assert_eq!(queues.claim(WorkerId::new(), 1).await, [], "it may be paused: nobody knows yet");
        queues.open().await;
        assert_eq!(queues.claim(WorkerId::new(), 1).await, [job.id]);
    }
}

#[tokio::test]
async fn an_entry_without_an_id_is_shown_once_and_is_gone() {
    let queues = Queues::new().await;
    let good = envelope("a");
    queues.push(std::slice::from_ref(&good)).await;
    let mut connection = queues.connection();
    connection.lpush::<_, _, ()>(queues.keys.lane(&good.lane()), b"short").await.unwrap();

    let worker = WorkerId::new();
    let claimed = queues.engine.claim(QUEUE, worker, 5, &KnownKinds::all()).await.unwrap();
    assert_eq!(claimed.entries, [b"short".to_vec(), good.encode()]);
    // Nothing could ever end its lease: there is no id to end it by.
    assert_eq!(queues.leased(worker).await, [good.id].into());
}

#[tokio::test]
async fn a_group_whose_lane_is_gone_does_not_stop_the_others() {
    let queues = Queues::new().await;
    let (a, b) = (envelope("a"), envelope("b"));
    queues.push(&[a.clone(), b.clone()]).await;
    queues.connection().del::<_, ()>(queues.keys.lane(&a.lane())).await.unwrap();
    assert_eq!(queues.claim(WorkerId::new(), 5).await, [b.id]);
    assert_eq!(queues.engine.depth(QUEUE).await.unwrap().turns, 0);
}
