//! Pauses and limits: what may not run stays where it is, without being fetched and put back, and runs as soon as it may.

use queue::{Controls, JobId, WorkerId, envelope::Envelope, lease::Ended};

use crate::deployment::{QUEUE, Queues, both, envelope, envelopes, ids_of, seconds};

async fn control(queues: &Queues, change: impl FnOnce(&mut Controls)) {
    let mut controls = Controls::default();
    change(&mut controls);
    queues.engine.control(QUEUE, &controls).await.unwrap();
}

fn of(kind: &str, group: &str, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| Envelope { kind: kind.to_owned(), ..envelope(group) }).collect()
}

both! {
    async fn a_paused_queue_gives_nothing_until_it_is_resumed(queues) {
        let jobs = envelopes("a", 2);
        queues.push(&jobs).await;
        control(&queues, |controls| controls.paused = true).await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, []);
        control(&queues, |_| {}).await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, ids_of(&jobs));
    }

    async fn a_paused_kind_lets_the_others_pass_and_keeps_its_order(queues) {
        let (paused, other) = (of("count_stock", "a", 3), of("move_stock", "a", 2));
        queues.push(&[paused.clone(), other.clone()].concat()).await;
        control(&queues, |controls| {
            controls.paused_kinds.insert("count_stock".to_owned());
        })
        .await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, ids_of(&other));
        let late = of("count_stock", "a", 1);
        queues.push(&late).await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, []);
        control(&queues, |_| {}).await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, [ids_of(&paused), ids_of(&late)].concat());
    }

    async fn a_paused_kind_does_not_save_up_turns(queues) {
        let (paused, other) = (of("count_stock", "a", 20), of("move_stock", "a", 60));
        queues.push(&[paused.clone(), other.clone()].concat()).await;
        control(&queues, |controls| {
            controls.paused_kinds.insert("count_stock".to_owned());
        })
        .await;
        for _ in 0..40 {
            queues.claim(WorkerId::new(), 1).await;
        }
        control(&queues, |_| {}).await;
        let mut taken = Vec::new();
        for _ in 0..10 {
            taken.extend(queues.claim(WorkerId::new(), 1).await);
        }
        let of_paused = paused.iter().filter(|job| taken.contains(&job.id)).count();
        assert!((5..=6).contains(&of_paused), "turn by turn, not {of_paused} of 10");
    }

    async fn a_paused_group_leaves_its_rings_until_it_is_resumed(queues) {
        let (paused, other) = (envelopes("a", 3), envelopes("b", 1));
        queues.push(&[paused.clone(), other.clone()].concat()).await;
        control(&queues, |controls| {
            controls.paused_groups.insert("a".to_owned());
        })
        .await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, ids_of(&other));
        let depth = queues.engine.depth(QUEUE).await.unwrap();
        assert_eq!((depth.turns, depth.parked), (0, 1));
        let late = envelopes("a", 1);
        queues.push(&late).await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, []);
        let all: std::collections::HashSet<_> = [ids_of(&paused), ids_of(&other), ids_of(&late)].concat().into_iter().collect();
        assert_eq!(queues.engine.census(QUEUE).await.unwrap(), all, "what is parked is not lost");

        control(&queues, |_| {}).await;
        assert_eq!(queues.claim(WorkerId::new(), 5).await, [ids_of(&paused), ids_of(&late)].concat());
        assert_eq!(queues.engine.depth(QUEUE).await.unwrap().parked, 0);
    }

    async fn a_kind_runs_no_more_than_its_limit_in_all_workers(queues) {
        let jobs = [of("count_stock", "a", 4), of("count_stock", "b", 4)].concat();
        queues.push(&jobs).await;
        control(&queues, |controls| {
            controls.kind_limits.insert("count_stock".to_owned(), 3);
        })
        .await;
        let (one, other) = (WorkerId::new(), WorkerId::new());
        let first = queues.claim(one, 2).await;
        let second = queues.claim(other, 5).await;
        assert_eq!((first.len(), second.len()), (2, 1));
        assert_eq!(queues.claim(one, 5).await, []);

        // However a run ends, its place is free again, and only once.
        queues.finish(one, &first[..1]).await;
        assert_eq!(queues.claim(other, 5).await.len(), 1);
        let delayed = Ended { delayed: vec![(first[1], queues.clock_in(60))], ..Ended::default() };
        queues.engine.end_leases(QUEUE, one, &delayed).await.unwrap();
        assert_eq!(queues.claim(other, 5).await.len(), 1);
        assert_eq!(queues.engine.end_leases(QUEUE, one, &delayed).await.unwrap(), 1, "told twice");
        assert_eq!(queues.claim(other, 5).await, []);
        let back = Ended { handed_back: second.clone(), ..Ended::default() };
        queues.engine.end_leases(QUEUE, other, &back).await.unwrap();
        assert_eq!(queues.claim(one, 5).await.len(), 1);
    }

    async fn a_kind_at_its_limit_does_not_hold_up_others(queues) {
        let (limited, other) = (of("count_stock", "a", 3), of("move_stock", "a", 3));
        queues.push(&[limited.clone(), other.clone()].concat()).await;
        control(&queues, |controls| {
            controls.kind_limits.insert("count_stock".to_owned(), 1);
        })
        .await;
        let worker = WorkerId::new();
        assert_eq!(queues.claim(worker, 6).await, [ids_of(&limited[..1]), ids_of(&other)].concat());
    }

    async fn a_group_at_its_limit_is_parked_and_comes_back_when_a_place_is_free(queues) {
        let (a, b) = (envelopes("a", 4), envelopes("b", 4));
        queues.push(&[a.clone(), b.clone()].concat()).await;
        control(&queues, |controls| {
            controls.group_limit = Some(2);
            controls.group_limits.insert("b".to_owned(), 3);
        })
        .await;
        let worker = WorkerId::new();
        let taken = queues.claim(worker, 8).await;
        assert_eq!(taken, [ids_of(&a[..2]), ids_of(&b[..3])].concat());
        assert_eq!(queues.engine.depth(QUEUE).await.unwrap().parked, 2);
        assert_eq!(queues.claim(WorkerId::new(), 8).await, []);
        queues.finish(worker, &[a[0].id, b[0].id]).await;
        let mut next = queues.claim(worker, 8).await;
        next.sort();
        let mut expected = vec![a[2].id, b[3].id];
        expected.sort();
        assert_eq!(next, expected);
    }

    async fn a_limit_for_each_group_of_a_kind_leaves_its_other_kinds_alone(queues) {
        let (limited, other) = (of("count_stock", "a", 3), of("move_stock", "a", 3));
        queues.push(&[limited.clone(), other.clone()].concat()).await;
        control(&queues, |controls| {
            controls.each_limits.insert("count_stock".to_owned(), 1);
        })
        .await;
        let worker = WorkerId::new();
        assert_eq!(queues.claim(worker, 6).await, [ids_of(&limited[..1]), ids_of(&other)].concat());
        queues.finish(worker, &ids_of(&other)).await;
        assert_eq!(queues.claim(worker, 6).await, [], "the other kind's places are not this one's");
        queues.finish(worker, &ids_of(&limited[..1])).await;
        assert_eq!(queues.claim(worker, 6).await, ids_of(&limited[1..2]));
    }

    async fn what_a_lost_worker_held_counts_no_more(queues) {
        let jobs = envelopes("a", 3);
        queues.push(&jobs).await;
        control(&queues, |controls| controls.group_limit = Some(2)).await;
        assert_eq!(queues.claim(WorkerId::new(), 3).await, ids_of(&jobs[..2]));
        assert_eq!(queues.claim(WorkerId::new(), 3).await, []);
        queues.clock.advance(queue::lease::LEASE * 2);
        queues.engine.rescue(QUEUE).await.unwrap().expect("its lease has ended");
        assert_eq!(queues.claim(WorkerId::new(), 3).await, [jobs[2].id, jobs[0].id]);
    }

    async fn a_lower_limit_lets_what_runs_finish(queues) {
        let jobs = envelopes("a", 4);
        queues.push(&jobs).await;
        control(&queues, |controls| controls.group_limit = Some(3)).await;
        let worker = WorkerId::new();
        assert_eq!(queues.claim(worker, 3).await.len(), 3);
        control(&queues, |controls| controls.group_limit = Some(1)).await;
        queues.finish(worker, &ids_of(&jobs[..2])).await;
        assert_eq!(queues.claim(worker, 3).await, []);
        queues.finish(worker, &[jobs[2].id]).await;
        assert_eq!(queues.claim(worker, 3).await, [jobs[3].id]);
    }

    async fn recounting_finds_nothing_while_all_is_well(queues) {
        queues.push(&envelopes("a", 4)).await;
        control(&queues, |controls| controls.group_limit = Some(3)).await;
        let worker = WorkerId::new();
        let taken: Vec<JobId> = queues.claim(worker, 3).await;
        assert_eq!(queues.engine.recount(QUEUE).await.unwrap(), 0);
        queues.finish(worker, &taken).await;
        assert_eq!(queues.engine.recount(QUEUE).await.unwrap(), 0);
        assert!(queues.clock_in(0) < queues.clock_in(1) + seconds(1));
    }
}

/// As after a failover to a copy that knows the note and not the lease.
#[tokio::test]
async fn a_note_without_a_lease_is_dropped_by_the_recount() {
    let queues = Queues::new().await;
    let jobs = envelopes("a", 4);
    queues.push(&jobs).await;
    control(&queues, |controls| controls.group_limit = Some(2)).await;
    let worker = WorkerId::new();
    queues.claim(worker, 2).await;
    redis::AsyncCommands::del::<_, ()>(&mut queues.connection(), queues.keys.lease(worker)).await.unwrap();
    assert_eq!(queues.claim(worker, 2).await, []);
    assert_eq!(queues.engine.recount(QUEUE).await.unwrap(), 2);
    assert_eq!(queues.claim(worker, 2).await, ids_of(&jobs[2..]));
    assert_eq!(queues.engine.recount(QUEUE).await.unwrap(), 0);
}
