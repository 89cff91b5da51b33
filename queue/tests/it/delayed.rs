//! Delayed entries: not before their moment, all after it, and never more at once than a script may handle.

use std::collections::BTreeSet;

use queue::{WorkerId, ready::Promoted};

use crate::deployment::{QUEUE, both, envelope, envelopes, ids_of, seconds, start};

both! {
    async fn what_is_delayed_is_ready_at_its_moment_and_not_before(queues) {
        let (soon, later) = (envelope("a"), envelope("b"));
        let (soon_at, later_at) = (start() + seconds(5), start() + seconds(60));
        let entries = [(Some(later_at), later.clone()), (Some(soon_at), soon.clone())];
        queues.engine.push(QUEUE, &entries).await.unwrap();
        assert_eq!(queues.claim(WorkerId::new(), 5).await, []);
        assert_eq!(
            queues.engine.promote(QUEUE).await.unwrap(),
            Promoted { moved: 0, next_due_at: Some(soon_at) }
        );

        queues.clock.set(soon_at - chrono::TimeDelta::milliseconds(1));
        assert_eq!(queues.engine.promote(QUEUE).await.unwrap().moved, 0);
        queues.clock.set(soon_at);
        assert_eq!(
            queues.engine.promote(QUEUE).await.unwrap(),
            Promoted { moved: 1, next_due_at: Some(later_at) }
        );
        assert_eq!(queues.claim(WorkerId::new(), 5).await, [soon.id]);

        queues.clock.set(later_at);
        assert_eq!(queues.engine.promote(QUEUE).await.unwrap(), Promoted { moved: 1, next_due_at: None });
        assert_eq!(queues.claim(WorkerId::new(), 5).await, [later.id]);
    }

    async fn a_fraction_of_a_millisecond_is_never_early(queues) {
        let job = envelope("a");
        let due_at = start() + chrono::TimeDelta::microseconds(1_500);
        queues.engine.push(QUEUE, &[(Some(due_at), job.clone())]).await.unwrap();
        queues.clock.set(start() + chrono::TimeDelta::milliseconds(1));
        assert_eq!(queues.engine.promote(QUEUE).await.unwrap().moved, 0, "half a millisecond too early");
        queues.clock.set(start() + chrono::TimeDelta::milliseconds(2));
        assert_eq!(queues.engine.promote(QUEUE).await.unwrap().moved, 1);
        assert_eq!(queues.claim(WorkerId::new(), 1).await, [job.id]);
    }

    async fn many_due_at_once_are_moved_500_at_a_time(queues) {
        let jobs = envelopes("a", 1_100);
        let entries: Vec<_> = jobs.iter().map(|job| (Some(start() + seconds(1)), job.clone())).collect();
        queues.engine.push(QUEUE, &entries).await.unwrap();
        queues.clock.set(start() + seconds(1));
        let mut moved = Vec::new();
        while moved.last() != Some(&0) {
            moved.push(queues.engine.promote(QUEUE).await.unwrap().moved);
        }
        assert_eq!(moved, [500, 500, 100, 0]);
        let mut ready = BTreeSet::new();
        for _ in 0..5 {
            ready.extend(queues.claim(WorkerId::new(), 256).await);
        }
        assert_eq!(ready, ids_of(&jobs).into_iter().collect());
    }

    async fn delaying_an_entry_twice_keeps_one_copy_at_the_later_word(queues) {
        let job = envelope("a");
        for due in [90, 30] {
            queues.engine.push(QUEUE, &[(Some(start() + seconds(due)), job.clone())]).await.unwrap();
        }
        assert_eq!(queues.engine.depth(QUEUE).await.unwrap().delayed, 1);
        queues.clock.set(start() + seconds(30));
        assert_eq!(queues.engine.promote(QUEUE).await.unwrap().moved, 1);
    }
}
