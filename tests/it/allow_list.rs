//! What arrives at Amazon in a whole run: nothing but the operations that we may call, in the way that we may.

use std::collections::BTreeSet;

use jobs::sp_api::Operation as Ours;
use reqwest::{Method, Url};
use sandbox::{Fault, Operation};

use crate::scene::Scene;

/// The sign-in is not of the Selling Partner API: it is how one gets there.
const SIGN_IN: (&str, &str) = ("POST", "/auth/o2/token");

#[tokio::test]
async fn only_allowed_operations_arrive_at_amazon() -> anyhow::Result<()> {
    let mut scene = Scene::with("allow_list", 2, 60).await?;
    for fault in [Fault::Internal, Fault::Garbage, Fault::Cut] {
        scene.fault(Operation::SearchOrders, fault, 1).await?;
        scene.fault(Operation::GetSolicitationActionsForOrder, fault, 1).await?;
    }
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let asked = scene.sync_all()?;
    scene.must_end_well(&asked).await?;

    let page = scene.system.amazon.calls(0).await?;
    assert_eq!(page.dropped, 0, "every call was to be looked at");
    let mut seen = BTreeSet::new();
    for call in page.calls {
        if (call.method.as_str(), call.path.as_str()) == SIGN_IN {
            continue;
        }
        let method: Method = call.method.parse()?;
        let ours = Ours::of_request(&method, &call.path);
        let ours = ours.unwrap_or_else(|| panic!("{} {} is not in the list", call.method, call.path));
        seen.insert(ours.entry().name);
        assert_only_fulfilment_is_asked_for(&call.query)?;
        let agent = call.user_agent.unwrap_or_default();
        assert!(agent.starts_with("Amzigo/"), "Amazon wants to know who calls: {agent:?}");
    }
    let all: BTreeSet<_> = Ours::ALL.iter().map(|operation| operation.entry().name).collect();
    assert_eq!(seen, all, "each of our operations was to be called");
    scene.end([scheduler, worker]).await
}

/// The other data sets hold buyers, recipients, proceeds and expenses.
fn assert_only_fulfilment_is_asked_for(query: &str) -> anyhow::Result<()> {
    let url = Url::parse(&format!("http://amazon.invalid/?{query}"))?;
    for (name, value) in url.query_pairs().filter(|(name, _)| name == "includedData") {
        assert_eq!(value, "FULFILLMENT", "{name} in {query}");
    }
    Ok(())
}
