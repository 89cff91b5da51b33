//! `searchOrders`: which orders a query means, and pages of them.
//!
//! A search is frozen at its first page: what changes later does not shift the pages, it belongs to the next search. A paging
//! token is good for one seller and one set of filters, for 24 hours, as often as the client likes: a page that got lost may
//! be asked for again.

use crate::documents::{DataSet, Parts, order_document};
use crate::orders::{FulfilledBy, FulfillmentStatus, Order, OrderBook, Place, SETTLING, iso8601};
use crate::pace::{AmazonTime, Pace};
use crate::query::{InvalidQuery, Query};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

const PARAMETERS: [&str; 10] = [
    "createdAfter",
    "createdBefore",
    "lastUpdatedAfter",
    "lastUpdatedBefore",
    "fulfillmentStatuses",
    "marketplaceIds",
    "fulfilledBy",
    "maxResultsPerPage",
    "paginationToken",
    "includedData",
];
const MARKETPLACES: usize = 50;
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 1..=100;
const TOKEN_LIFE_SECONDS: f64 = 24.0 * 3600.0;

/// The moment of an order that a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SearchBy {
    Created,
    LastUpdated,
}

impl SearchBy {
    /// Names of the parameters that begin and end the search; the latter also names the end in the answer.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            SearchBy::Created => ("createdAfter", "createdBefore"),
            SearchBy::LastUpdated => ("lastUpdatedAfter", "lastUpdatedBefore"),
        }
    }

    fn moment(self, order: &Order) -> DateTime<Utc> {
        match self {
            SearchBy::Created => order.created_at,
            SearchBy::LastUpdated => order.last_updated_at,
        }
    }
}

/// The part of a query that must stay the same from page to page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filters {
    by: SearchBy,
    after: DateTime<Utc>,
    before: Option<DateTime<Utc>>,
    marketplaces: BTreeSet<String>,
    statuses: BTreeSet<FulfillmentStatus>,
    fulfilled_by: BTreeSet<FulfilledBy>,
}

impl Filters {
    fn parse(query: &Query, now: DateTime<Utc>) -> Result<Filters, InvalidQuery> {
        let by = match (query.moment("createdAfter")?, query.moment("lastUpdatedAfter")?) {
            (Some(_), None) => SearchBy::Created,
            (None, Some(_)) => SearchBy::LastUpdated,
            _ => {
                return Err(InvalidQuery(
                    "Exactly one of createdAfter and lastUpdatedAfter is required.".to_owned(),
                ));
            }
        };
        let (after_name, before_name) = by.names();
        let (_, foreign_name) = match by {
            SearchBy::Created => SearchBy::LastUpdated.names(),
            SearchBy::LastUpdated => SearchBy::Created.names(),
        };
        if query.one(foreign_name)?.is_some() {
            return Err(InvalidQuery(format!("{foreign_name} cannot be combined with {after_name}.")));
        }
        let after =
            query.moment(after_name)?.ok_or_else(|| InvalidQuery(format!("{after_name} is empty.")))?;
        let before = query.moment(before_name)?;
        if before.is_some_and(|before| before < after) {
            return Err(InvalidQuery(format!("{before_name} is before {after_name}.")));
        }
        if before.is_some_and(|before| before > now - SETTLING) {
            return Err(InvalidQuery(format!("{before_name} must be at least two minutes before now.")));
        }
        let marketplaces: BTreeSet<String> =
            query.list("marketplaceIds").into_iter().map(str::to_owned).collect();
        if marketplaces.len() > MARKETPLACES {
            return Err(InvalidQuery(format!("marketplaceIds has more than {MARKETPLACES} values.")));
        }
        Ok(Filters {
            by,
            after,
            before,
            marketplaces,
            statuses: query.names("fulfillmentStatuses")?,
            fulfilled_by: query.names("fulfilledBy")?,
        })
    }

