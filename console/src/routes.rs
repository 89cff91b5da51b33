//! The one way to add a route: with the rule that says who may ask it.
//!
//! The list that comes of it is what the tests go through, so that no route can be forgotten.

use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware,
    routing::{MethodFilter, on},
};

use crate::{
    access::{Gate, Rule, hold},
    console::Console,
};

/// A route as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// GET, or POST for what changes something.
    pub method: Method,
    /// Its path, with `{id}` for what varies.
    pub path: &'static str,
    /// Who may ask it.
    pub rule: Rule,
}

/// Routes, each held to its rule.
pub struct Routes {
    console: Console,
    router: Router<Console>,
    list: Vec<Route>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new(console: Console) -> Self {
        Self { console, router: Router::new(), list: Vec::new() }
    }

    /// Something to read.
    pub(crate) fn get<H, T>(self, path: &'static str, rule: Rule, handler: H) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, rule, handler)
    }

    /// Something that changes something.
    pub(crate) fn post<H, T>(self, path: &'static str, rule: Rule, handler: H) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, rule, handler)
    }

    fn add<H, T>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        rule: Rule,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        let gate = Gate { console: self.console.clone(), rule };
        let held = on(filter, handler).layer(middleware::from_fn_with_state(gate, hold));
        self.router = self.router.route(path, held);
        self.list.push(Route { method, path, rule });
        self
    }

    /// What was declared.
    pub(crate) fn list(&self) -> &[Route] {
        &self.list
    }

    /// The routes as a service.
    pub(crate) fn into_router(self) -> Router {
        self.router.with_state(self.console)
    }
}
