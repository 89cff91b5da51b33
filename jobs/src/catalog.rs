//! The one list of kinds. Registration, the command line, schedules, metric labels and README's table are made from it.

use std::sync::LazyLock;

use queue::{Catalog, Kind};

use crate::{
    context::Context,
    kinds::{
        backfill_orders::BackfillOrders, delete_seller_data::DeleteSellerData,
        disconnect_seller::DisconnectSeller, plan_review_requests::PlanReviewRequests,
        receive_notifications::ReceiveNotifications, send_review_request::SendReviewRequest,
        subscribe_notifications::SubscribeNotifications, sync_inventory::SyncInventory,
        sync_listings::SyncListings, sync_orders::SyncOrders, sync_participations::SyncParticipations,
        sync_performance::SyncPerformance, watch_authorisations::WatchAuthorisations,
    },
};

/// Every kind there is.
pub static CATALOG: LazyLock<Catalog<Context>> = LazyLock::new(|| {
    Catalog::new(vec![
        Kind::of::<SyncOrders>(),
        Kind::of::<BackfillOrders>(),
        Kind::of::<PlanReviewRequests>(),
        Kind::of::<SendReviewRequest>(),
        Kind::of::<SyncParticipations>(),
        Kind::of::<SyncInventory>(),
        Kind::of::<SyncListings>(),
        Kind::of::<SyncPerformance>(),
        Kind::of::<ReceiveNotifications>(),
        Kind::of::<SubscribeNotifications>(),
        Kind::of::<WatchAuthorisations>(),
        Kind::of::<DisconnectSeller>(),
        Kind::of::<DeleteSellerData>(),
    ])
});

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use queue::{Failure, failure};
    use sandbox::{Fault, Operation, PLANTED, SettingsChange};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{ASK_BUYER, Log, OFFERS, Shop};

    /// A payload for each kind with which the shop stays as it is for the others.
    fn payload(kind: &str, shop: &Shop) -> Value {
        match kind {
            "send_review_request" => json!({"seller": shop.seller, "order": shop.eligible().first()}),
            "watch_authorisations" | "receive_notifications" => json!({}),
            "disconnect_seller" => json!({"seller": shop.seller, "connected_at": "2026-01-01T00:00:00Z"}),
            "delete_seller_data" => json!({"seller": shop.seller, "ended_at": "2026-01-01T00:00:00Z"}),
            _ => json!({"seller": shop.seller}),
        }
    }

    /// Runs every kind once and returns what the runs end with, as the ledger would keep it.
    async fn run_all(shop: &Shop) -> String {
        let mut ends = String::new();
        for kind in CATALOG.iter() {
            let payload = payload(kind.name, shop);
            let run = shop.enqueue(&SyncOrders { seller: shop.seller }).await;
            match kind.execute(Arc::clone(&shop.context), payload, run).await {
                Ok(report) => ends.push_str(&report.to_string()),
                Err(Failure::Retry { error, .. } | Failure::Reject { error }) => {
                    ends.push_str(&failure::chain(error.as_ref()));
                }
                Err(Failure::Snooze { waits_for, .. }) => ends.push_str(&waits_for),
                Err(other) => panic!("only the worker says this: {other:?}"),
            }
            ends.push('\n');
        }
        ends
    }

    #[tokio::test]
    async fn no_kind_tells_what_it_must_not() {
        let log = Log::listen();
        let (mut stored, mut ends, mut orders) = (String::new(), String::new(), BTreeSet::new());
        for fault in [Fault::Garbage, Fault::Internal, Fault::Cut, Fault::Denied] {
            let shop = Shop::with_orders(36).await;
            let careless = SettingsChange { leak_buyer_data: Some(true), ..SettingsChange::default() };
            shop.sandbox.control().change_settings(careless).expect("it can be set");
            shop.sync().await.expect("nothing is wrong yet");
            shop.sync_participations().await.expect("nothing is wrong yet");
            shop.sync_stock().await.expect("nothing is wrong yet");
            shop.sync_listings().await.expect("nothing is wrong yet");
            for operation in [
                Operation::GetMarketplaceParticipations,
                Operation::SearchOrders,
                Operation::GetInventorySummaries,
                Operation::SearchListingsItems,
                Operation::SearchCatalogItems,
                OFFERS,
                ASK_BUYER,
                Operation::Token,
            ] {
                shop.fault(operation, fault, 2);
            }
            for _ in 0..4 {
                ends += &run_all(&shop).await;
            }
            shop.sandbox.control().clear_faults();
            // Lost answers are looked into, and the access token is too old.
            shop.clock.advance(chrono::TimeDelta::minutes(5));
            ends += &run_all(&shop).await;
            orders.extend(shop.asked());
            shop.sandbox.control().revoke(&shop.account.selling_partner_id).expect("the seller is known");
            ends += &run_all(&shop).await;
            stored += &shop.everything_stored().await;
            for product in shop.products().await {
                assert!(stored.contains(&product.sku), "it looks at the tables of products too");
            }
        }
        let logged = log.text();
        assert!(orders.iter().all(|order| stored.contains(order)), "it looks at the right tables");
        assert!(logged.contains("an answer is missing"), "it looks at the right log");
        assert!(ends.contains("must connect again") && ends.contains("searchOrders"), "{ends}");

        let never = PLANTED.into_iter().chain(["Atza|", "Atzr|", "amzn1.oa2-cs"]);
        for (place, text) in [("table", &stored), ("log", &logged), ("end of a run", &ends)] {
            for word in never.clone() {
                assert_eq!(text.lines().find(|line| line.contains(word)), None, "{word} is in a {place}");
            }
        }
        for (place, text) in [("log", &logged), ("end of a run", &ends)] {
            for order in &orders {
                assert_eq!(text.lines().find(|line| line.contains(order)), None, "{order} is in a {place}");
            }
        }
    }

    #[test]
    fn every_kind_has_its_own_file_and_says_what_it_does() {
        for kind in CATALOG.iter() {
            assert!(kind.summary.ends_with('.'), "{} needs a sentence", kind.name);
            let file = format!("{}/src/kinds/{}.rs", env!("CARGO_MANIFEST_DIR"), kind.name);
            assert!(std::path::Path::new(&file).exists(), "{} is not in {file}", kind.name);
        }
    }
}
