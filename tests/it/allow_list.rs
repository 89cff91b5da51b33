//! What arrives at Amazon in a whole run: nothing but the operations that we may call, in the way that we may.

use std::collections::BTreeSet;

use jobs::sp_api::Operation as Ours;
use reqwest::{Method, Url};
use sandbox::{Fault, Operation};

use crate::scene::{Scene, WORK};

/// The sign-in is not of the Selling Partner API: it is how one gets there.
const SIGN_IN: (&str, &str) = ("POST", "/auth/o2/token");

/// Where documents of reports are fetched: not of the API either, and without our user agent or any token.
const DOCUMENTS: &str = "/documents/";

/// One call of each operation is made by these, and by what follows from them.
const KINDS: [&str; 7] = [
    "subscribe_notifications",
    "sync_participations",
    "sync_orders",
    "backfill_orders",
    "sync_inventory",
    "sync_listings",
    "sync_performance",
];

#[tokio::test]
async fn only_allowed_operations_arrive_at_amazon() -> anyhow::Result<()> {
    let mut scene = Scene::with("allow_list", 2, 60).await?;
    for fault in [Fault::Internal, Fault::Garbage, Fault::Cut] {
        scene.fault(Operation::SearchOrders, fault, 1).await?;
        scene.fault(Operation::GetSolicitationActionsForOrder, fault, 1).await?;
    }
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    for seller in &scene.sellers {
        for kind in KINDS {
            scene.system.enqueue(kind, &seller.id)?;
        }
    }
    scene.system.until_quiet(WORK).await?;
    assert!(scene.jobs_in(&["dead"]).await?.is_empty(), "nothing was to fail for good");
    let refused = scene.system.amazon.summary().await?.refused;
    assert!(refused.is_empty(), "calls that may not be made: {refused:?}");

    let page = scene.system.amazon.calls(0).await?;
    assert_eq!(page.dropped, 0, "every call was to be looked at");
    let mut seen = BTreeSet::new();
    for call in page.calls {
        let (method, path) = (call.method.as_str(), call.path.as_str());
        if (method, path) == SIGN_IN || (method == "GET" && path.starts_with(DOCUMENTS)) {
            continue;
        }
        let ours = Ours::of_request(&method.parse::<Method>()?, path);
        let ours = ours.unwrap_or_else(|| panic!("{method} {path} is not in the list"));
        seen.insert(ours.entry().name);
        assert_only_what_may_be_is_asked_for(ours, &call.query)?;
        let agent = call.user_agent.unwrap_or_default();
        assert!(agent.starts_with("Amzigo/"), "Amazon wants to know who calls: {agent:?}");
    }
    let all: BTreeSet<_> = Ours::ALL.iter().map(|operation| operation.entry().name).collect();
    assert_eq!(seen, all, "each of our operations was to be called");
    scene.end([scheduler, worker]).await
}

/// The other data sets hold buyers, recipients, proceeds, expenses, prices and texts.
fn assert_only_what_may_be_is_asked_for(ours: Ours, query: &str) -> anyhow::Result<()> {
    let allowed: &[&str] = match ours {
        Ours::SearchOrders => &["FULFILLMENT"],
        Ours::SearchListingsItems => &["summaries", "issues", "fulfillmentAvailability", "productTypes"],
        Ours::SearchCatalogItems => &["salesRanks"],
        _ => &[],
    };
    let url = Url::parse(&format!("http://amazon.invalid/?{query}"))?;
    for (name, value) in url.query_pairs().filter(|(name, _)| name == "includedData") {
        let all_allowed = value.split(',').all(|data_set| allowed.contains(&data_set));
        assert!(all_allowed, "{name}={value} in a call of {}", ours.entry().name);
    }
    Ok(())
}
