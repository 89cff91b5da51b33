//! What people decide about a queue: whether it changed anything, and what stays of it.

use queue::{
    Controls,
    controls::{Scope, decided, set_limit, set_paused},
};

use crate::deployment::{Deployment, QUEUE, start};

/// The controls of a queue of which policies ask nothing, and how many rows there are.
async fn all(deployment: &Deployment) -> (Controls, i64) {
    let mut controls = Controls::default();
    decided(&mut deployment.pool.acquire().await.unwrap(), QUEUE, &mut controls).await.unwrap();
    let rows = sqlx::query_scalar("select count(*) from controls").fetch_one(&deployment.pool).await.unwrap();
    (controls, rows)
}

#[tokio::test]
async fn pausing_and_resuming_say_whether_they_changed_anything() {
    let deployment = Deployment::new().await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    for scope in [Scope::Queue, Scope::Kind("count_stock".to_owned()), Scope::Group("a".to_owned())] {
        for (paused, changed) in [(false, false), (true, true), (true, false), (false, true), (false, false)]
        {
            let answer = set_paused(&mut connection, QUEUE, &scope, paused, start()).await.unwrap();
            assert_eq!(answer, changed, "{scope:?} {paused}");
        }
    }
    assert_eq!(all(&deployment).await, (Controls::default(), 0), "a row that says nothing is no row");
}

#[tokio::test]
async fn a_limit_says_whether_it_changed_anything_and_a_pause_beside_it_stays() {
    let deployment = Deployment::new().await;
    let mut connection = deployment.pool.acquire().await.unwrap();
    let scope = Scope::Kind("count_stock".to_owned());
    set_paused(&mut connection, QUEUE, &scope, true, start()).await.unwrap();
    for (most, changed) in [
        (None, false),
        (Some(3), true),
        (Some(3), false),
        (Some(u32::MAX), true),
        (Some(2), true),
        (None, true),
        (None, false),
        (Some(1), true),
    ] {
        let answer = set_limit(&mut connection, QUEUE, &scope, most, start()).await.unwrap();
        assert_eq!(answer, changed, "{most:?}");
    }
    let expected = Controls {
        paused_kinds: ["count_stock".to_owned()].into(),
        kind_limits: [("count_stock".to_owned(), 1)].into(),
        ..Controls::default()
    };
    assert_eq!(all(&deployment).await, (expected, 1));
}
