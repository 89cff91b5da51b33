//! The OpenAPI document, made from the code, and the page that shows it. Nothing is fetched from elsewhere.

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use jobs::catalog::CATALOG;
use serde_json::{Map, Value, json};
use utoipa::{
    OpenApi,
    openapi::{
        self,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problem::{FieldError, ProblemBody};

/// Where the document is.
pub(super) const PATH: &str = "/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Amzigo jobs",
        version = "1",
        description = "Enqueue background jobs, look them up, wait for their end. Every refusal is application/problem+json and \
            names the field and what would be right. See docs/API.md."
    ),
    components(schemas(ProblemBody, FieldError)),
    tags(
        (name = "jobs", description = "One job, many jobs, and what becomes of them."),
        (name = "batches", description = "Jobs that belong together, and one that follows them."),
        (name = "kinds", description = "What can be enqueued."),
        (name = "schedules", description = "What fires by itself."),
    ),
)]
struct Document;

/// The document without its operations.
pub(super) fn empty() -> openapi::OpenApi {
    let mut document = Document::openapi();
    let key = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("amzigo_live_…")
        .description(Some("A key, as `amzigo keys create` shows it once."))
        .build();
    let components = document.components.get_or_insert_with(openapi::Components::new);
    components.add_security_scheme("key", SecurityScheme::Http(key));
    document
}

/// The document with all operations: a job is one of the catalog's kinds, with a payload as the kind's schema has it.
pub(super) fn whole(document: openapi::OpenApi) -> Value {
    // What was made from the code is JSON; the tests look at it.
    let mut whole = serde_json::to_value(document).unwrap_or_default();
    for operation in whole["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for parameter in operation.as_object_mut().into_iter().flat_map(Map::values_mut).flat_map(parameters)
        {
            never_null(&mut parameter["schema"]);
        }
    }
    let kinds: Value = CATALOG.iter().map(|kind| kind.name).collect();
    let jobs: Vec<_> = CATALOG
        .iter()
        .map(|kind| {
            let payload = without_dialect(kind.schema().clone());
            json!({ "properties": { "kind": { "const": kind.name }, "payload": payload } })
        })
        .collect();
    let schemas = &mut whole["components"]["schemas"];
    for request in ["JobRequest", "FollowUpRequest"] {
        schemas[request]["properties"]["kind"]["enum"] = kinds.clone();
        schemas[request]["anyOf"] = jobs.clone().into();
    }
    // Anything may stand there: what is no job is refused for itself.
    let items = &mut schemas["BulkRequest"]["properties"]["jobs"]["items"];
    *items = json!({ "anyOf": [items.take(), {}] });
    whole
}

/// Not by index: that would write `null` where there are none, which no reader of the document takes.
fn parameters(operation: &mut Value) -> impl Iterator<Item = &mut Value> {
    operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten()
}

/// A parameter is there or not; it cannot be null.
fn never_null(schema: &mut Value) {
    if let Some(name) = schema["type"].as_array().and_then(|names| names.iter().find(|name| *name != "null"))
    {
        schema["type"] = name.clone();
    }
}

/// The document says once which dialect its schemas are of.
fn without_dialect(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
    }
    schema
}

/// The page that shows the document, with a policy that lets it do no more than it must: it sets styles from its script.
pub(super) fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let config = Config::from(PATH).validator_url("none").persist_authorization(false);
    Router::from(SwaggerUi::new("/docs").config(config)).layer(middleware::from_fn(policy))
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn policy(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// The document
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "kinds", operation_id = "getDocument",
    responses((status = 200, description = "This document.", body = Object)),
)]
pub(super) async fn json() -> Json<&'static Value> {
    Json(super::document())
}