    fn match_order(&self, order: &Order, until: DateTime<Utc>) -> bool {
        let moment = self.by.moment(order);
        (self.after..=until).contains(&moment)
            && (self.marketplaces.is_empty() || self.marketplaces.contains(order.marketplace.id))
            && (self.statuses.is_empty() || self.statuses.contains(&order.status))
            && (self.fulfilled_by.is_empty() || self.fulfilled_by.contains(&order.fulfilled_by))
    }
}

/// Where the next page begins, and for whom.
#[derive(Clone, Debug)]
struct Bookmark {
    seller: String,
    filters: Filters,
    until: DateTime<Utc>,
    behind: Place,
    ends: AmazonTime,
}

/// The paging tokens that were given out and still live.
#[derive(Debug, Default)]
pub(crate) struct PagingTokens {
    bookmarks: HashMap<String, Bookmark>,
}

impl PagingTokens {
    fn issue(&mut self, bookmark: Bookmark, at: AmazonTime) -> String {
        // The usage plan allows a seller some 500 pages a day, so that looking at all of them each time is cheap.
        self.bookmarks.retain(|_, kept| kept.ends > at);
        let token = Uuid::new_v4().simple().to_string();
        self.bookmarks.insert(token.clone(), bookmark);
        token
    }

    fn resume(
        &self,
        token: &str,
        seller: &str,
        filters: &Filters,
        at: AmazonTime,
    ) -> Result<&Bookmark, InvalidQuery> {
        let refuse = |why: &str| InvalidQuery(format!("paginationToken {why}."));
        let bookmark = self
            .bookmarks
            .get(token)
            .filter(|kept| kept.seller == seller && kept.ends > at)
            .ok_or_else(|| refuse("is invalid or has expired"))?;
        if bookmark.filters != *filters {
            return Err(refuse("belongs to a request with other parameters"));
        }
        Ok(bookmark)
    }
}

/// What a search looks at.
pub(crate) struct Scope<'a> {
    /// The orders.
    pub(crate) orders: &'a OrderBook,
    /// Whose orders.
    pub(crate) seller: &'a str,
    /// The wall clock.
    pub(crate) now: DateTime<Utc>,
    /// How fast tokens age.
    pub(crate) pace: &'a Pace,
    /// Send buyer data unasked.
    pub(crate) leak_buyer_data: bool,
}

/// Answers one page of a search.
pub(crate) fn search(
    scope: &Scope<'_>,
    tokens: &mut PagingTokens,
    query: &Query,
) -> Result<Value, InvalidQuery> {
    query.allow_only(&PARAMETERS)?;
    let filters = Filters::parse(query, scope.now)?;
    let page_size = query.number("maxResultsPerPage", PAGE_SIZES)?.unwrap_or(*PAGE_SIZES.end());
    let included: BTreeSet<DataSet> = query.names("includedData")?;
    let at = scope.pace.at(scope.now);
    let (until, behind) = match query.one("paginationToken")? {
        Some(token) => {
            let bookmark = tokens.resume(token, scope.seller, &filters, at)?;
            (bookmark.until, Some(bookmark.behind.clone()))
        }
        None => (filters.before.unwrap_or(scope.now - SETTLING), None),
    };
    let from = (filters.by == SearchBy::LastUpdated).then_some(filters.after);
    let mut matching = scope
        .orders
        .timeline_from(scope.seller, from, behind.as_ref())
        .filter(|order| filters.match_order(order, until));
    let page: Vec<&Order> = matching.by_ref().take(page_size).collect();
    let more = matching.next().is_some();

    let parts = Parts { included, leak_buyer_data: scope.leak_buyer_data };
    let documents: Vec<Value> = page.iter().map(|order| order_document(order, &parts)).collect();
    let (_, before_name) = filters.by.names();
    let mut answer = json!({"orders": documents, before_name: iso8601(until)});
    if let (true, Some(last)) = (more, page.last()) {
        let bookmark = Bookmark {
            seller: scope.seller.to_owned(),
            filters,
            until,
            behind: (last.last_updated_at, last.order_id.clone()),
            ends: scope.pace.lifetime(scope.now, TOKEN_LIFE_SECONDS).ends,
        };
        answer["pagination"] = json!({"nextToken": tokens.issue(bookmark, at)});
    }
    Ok(answer)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
