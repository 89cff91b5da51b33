//! The two operations of the Orders API: how a request becomes a search, and an order an answer.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::documents::{DataSet, Parts, order_document};
use crate::query::InvalidQuery;
use crate::search::{Scope, search};
use crate::state::State;
use axum::http::StatusCode;
use serde_json::json;
use std::collections::BTreeSet;

/// `searchOrders`
pub(crate) fn search_orders(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    let scope = Scope {
        orders: &state.orders,
        seller: ask.seller,
        now: ask.now,
        pace: &state.pace,
        leak_buyer_data: state.leak_buyer_data,
    };
    let page = search(&scope, &mut state.paging, ask.query)?;
    Ok(Answer::json(StatusCode::OK, &page))
}

/// `getOrder`
pub(crate) fn get_order(state: &State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&["includedData"])?;
    let included: BTreeSet<DataSet> = ask.query.names("includedData")?;
    let Some(order) = state.orders.of_seller(ask.seller, ask.first_subject()) else {
        return Ok(Answer::not_found("The order was not found."));
    };
    let parts = Parts { included, leak_buyer_data: state.leak_buyer_data };
    Ok(Answer::json(StatusCode::OK, &json!({"order": order_document(order, &parts)})))
}
