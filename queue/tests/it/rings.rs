//! Rings: kinds and priorities take weighted turns, and a worker takes only what it knows.

use std::collections::BTreeMap;

use queue::{Controls, KnownKinds, Priority, WorkerId, envelope::Envelope};

use crate::deployment::{QUEUE, both, envelope, ids, ids_of};

fn of(kind: &str, priority: Priority, count: usize) -> Vec<Envelope> {
    (0..count).map(|_| Envelope { kind: kind.to_owned(), priority, ..envelope("a") }).collect()
}

/// How many of each sort are among the taken.
fn shares(taken: &[queue::JobId], sorts: &[(&'static str, &[Envelope])]) -> BTreeMap<&'static str, usize> {
    let count = |jobs: &[Envelope]| jobs.iter().filter(|job| taken.contains(&job.id)).count();
    sorts.iter().map(|(name, jobs)| (*name, count(jobs))).collect()
}

both! {
    async fn priorities_get_turns_by_weight_and_none_starves(queues) {
        let [high, normal, low] = Priority::ALL.map(|priority| of("count_stock", priority, 200));
        for jobs in [&low, &normal, &high] {
            queues.push(jobs).await;
        }
        let mut taken = Vec::new();
        for _ in 0..105 {
            taken.extend(queues.claim(WorkerId::new(), 1).await);
        }
        let sorts = [("high", &high[..]), ("normal", &normal[..]), ("low", &low[..])];
        assert_eq!(shares(&taken, &sorts), [("high", 80), ("normal", 20), ("low", 5)].into());
    }

    async fn one_large_claim_is_divided_the_same_way(queues) {
        let [high, normal, low] = Priority::ALL.map(|priority| of("count_stock", priority, 300));
        for jobs in [&low, &normal, &high] {
            queues.push(jobs).await;
        }
        let taken = queues.claim(WorkerId::new(), 256).await;
        let sorts = [("high", &high[..]), ("normal", &normal[..]), ("low", &low[..])];
        // In steps of 16.
        assert_eq!(shares(&taken, &sorts), [("high", 192), ("normal", 48), ("low", 16)].into());
    }

    async fn a_priority_that_is_alone_gets_everything(queues) {
        let low = of("count_stock", Priority::Low, 50);
        queues.push(&low).await;
        assert_eq!(queues.claim(WorkerId::new(), 60).await, ids_of(&low));
    }

    async fn kinds_take_turns_and_a_weight_is_as_many_turns(queues) {
        let weights = [("count_stock".to_owned(), 3)].into();
        queues.engine.control(QUEUE, &Controls { weights, ..Controls::default() }).await.unwrap();
        let (heavy, light) = (of("count_stock", Priority::Normal, 100), of("move_stock", Priority::Normal, 100));
        queues.push(&light).await;
        queues.push(&heavy).await;
        let mut taken = Vec::new();
        for _ in 0..40 {
            taken.extend(queues.claim(WorkerId::new(), 1).await);
        }
        assert_eq!(shares(&taken, &[("heavy", &heavy), ("light", &light)]), [("heavy", 30), ("light", 10)].into());
    }

    async fn a_kind_that_was_away_comes_back_without_saved_up_turns(queues) {
        let (busy, away) = (of("count_stock", Priority::Normal, 300), of("move_stock", Priority::Normal, 100));
        queues.push(&busy).await;
        queues.claim(WorkerId::new(), 200).await;
        queues.push(&away).await;
        let taken = queues.claim(WorkerId::new(), 20).await;
        assert_eq!(shares(&taken, &[("busy", &busy), ("away", &away)]), [("busy", 10), ("away", 10)].into());
    }

    async fn a_worker_leaves_kinds_and_versions_that_it_does_not_know_to_others(queues) {
        let [known, newer, foreign] = [("count_stock", 1), ("count_stock", 2), ("move_stock", 1)]
            .map(|(kind, version)| Envelope { kind: kind.to_owned(), version, ..envelope("a") });
        queues.push(&[newer.clone(), foreign.clone(), known.clone()]).await;
        let claim = async |kinds: &KnownKinds| {
            ids(&queues.engine.claim(QUEUE, WorkerId::new(), 5, kinds).await.unwrap().entries)
        };
        assert_eq!(claim(&KnownKinds::of([("stock", KnownKinds::ANY_VERSION)])).await, []);
        assert_eq!(claim(&KnownKinds::of([("count_stock", 1)])).await, [known.id]);
        assert_eq!(claim(&KnownKinds::of([("count_stock", 1)])).await, []);
        assert_eq!(claim(&KnownKinds::of([("count_stock", KnownKinds::ANY_VERSION)])).await, [newer.id]);
        assert_eq!(claim(&KnownKinds::of([("stock", 1), ("move", 1), ("move_stock", 1)])).await, [foreign.id]);
    }
}
