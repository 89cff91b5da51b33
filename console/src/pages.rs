//! Pages about queues and jobs, for people in a browser, beside health and metrics for machines.
//!
//! They work without scripts; a few lines of our own keep them fresh and add the reader's own time. Nothing on them is
//! anything but ids and what our own programs wrote, and all of it is escaped. Who may see and do what is said with each
//! route in [`routes`].

mod account;
mod acting;
mod amazon;
mod assets;
mod audit;
mod bulk;
mod chart;
mod dead;
mod deadlines;
mod demo;
mod factors;
mod fields;
mod gauges;
mod headers;
mod history;
mod invitation;
mod job;
mod keys;
mod kinds;
mod layout;
mod list;
mod live;
mod overview;
pub(crate) mod parts;
mod passkey_form;
mod people;
mod problem;
mod queues;
mod recovery_codes;
mod reliability;
mod scan;
mod schedules;
mod second_factor;
mod seller;
mod sellers;
pub(crate) mod sign_in;
mod signed_in;
mod steering;
pub(crate) mod step_up;
mod workers;

use axum::{Extension, Router, middleware};
use runtime::health::Health;

pub use self::{live::EVERY as LIVE_EVERY, problem::Problem};
use crate::{
    access::{self, Rule},
    auth::Permission,
    console::Console,
    routes::{Route, Routes},
};

/// Every page, with the rule of each.
fn routes(console: &Console) -> Routes {
    let view = Rule::Staff(Permission::View);
    let operate = Rule::Staff(Permission::Operate);
    let administer = Rule::Staff(Permission::Administer);
    let administer_now = Rule::SteppedUp(Permission::Administer);
    let routes = Routes::new(console.clone())
        .get("/", view, overview::page)
        .get("/live", view, live::stream)
        .get("/queues", view, queues::page)
        .post("/queues/{queue}/{change}", operate, steering::queue)
        .get("/kinds", view, kinds::page)
        .post("/kinds/{kind}/{change}", operate, steering::kind)
        .get("/workers", view, workers::page)
        .get("/reliability", view, reliability::page)
        .get("/jobs", view, list::page)
        .get("/jobs/{id}", view, job::page)
        .post("/jobs/{id}/requeue", operate, job::requeue)
        .post("/jobs/{id}/discard", operate, job::discard)
        .post("/jobs/{id}/cancel", operate, job::cancel)
        .post("/jobs/{id}/run-now", operate, job::run_now)
        .post("/jobs/change", operate, list::change)
        .get("/dead", view, dead::page)
        .get("/schedules", view, schedules::page)
        .post("/schedules/{kind}/run", operate, schedules::run)
        .post("/schedules/{kind}/pause", operate, schedules::pause)
        .post("/schedules/{kind}/resume", operate, schedules::resume)
        .get("/deadlines", view, deadlines::page)
        .get("/bulk", view, bulk::list)
        .get("/bulk/new", view, bulk::plan)
        .post("/bulk/start", Rule::SteppedUp(Permission::Operate), bulk::start)
        .get("/bulk/{id}", view, bulk::page)
        .post("/bulk/{id}/stop", operate, bulk::stop)
        .get("/sellers", view, sellers::page)
        .get("/sellers/{id}", view, seller::page)
        .post("/sellers/{id}/sync", operate, seller::sync)
        .post("/sellers/{id}/pause", operate, seller::pause)
        .post("/sellers/{id}/resume", operate, seller::resume)
        .post("/sellers/{id}/disconnect", Rule::SteppedUp(Permission::Operate), seller::disconnect)
        .get("/amazon", view, amazon::page)
        .get("/audit", Rule::Staff(Permission::ReadAudit), audit::page)
        .get("/keys", administer, keys::page)
        .post("/keys", administer_now, keys::create)
        .post("/keys/{id}/rotate", administer_now, keys::rotate)
        .post("/keys/{id}/revoke", administer_now, keys::revoke);
    let routes = sign_in::add(routes);
    let routes = invitation::add(routes);
    let routes = factors::add(routes);
    let routes = people::add(routes);
    let routes = account::add(routes);
    demo::add(assets::add(routes), console)
}

/// What [`router`] answers, as it was declared, without health and metrics.
#[must_use]
pub fn declared(console: &Console) -> Vec<Route> {
    routes(console).list().to_vec()
}

/// All pages, the files they need, `/livez`, `/readyz` and `/metrics`. To be served with the peers' addresses.
pub fn router(console: Console, health: Health) -> Router {
    gauges::describe();
    let fresh_gauges = middleware::from_fn_with_state(console.clone(), gauges::refresh);
    let live = live::Live::new(console.clone(), health.stopping.clone());
    let this_host = access::Gate { console: console.clone(), rule: Rule::ThisHost };
    let machines =
        health.router().layer(fresh_gauges).layer(middleware::from_fn_with_state(this_host, access::hold));
    routes(&console)
        .into_router()
        .merge(machines)
        .fallback(problem::no_such_page)
        .layer(Extension(live))
        .layer(middleware::from_fn(headers::headers))
        .layer(middleware::from_fn_with_state(console, access::only_our_names))
}
