//! The one way to add an operation: with the rule that says who may ask it. Its rule writes into the OpenAPI document what
//! every such operation may answer, so that no status can be forgotten.

use axum::{Router, http::Method, middleware};
use utoipa::openapi::{
    Content, HttpMethod, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    path::{Operation, Paths},
    security::SecurityRequirement,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{
    Api,
    gate::{Gate, Rule, hold},
    problem::MEDIA_TYPE,
};

/// An operation as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// GET, or POST for what changes something.
    pub method: Method,
    /// Its path, with `{id}` for what varies.
    pub path: String,
    /// Who may ask it.
    pub rule: Rule,
}

/// Operations, each held to its rule.
pub(super) struct Routes {
    api: Option<Api>,
    router: OpenApiRouter<Api>,
    list: Vec<Route>,
}

impl Routes {
    /// None yet. Without an API they can be listed and described, not asked.
    pub(super) fn new(api: Option<Api>, document: OpenApi) -> Self {
        Self { api, router: OpenApiRouter::with_openapi(document), list: Vec::new() }
    }

    pub(super) fn add(mut self, rule: Rule, routes: UtoipaMethodRouter<Api>) -> Self {
        let (schemas, mut paths, mut asked) = routes;
        self.list.extend(listed(&mut paths, rule));
        if let Some(api) = &self.api {
            let gate = Gate { api: api.clone(), rule };
            asked = asked.layer(middleware::from_fn_with_state(gate, hold));
        }
        self.router = self.router.routes((schemas, paths, asked));
        self
    }

    pub(super) fn list(self) -> Vec<Route> {
        self.list
    }

    /// The operations and what describes them.
    pub(super) fn split(self) -> (Router<Api>, OpenApi) {
        self.router.split_for_parts()
    }
}

/// What is declared here; each operation is told what its rule may answer.
fn listed(paths: &mut Paths, rule: Rule) -> Vec<Route> {
    let mut list = Vec::new();
    for (path, item) in &mut paths.paths {
        let operations =
            [(Method::GET, HttpMethod::Get, &mut item.get), (Method::POST, HttpMethod::Post, &mut item.post)];
        for (method, _, operation) in operations {
            if let Some(operation) = operation {
                if let Rule::Key(scope) = rule {
                    declare(operation, scope.name());
                }
                list.push(Route { method, path: path.clone(), rule });
            }
        }
    }
    list
}

/// What any operation with a key may answer.
const ALWAYS: [(&str, &str); 7] = [
    ("401", "No key, one that is not ours, or one that has ended."),
    ("403", "The key may not do this, or not for this kind."),
    ("406", "Only JSON is answered."),
    ("414", "The address is too long."),
    ("429", "The key's limit is used up; Retry-After says for how long."),
    ("431", "Too many headers."),
    ("503", "The database is away, or too much comes at once; Retry-After says when to come again."),
];

/// What one with a body may answer besides.
const WITH_A_BODY: [(&str, &str); 5] = [
    ("400", "The body is not JSON or not UTF-8, or a parameter cannot be understood."),
    ("408", "The body came too slowly."),
    ("413", "The body is too large."),
    ("415", "The body is of another media type."),
    ("422", "A field is not right; `errors` names it and what would be right."),
];

/// What one with parameters may answer besides.
const WITH_PARAMETERS: [(&str, &str); 1] = [("400", "A parameter cannot be understood; `errors` names it.")];

fn declare(operation: &mut Operation, scope: &str) {
    let requirement = SecurityRequirement::new("key", [scope]);
    operation.security.get_or_insert_default().push(requirement);
    let mut may = ALWAYS.to_vec();
    if operation.request_body.is_some() {
        may.extend(WITH_A_BODY);
    }
    if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        may.extend(WITH_PARAMETERS);
    }
    for (status, what) in may {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(what));
    }
}

fn problem(what: &str) -> RefOr<Response> {
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    ResponseBuilder::new().description(what).content(MEDIA_TYPE, Content::new(Some(schema))).build().into()
}
