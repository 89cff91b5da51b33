//! The control API over HTTP: [`Control`] as JSON under `/control`.
//!
//! It asks for no credentials; the sandbox listens on loopback only. A misspelt field or path is an error, not a default. Errors
//! are `{"error": "what to do"}` with 404 for what does not exist and 422 for what does not fit.

use crate::control::{
    AccountHealthRecord, ChangedOrders, ChangedProducts, Control, ControlError, DayRecord, FeedbackRecord,
    FeedbackRemoval, MetricsWanted, NewMessage, OrderChanges, ParticipationRecord, ProductChanges,
    ProductRecord, QueueRecord, Seed, Seeded, Settings, SettingsChange,
};
use crate::evidence::Summary;
use crate::faults::FaultScript;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

type Answer<T> = Result<Json<T>, ControlError>;

const PAGE_OF_CALLS: usize = 10_000;

/// The routes below `/control`.
pub(crate) fn routes(control: Control) -> Router {
    Router::new()
        .route("/control/seed", post(seed))
        .route("/control/orders", get(orders).post(change_orders))
        .route("/control/orders/{id}/vanish", post(vanish))
        .route("/control/faults", post(script_fault).delete(clear_faults))
        .route("/control/sellers/{id}/revoke", post(revoke))
        .route("/control/sellers/{id}/restore", post(restore))
        .route("/control/products", post(change_products))
        .route("/control/sellers/{id}/products", get(products))
        .route("/control/sellers/{id}/participations", get(participations).post(change_participation))
        .route("/control/sellers/{id}/metrics", get(metrics))
        .route("/control/sellers/{id}/feedback", get(feedback))
        .route("/control/sellers/{id}/account_health", get(account_health))
        .route("/control/feedback/remove", post(remove_feedback))
        .route("/control/messages", get(queue).post(push_message))
        .route("/control/settings", post(change_settings))
        .route("/control/summary", get(summary))
        .route("/control/calls", get(calls))
        .route("/control/{*rest}", any(unknown))
        .with_state(control)
}

async fn seed(State(control): State<Control>, Json(seed): Json<Seed>) -> Answer<Seeded> {
    control.seed(&seed).map(Json)
}

async fn change_orders(
    State(control): State<Control>,
    Json(changes): Json<OrderChanges>,
) -> Answer<ChangedOrders> {
    control.change_orders(&changes).map(Json)
}

async fn vanish(State(control): State<Control>, Path(order_id): Path<String>) -> Answer<Value> {
    control.vanish(&order_id).map(|()| Json(json!({})))
}

async fn script_fault(State(control): State<Control>, Json(script): Json<FaultScript>) -> Answer<Value> {
    control.script_fault(script).map(|()| Json(json!({})))
}

async fn clear_faults(State(control): State<Control>) -> Json<Value> {
    Json(json!({"cleared": control.clear_faults()}))
}

async fn revoke(State(control): State<Control>, Path(seller): Path<String>) -> Answer<Value> {
    control.revoke(&seller).map(|()| Json(json!({})))
}

async fn restore(State(control): State<Control>, Path(seller): Path<String>) -> Answer<Value> {
    control.restore(&seller).map(|refresh_token| Json(json!({"refresh_token": refresh_token})))
}

async fn change_products(
    State(control): State<Control>,
    Json(changes): Json<ProductChanges>,
) -> Answer<ChangedProducts> {
    control.change_products(&changes).map(Json)
}

async fn products(State(control): State<Control>, Path(seller): Path<String>) -> Answer<Vec<ProductRecord>> {
    control.products(&seller).map(Json)
}

async fn participations(
    State(control): State<Control>,
    Path(seller): Path<String>,
) -> Answer<Vec<ParticipationRecord>> {
    control.participations(&seller).map(Json)
}

async fn change_participation(
    State(control): State<Control>,
    Path(seller): Path<String>,
    Json(change): Json<ParticipationRecord>,
) -> Answer<Value> {
    control.change_participation(&seller, &change).map(|()| Json(json!({})))
}

async fn metrics(
    State(control): State<Control>,
    Path(seller): Path<String>,
    Query(wanted): Query<MetricsWanted>,
) -> Answer<Vec<DayRecord>> {
    control.metrics(&seller, &wanted).map(Json)
}

async fn feedback(State(control): State<Control>, Path(seller): Path<String>) -> Answer<Vec<FeedbackRecord>> {
    control.feedback(&seller).map(Json)
}

async fn remove_feedback(
    State(control): State<Control>,
    Json(removal): Json<FeedbackRemoval>,
) -> Answer<Value> {
    control.remove_feedback(&removal).map(|removed| Json(json!({"removed": removed})))
}

async fn account_health(
    State(control): State<Control>,
    Path(seller): Path<String>,
) -> Answer<Vec<AccountHealthRecord>> {
    control.account_health(&seller).map(Json)
}

async fn queue(State(control): State<Control>) -> Json<QueueRecord> {
    Json(control.queue())
}

async fn push_message(State(control): State<Control>, Json(message): Json<NewMessage>) -> Json<Value> {
    control.push_message(&message);
    Json(json!({}))
}

async fn change_settings(
    State(control): State<Control>,
    Json(change): Json<SettingsChange>,
) -> Answer<Settings> {
    control.change_settings(change).map(Json)
}

async fn summary(State(control): State<Control>) -> Json<Summary> {
    Json(control.summary())
}

async fn orders(State(control): State<Control>) -> Json<Value> {
    Json(json!({"sellers": control.orders()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallsWanted {
    #[serde(default)]
    after: u64,
    #[serde(default = "page_of_calls")]
    limit: usize,
}

fn page_of_calls() -> usize {
    PAGE_OF_CALLS
}

async fn calls(State(control): State<Control>, Query(wanted): Query<CallsWanted>) -> impl IntoResponse {
    Json(control.calls(wanted.after, wanted.limit))
}

async fn unknown(Path(rest): Path<String>) -> Response {
    let error = format!("there is no /control/{rest}; run the sandbox with --help to see what there is");
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            ControlError::UnknownSeller(_)
            | ControlError::UnknownOrder(_)
            | ControlError::UnknownMarketplace(_) => StatusCode::NOT_FOUND,
            ControlError::UnknownTimeZone(_)
            | ControlError::OutOfRange { .. }
            | ControlError::FaultDoesNotFit { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}
