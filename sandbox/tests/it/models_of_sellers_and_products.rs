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
