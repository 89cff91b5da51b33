//! Scripted faults: what the client sees, and what happened nevertheless.

use crate::client::{Stage, until};
use reqwest::Method;
use sandbox::{Fault, FaultScript, Operation};

const POST: Operation = Operation::CreateProductReviewAndSellerFeedbackSolicitation;

#[tokio::test]
async fn errors_come_as_amazons_and_cost_no_quota() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    for (fault, status, code) in [
        (Fault::Quota, 429, "QuotaExceeded"),
        (Fault::Internal, 500, "InternalFailure"),
        (Fault::Unavailable, 503, "ServiceUnavailable"),
        (Fault::Denied, 403, "Unauthorized"),
    ] {
        for _ in 0..30 {
            stage.control().script_fault(FaultScript::new(Operation::SearchOrders, fault, 1)).unwrap();
            let answer = stage.get(&stage.search(""), &token).await;
            assert_eq!(answer.status, status, "{fault:?}");
            assert_eq!(answer.json()["errors"][0]["code"], code, "{fault:?}");
        }
    }
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 200, "the bucket is still full");
    assert_eq!(stage.control().summary().throttled, 0, "scripted quota errors are not the client's fault");
}

#[tokio::test]
async fn the_sign_in_fails_in_its_own_words() {
    let stage = Stage::set().await;
    for (fault, status, error) in [
        (Fault::Quota, 429, "temporarily_unavailable"),
        (Fault::Internal, 500, "server_error"),
        (Fault::Unavailable, 503, "temporarily_unavailable"),
        (Fault::Denied, 400, "unauthorized_client"),
        (Fault::InternalAfter, 500, "server_error"),
    ] {
        stage.control().script_fault(FaultScript::new(Operation::Token, fault, 1)).unwrap();
        let answer = stage.sign_in(0).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (status, Some(error)));
    }
    assert_eq!(stage.sign_in(0).await.status, 200);
}

#[tokio::test]
async fn garbage_is_a_success_that_does_not_parse() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    stage.control().script_fault(FaultScript::new(Operation::GetOrder, Fault::Garbage, 1)).unwrap();
    let path = format!("/orders/2026-01-01/orders/{}", stage.solicitation(0, true).order_id);
    let garbage = stage.get(&path, &token).await;
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&garbage.text).is_err(), "{}", garbage.text);
    assert!(stage.get(&path, &token).await.json()["order"]["orderId"].is_string());
}

#[tokio::test]
async fn a_cut_connection_leaves_nothing_done() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let order = stage.solicitation(0, true);
    stage.control().script_fault(FaultScript::new(POST, Fault::Cut, 1)).unwrap();
    let error = stage.try_send(Method::POST, &order.create, &token).await.expect_err("no answer comes");
    assert!(error.status().is_none() && !error.is_timeout(), "{error:?}");
    assert_eq!(stage.control().summary().review_requests_sent, 0);

    let call = stage.control().calls(0, 100).calls.pop().expect("it was written down");
    assert_eq!((call.operation, call.status, call.fault), (Some(POST), None, Some(Fault::Cut)));
    assert_eq!(stage.post(&order.create, &token).await.status, 201);
    assert_eq!(stage.control().summary().duplicate_requests, 0);
}

#[tokio::test]
async fn an_answer_that_hangs_after_the_effect_never_comes() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let order = stage.solicitation(0, true);
    stage.control().script_fault(FaultScript::new(POST, Fault::HangAfter, 1)).unwrap();
    let asking = stage.try_send(Method::POST, &order.create, &token);
    let releasing = async {
        until("the buyer is asked", || stage.control().summary().review_requests_sent == 1).await;
        stage.control().clear_faults();
    };
    let (answer, ()) = tokio::join!(asking, releasing);
    assert!(answer.expect_err("it is cut in the end").status().is_none());
    assert_eq!(stage.post(&order.create, &token).await.status, 403, "it was done");
}

#[tokio::test]
async fn after_the_effect_the_answer_is_lost_but_the_buyer_was_asked() {
    for fault in [Fault::CutAfter, Fault::InternalAfter] {
        let stage = Stage::set().await;
        let token = stage.access_token(0).await;
        let order = stage.solicitation(0, true);
        stage.control().script_fault(FaultScript::new(POST, fault, 1)).unwrap();
        match stage.try_send(Method::POST, &order.create, &token).await {
            Ok(answer) => assert_eq!((fault, answer.status.as_u16()), (Fault::InternalAfter, 500)),
            Err(error) => assert_eq!((fault, error.status()), (Fault::CutAfter, None)),
        }
        assert_eq!(stage.control().summary().review_requests_sent, 1, "{fault:?}");
        assert_eq!(stage.post(&order.create, &token).await.status, 403, "{fault:?}");
        assert_eq!(stage.control().summary().duplicate_requests, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_refused_call_does_not_use_up_a_fault_that_follows_success() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    stage.control().script_fault(FaultScript::new(POST, Fault::InternalAfter, 1)).unwrap();
    let refused = stage.post(&stage.solicitation(0, false).create, &token).await;
    assert_eq!(refused.status, 403);
    let struck = stage.post(&stage.solicitation(0, true).create, &token).await;
    assert_eq!(struck.status, 500);
    let faults: Vec<_> = stage.control().calls(1, 100).calls.iter().map(|call| call.fault).collect();
    assert_eq!(faults, [None, Some(Fault::InternalAfter)]);
}

#[tokio::test]
async fn an_eligible_order_may_seem_not_to_be() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let order = stage.solicitation(0, true);
    let script = FaultScript::new(Operation::GetSolicitationActionsForOrder, Fault::EmptyActions, 1);
    stage.control().script_fault(script).unwrap();
    let actions =
        |answer: crate::client::Answer| answer.json()["_links"]["actions"].as_array().unwrap().len();
    assert_eq!(actions(stage.get(&order.actions, &token).await), 0);
    assert_eq!(actions(stage.get(&order.actions, &token).await), 1);
}

#[tokio::test]
async fn a_hanging_call_is_answered_when_the_faults_are_cleared() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    stage.control().script_fault(FaultScript::new(Operation::SearchOrders, Fault::Hang, 1)).unwrap();
    let hanging = tokio::spawn({
        let (stage, token) = (stage.clone(), token.clone());
        async move { stage.get(&stage.search(""), &token).await }
    });
    until("the call hangs", || stage.control().calls(1, 1).calls.iter().any(|call| call.fault.is_some()))
        .await;
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 200, "others are served meanwhile");
    assert!(!hanging.is_finished());

    assert_eq!(stage.control().clear_faults(), 0, "its one time was used up");
    assert_eq!(hanging.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_slow_answer_is_late_but_right() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let mut script = FaultScript::new(Operation::SearchOrders, Fault::Slow, 1);
    script.delay_ms = 80;
    stage.control().script_fault(script).unwrap();
    let asked = std::time::Instant::now();
    assert_eq!(stage.get(&stage.search(""), &token).await.status, 200);
    assert!(asked.elapsed().as_millis() >= 80);
}
