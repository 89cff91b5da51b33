//! One seller with 100,000 waiting jobs beside fifty with ten each: the small ones hardly notice.
//!
//! Waits are counted in jobs that were taken before, not in time: that is exact, and the same on every machine. The engine's
//! benchmark tells the times.

use std::collections::HashMap;

use queue::{JobId, WorkerId, envelope::Envelope};

use crate::deployment::{Queues, both, envelopes, ids_of};

const MINNOWS: usize = 50;
const EACH: usize = 10;

fn minnows() -> Vec<Envelope> {
    let groups: Vec<_> = (0..MINNOWS).map(|n| envelopes(&format!("minnow-{n}"), EACH)).collect();
    // As they come in: one of each, then the next of each.
    (0..EACH).flat_map(|n| groups.iter().map(move |group| group[n].clone())).collect()
}

/// Takes everything through workers with so many slots. Returns, for each of `watched`, how many were taken before it.
async fn waits(queues: &Queues, slots: usize, watched: &[JobId]) -> Vec<usize> {
    let mut before = HashMap::new();
    let mut taken = 0;
    let worker = WorkerId::new();
    while before.len() < watched.len() {
        let claimed = queues.claim(worker, slots).await;
        assert_ne!(claimed, [], "everything comes out");
        for id in &claimed {
            before.insert(*id, taken);
            taken += 1;
        }
        before.retain(|id, _| watched.contains(id));
        queues.finish(worker, &claimed).await;
    }
    let mut waits: Vec<_> = watched.iter().map(|id| before[id]).collect();
    waits.sort_unstable();
    waits
}

async fn p99_with_and_without_the_whale(queues: Queues, slots: usize) -> (usize, usize) {
    let p99 = |waits: &[usize]| waits[(waits.len() * 99).div_ceil(100) - 1];
    let alone = minnows();
    queues.push(&alone).await;
    let without = p99(&waits(&queues, slots, &ids_of(&alone)).await);
    // The whale was there first.
    queues.push(&envelopes("whale", 100_000)).await;
    let beside = minnows();
    queues.push(&beside).await;
    let with = p99(&waits(&queues, slots, &ids_of(&beside)).await);
    (without, with)
}

both! {
    async fn its_neighbours_wait_hardly_longer(queues) {
        let (without, with) = p99_with_and_without_the_whale(queues, 32).await;
        assert!(with <= 2 * without, "{with} jobs before instead of {without}");
    }

    async fn its_neighbours_wait_hardly_longer_for_large_claims(queues) {
        let (without, with) = p99_with_and_without_the_whale(queues, 256).await;
        assert!(with <= 2 * without, "{with} jobs before instead of {without}");
    }

    async fn its_neighbours_wait_hardly_longer_for_one_slot(queues) {
        let (without, with) = p99_with_and_without_the_whale(queues, 1).await;
        assert!(with <= 2 * without, "{with} jobs before instead of {without}");
    }
}
