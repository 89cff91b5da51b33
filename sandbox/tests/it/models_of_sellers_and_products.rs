//! Amazon judges every kind of answer about sellers and their products, see [`crate::judge`].

use crate::client::Stage;
use crate::judge::{Model, check_errors};
use reqwest::Method;

const PARTICIPATIONS: &str = "/sellers/v1/marketplaceParticipations";

#[tokio::test]
async fn every_answer_about_participations_is_one_of_amazons() {
    let Some(model) = Model::read("sellers-api-model/sellers.json") else { return };
    let stage = Stage::set().await;
    for seller in 0..3 {
        let token = stage.access_token(seller).await;
        model.check(&Method::GET, PARTICIPATIONS, 200, &stage.get(PARTICIPATIONS, &token).await);
    }
    let token = stage.access_token(0).await;
    let misspelt = stage.get(&format!("{PARTICIPATIONS}?marketplaceIds=A1F83G8C2ARO7P"), &token).await;
    model.check(&Method::GET, PARTICIPATIONS, 400, &misspelt);
    check_errors(&model, &stage, &Method::GET, PARTICIPATIONS, PARTICIPATIONS).await;
}

const GB: &str = "A1F83G8C2ARO7P";
const SUMMARIES: &str = "/fba/inventory/v1/summaries";
const LISTINGS: &str = "/listings/2021-08-01/items/{sellerId}";
const CATALOG: &str = "/catalog/2022-04-01/items";
const METRICS: &str = "/sales/v1/orderMetrics";

#[tokio::test]
async fn every_answer_about_the_inventory_is_one_of_amazons() {
    let Some(model) = Model::read("fba-inventory-api-model/fbaInventory.json") else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let of_gb = format!("{SUMMARIES}?granularityType=Marketplace&granularityId={GB}&marketplaceIds={GB}");
    let detailed = format!("{of_gb}&details=true");
    for good in [&of_gb, &detailed] {
        model.check(&Method::GET, SUMMARIES, 200, &stage.get(good, &token).await);
        stage.clock.advance(chrono::TimeDelta::seconds(1));
    }
    let bad = stage.get(&format!("{of_gb}&nextToken=never"), &token).await;
    model.check(&Method::GET, SUMMARIES, 400, &bad);
    check_errors(&model, &stage, &Method::GET, SUMMARIES, &of_gb).await;
}

#[tokio::test]
async fn every_answer_about_listings_is_one_of_amazons() {
    let Some(model) = Model::read("listings-items-api-model/listingsItems_2021-08-01.json") else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let path = format!("/listings/2021-08-01/items/{}?marketplaceIds={GB}", stage.seller(0));
    let everything =
        "summaries,attributes,issues,offers,fulfillmentAvailability,procurement,relationships,productTypes";
    let mut more = String::new();
    for page in 1.. {
        let query = format!(",A1PA6795UKMFR9&includedData={everything}&pageSize=20{more}");
        let answer = stage.get(&format!("{path}{query}"), &token).await;
        model.check(&Method::GET, LISTINGS, 200, &answer);
        stage.clock.advance(chrono::TimeDelta::seconds(1));
        match answer.json()["pagination"]["nextToken"].as_str() {
            Some(next) => more = format!("&pageToken={next}"),
            None => {
                assert!(page > 1, "there is more than one page");
                break;
            }
        }
    }
    model.check(&Method::GET, LISTINGS, 200, &stage.get(&path, &token).await);
    model.check(&Method::GET, LISTINGS, 400, &stage.get(&format!("{path}&pageSize=21"), &token).await);
    let foreign = path.replace(stage.seller(0), stage.seller(1));
    model.check(&Method::GET, LISTINGS, 403, &stage.get(&foreign, &token).await);
    check_errors(&model, &stage, &Method::GET, LISTINGS, &path).await;
}

#[tokio::test]
async fn every_answer_about_the_catalogue_is_one_of_amazons() {
    let Some(model) = Model::read("catalog-items-api-model/catalogItems_2022-04-01.json") else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let asin = stage.control().products(stage.seller(0)).unwrap()[0].asin.clone();
    let path = format!("{CATALOG}?identifiersType=ASIN&identifiers={asin}&marketplaceIds={GB}");
    let everything = "attributes,classifications,dimensions,identifiers,images,productTypes,relationships,salesRanks,\
                      summaries,vendorDetails";
    for query in [String::new(), format!("&includedData={everything}")] {
        let answer = stage.get(&format!("{path}{query}"), &token).await;
        model.check(&Method::GET, CATALOG, 200, &answer);
        assert_eq!(answer.json()["items"][0]["asin"], asin.as_str());
    }
    stage.clock.advance(chrono::TimeDelta::seconds(1));
    let bad = format!("{CATALOG}?identifiers={asin}&marketplaceIds={GB}");
    model.check(&Method::GET, CATALOG, 400, &stage.get(&bad, &token).await);
    check_errors(&model, &stage, &Method::GET, CATALOG, &path).await;
}

#[tokio::test]
async fn every_answer_about_sales_is_one_of_amazons() {
    let Some(model) = Model::read("sales-api-model/sales.json") else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    // The stage's clock stands in January 2027.
    let interval = "2026-12-20T00:00:00Z--2027-01-14T12:00:00Z";
    let path = format!("{METRICS}?marketplaceIds={GB}&interval={interval}");
    let zone = "&granularityTimeZone=UTC";
    for query in ["&granularity=Hour".to_owned()]
        .into_iter()
        .chain(["Day", "Week", "Month", "Year", "Total"].map(|name| format!("&granularity={name}{zone}")))
    {
        let answer = stage.get(&format!("{path}{query}"), &token).await;
        model.check(&Method::GET, METRICS, 200, &answer);
    }
    model.check(&Method::GET, METRICS, 400, &stage.get(&format!("{path}&granularity=Day"), &token).await);
    let good = format!("{path}&granularity=Day{zone}");
    check_errors(&model, &stage, &Method::GET, METRICS, &good).await;
}
