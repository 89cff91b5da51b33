//! Amazon, or the net in between, that fails in every way: the work is done all the same, and no buyer is asked twice.

use std::collections::BTreeSet;

use sandbox::{Fault, Operation, OrderChanges};

use crate::scene::{Scene, WORK};

const ASK_BUYER: Operation = Operation::CreateProductReviewAndSellerFeedbackSolicitation;
const EVERY: [Operation; 4] =
    [Operation::Token, Operation::SearchOrders, Operation::GetSolicitationActionsForOrder, ASK_BUYER];

/// Every operation fails in one way a few times.
async fn amazon_fails(test: &str, fault: Fault) -> anyhow::Result<()> {
    let mut scene = Scene::with(test, 2, 40).await?;
    // A call that hangs is given up sooner, and asked about sooner.
    scene.system.set("SP_API_TIMEOUT_SECONDS", "1");
    let scheduler = scene.system.scheduler()?;
    // It has worked before: it knows how fast this Amazon's quota refills, which only successes tell.
    let before = scene.system.worker()?;
    let mut asked = scene.sync_all()?;
    scene.system.until_quiet(WORK).await?;
    before.stop()?;

    for operation in EVERY {
        scene.fault(operation, fault, 2).await?;
    }
    for seller in &scene.sellers {
        let changes = OrderChanges {
            seller: seller.selling_partner_id.clone(),
            count: 20,
            touch: 5,
            // Amazon tells changes that are over two minutes old.
            seconds_ago: 130,
            seed: 1,
        };
        scene.system.amazon.change_orders(&changes).await?;
    }
    // A new worker has no token yet, so that the sign-in is struck too.
    let worker = scene.system.worker()?;
    asked.extend(scene.sync_all()?);
    scene.must_end_well(&asked).await?;
    let struck: BTreeSet<_> =
        calls_struck(&scene, fault).await?.into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(struck, BTreeSet::from(EVERY), "every operation was to fail");
    scene.end([scheduler, worker]).await
}

/// The calls that a fault struck: operation and path.
async fn calls_struck(scene: &Scene, fault: Fault) -> anyhow::Result<BTreeSet<(Operation, String)>> {
    let calls = scene.system.amazon.calls(0).await?.calls;
    Ok(calls
        .into_iter()
        .filter(|call| call.fault == Some(fault))
        .filter_map(|call| Some((call.operation?, call.path)))
        .collect())
}

#[tokio::test]
async fn amazon_throttles() -> anyhow::Result<()> {
    amazon_fails("amazon_throttles", Fault::Quota).await
}

#[tokio::test]
async fn amazon_answers_500() -> anyhow::Result<()> {
    amazon_fails("amazon_answers_500", Fault::Internal).await
}

#[tokio::test]
async fn amazon_answers_503() -> anyhow::Result<()> {
    amazon_fails("amazon_answers_503", Fault::Unavailable).await
}

#[tokio::test]
async fn amazon_answers_garbage() -> anyhow::Result<()> {
    amazon_fails("amazon_answers_garbage", Fault::Garbage).await
}

#[tokio::test]
async fn amazon_cuts_connections() -> anyhow::Result<()> {
    amazon_fails("amazon_cuts", Fault::Cut).await
}

#[tokio::test]
async fn amazon_hangs() -> anyhow::Result<()> {
    amazon_fails("amazon_hangs", Fault::Hang).await
}

#[tokio::test]
async fn amazon_is_slow() -> anyhow::Result<()> {
    amazon_fails("amazon_is_slow", Fault::Slow).await
}

/// Amazon asks the buyer, and its answer is lost: the one case in which sending again would be seen by a customer.
async fn the_answer_is_lost(test: &str, fault: Fault) -> anyhow::Result<()> {
    let mut scene = Scene::with(test, 2, 60).await?;
    scene.system.set("SP_API_TIMEOUT_SECONDS", "1");
    scene.fault(ASK_BUYER, fault, 3).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let asked = scene.sync_all()?;
    scene.must_end_well(&asked).await?;

    let struck: BTreeSet<_> = calls_struck(&scene, fault)
        .await?
        .into_iter()
        .filter_map(|(_, path)| path.split('/').nth(4).map(str::to_owned))
        .collect();
    assert_eq!(struck.len(), 3, "three answers were to be lost: {struck:?}");
    let probably: Vec<String> =
        sqlx::query_scalar("select order_id from review_requests where state = 'sent_probably'")
            .fetch_all(&scene.system.pool)
            .await?;
    assert_eq!(BTreeSet::from_iter(probably), struck, "exactly these were sent without an answer");
    scene.end([scheduler, worker]).await
}

#[tokio::test]
async fn a_review_request_whose_connection_is_cut_afterwards_is_not_sent_again() -> anyhow::Result<()> {
    the_answer_is_lost("cut_after", Fault::CutAfter).await
}

#[tokio::test]
async fn a_review_request_that_is_answered_500_although_it_was_taken_is_not_sent_again() -> anyhow::Result<()>
{
    the_answer_is_lost("internal_after", Fault::InternalAfter).await
}
