//! What Amazon no longer knows or allows: an order that vanished is an outcome, a seller who took the authorisation back is
//! a dead letter and a note at that seller, and nobody else suffers.

use crate::scene::{Scene, WORK};

/// By order: what became of its review request, and why.
async fn outcome(scene: &Scene, order: &str) -> anyhow::Result<Option<(String, String)>> {
    Ok(sqlx::query_as("select state, reason from review_requests where order_id = $1")
        .bind(order)
        .fetch_optional(&scene.system.pool)
        .await?)
}

async fn seller_state(scene: &Scene, seller: &str) -> anyhow::Result<(String, Option<String>)> {
    Ok(sqlx::query_as("select state, state_reason from sellers where id = $1::uuid")
        .bind(seller)
        .fetch_one(&scene.system.pool)
        .await?)
}

#[tokio::test]
async fn an_order_that_vanished_is_gone_and_the_others_are_asked_about() -> anyhow::Result<()> {
    let mut scene = Scene::with("vanished_order", 1, 60).await?;
    // Nobody gets as far as asking while the orders are looked at here.
    let requests =
        ["sync", "--kind", "send_review_request", "--reason", "the orders are looked at", "--json"];
    scene.system.amzigo(&[&["pause"], &requests[..]].concat())?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let asked = scene.sync_all()?;
    for id in &asked {
        scene.until_job(id, "done").await?;
    }
    let orders = scene.system.amazon.orders().await?.into_values().flatten();
    let eligible: Vec<_> = orders.filter(|order| order.eligible).map(|order| order.id).collect();
    let [vanished, others @ ..] = &eligible[..] else { anyhow::bail!("an order was to be eligible") };
    assert!(!others.is_empty(), "another order was to be eligible");
    scene.system.amazon.vanish(vanished).await?;
    scene.system.amzigo(&[&["resume"], &requests[..]].concat())?;
    scene.system.until_quiet(WORK).await?;

    let gone = ("gone".to_owned(), "Amazon no longer knows the order".to_owned());
    assert_eq!(outcome(&scene, vanished).await?, Some(gone));
    for order in others {
        let (state, reason) = outcome(&scene, order).await?.unwrap_or_default();
        assert_eq!(state, "sent", "{order}: {reason}");
    }
    assert!(scene.jobs_in(&["dead"]).await?.is_empty(), "an order that is gone is no failure");
    scene.end([scheduler, worker]).await
}

#[tokio::test]
async fn a_revoked_seller_is_told_apart_and_works_again_when_it_connects_again() -> anyhow::Result<()> {
    let mut scene = Scene::with("revoked_seller", 2, 60).await?;
    let [revoked, other] = &scene.sellers.clone()[..] else { anyhow::bail!("two sellers") };
    scene.system.amazon.revoke(&revoked.selling_partner_id).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let refused = scene.system.enqueue("sync_orders", &revoked.id)?;
    let unharmed = scene.system.enqueue("sync_orders", &other.id)?;
    scene.until_job(&refused, "dead").await?;
    scene.until_job(&unharmed, "done").await?;

    let (_, error) = scene.job(&refused).await?;
    let error = error.unwrap_or_default();
    assert!(error.contains("the seller must connect again"), "{error}");
    let (state, reason) = seller_state(&scene, &revoked.id).await?;
    assert_eq!((state.as_str(), reason.is_some()), ("needs_reauthorisation", true));
    assert_eq!(seller_state(&scene, &other.id).await?.0, "active");
    // Its other jobs rest without failing.
    let rests = scene.system.enqueue("plan_review_requests", &revoked.id)?;
    scene.until_job(&rests, "done").await?;

    let renewed = scene.system.amazon.restore(&revoked.selling_partner_id).await?;
    let seeded = scene.seeded.sellers.iter().find(|s| s.selling_partner_id == revoked.selling_partner_id);
    let again = scene.system.connect_seller(seeded.expect("it was seeded"), &renewed)?;
    assert_eq!(again.id, revoked.id, "it stays the same seller");
    // It is synced anew, which is the dead letter's work; its performance would wait for the orders.
    scene.system.amzigo(&["dead", "discard", &refused, "--reason", "it connected again", "--json"])?;
    scene.system.enqueue("sync_performance", &revoked.id)?;
    scene.system.until_quiet(WORK).await?;
    let synced: Vec<String> = sqlx::query_scalar(
        "select id::text from jobs where kind = 'sync_orders' and group_name = $1 and state = 'done'",
    )
    .bind(&revoked.id)
    .fetch_all(&scene.system.pool)
    .await?;
    assert_eq!(synced.len(), 1, "one of its first syncs is that of the orders");
    scene.must_end_well(&synced.into_iter().chain([unharmed]).collect()).await?;
    assert_eq!(seller_state(&scene, &revoked.id).await?.0, "active");
    scene.end([scheduler, worker]).await
}
