//! Amazon's usage plans: a token bucket for each seller and operation of the one application the sandbox knows, and for some
//! operations another one that all its sellers share.
//!
//! Every request takes a token; an empty bucket answers 429. Buckets refill in Amazon time, so a faster sandbox has bigger
//! plans and says so in its rate header. Dynamic plans, which Amazon also has, are not modelled.

use crate::operations::Operation;
use crate::pace::AmazonTime;
use serde::Serialize;
use std::collections::HashMap;

/// What a default usage plan allows, and where the numbers are from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UsagePlan {
    /// The operation it limits.
    pub operation: Operation,
    /// Tokens that come back each second.
    pub requests_per_second: f64,
    /// Tokens in a full bucket.
    pub burst: f64,
    /// What all sellers of the application may do together, in requests per second, where Amazon says so.
    pub application_requests_per_second: Option<f64>,
    /// Amazon's document that states the numbers, in `amzn/selling-partner-api-models`.
    pub source: &'static str,
    /// The day of the commit the numbers were read in.
    pub read_on: &'static str,
}

const MODELS_OF: &str = "2026-08-05";

const fn plan(operation: Operation, requests_per_second: f64, burst: f64, source: &'static str) -> UsagePlan {
    UsagePlan {
        operation,
        requests_per_second,
        burst,
        application_requests_per_second: None,
        source,
        read_on: MODELS_OF,
    }
}

const ORDERS: &str = "models/orders-api-model/orders_2026-01-01.json";
const SOLICITATIONS: &str = "models/solicitations-api-model/solicitations.json";
const SELLERS: &str = "models/sellers-api-model/sellers.json";
const INVENTORY: &str = "models/fba-inventory-api-model/fbaInventory.json";
const LISTINGS: &str = "models/listings-items-api-model/listingsItems_2021-08-01.json";
const CATALOG: &str = "models/catalog-items-api-model/catalogItems_2022-04-01.json";
const REPORTS: &str = "models/reports-api-model/reports_2021-06-30.json";
const NOTIFICATIONS: &str = "models/notifications-api-model/notifications.json";
const SALES: &str = "models/sales-api-model/sales.json";

static PLANS: [UsagePlan; 16] = [
    plan(Operation::SearchOrders, 0.0056, 20.0, ORDERS),
    plan(Operation::GetOrder, 0.5, 30.0, ORDERS),
    plan(Operation::GetSolicitationActionsForOrder, 1.0, 5.0, SOLICITATIONS),
    plan(Operation::CreateProductReviewAndSellerFeedbackSolicitation, 1.0, 5.0, SOLICITATIONS),
    plan(Operation::GetMarketplaceParticipations, 0.016, 15.0, SELLERS),
    plan(Operation::GetInventorySummaries, 2.0, 2.0, INVENTORY),
    plan(Operation::SearchListingsItems, 5.0, 5.0, LISTINGS),
    UsagePlan {
        // "Catalog Items API rate limits", which the model does not repeat.
        application_requests_per_second: Some(500.0),
        ..plan(Operation::SearchCatalogItems, 2.0, 2.0, CATALOG)
    },
    plan(Operation::GetOrderMetrics, 0.5, 15.0, SALES),
    plan(Operation::CreateReport, 0.0167, 15.0, REPORTS),
    plan(Operation::GetReport, 2.0, 15.0, REPORTS),
    plan(Operation::GetReportDocument, 0.0167, 15.0, REPORTS),
    plan(Operation::CreateDestination, 1.0, 5.0, NOTIFICATIONS),
    plan(Operation::GetDestinations, 1.0, 5.0, NOTIFICATIONS),
    plan(Operation::CreateSubscription, 1.0, 5.0, NOTIFICATIONS),
    plan(Operation::GetSubscription, 1.0, 5.0, NOTIFICATIONS),
];

impl UsagePlan {
    /// Every plan the sandbox enforces.
    pub(crate) fn all() -> Vec<UsagePlan> {
        PLANS.to_vec()
    }

    /// The plan of an operation; what is not of the Selling Partner API has none.
    pub(crate) fn of(operation: Operation) -> Option<&'static UsagePlan> {
        PLANS.iter().find(|plan| plan.operation == operation)
    }

    /// The value of `x-amzn-RateLimit-Limit` at a speed: requests per wall second, rounded to what a reader can bear.
    pub(crate) fn rate_header(&self, speed: f64) -> String {
        format!("{}", (self.requests_per_second * speed * 1e6).round() / 1e6)
    }
}

/// A client that waits exactly one refill interval must find its token in spite of rounding in the arithmetic.
const ROUNDING: f64 = 1e-6;

#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    tokens: f64,
    filled_at: AmazonTime,
}

impl TokenBucket {
    fn full(burst: f64, at: AmazonTime) -> TokenBucket {
        TokenBucket { tokens: burst, filled_at: at }
    }

    fn refill(&mut self, requests_per_second: f64, burst: f64, at: AmazonTime) {
        let refill = at.seconds_since(self.filled_at) * requests_per_second;
        self.tokens = (self.tokens + refill).min(burst);
        self.filled_at = at;
    }

    fn has_one(&self) -> bool {
        self.tokens + ROUNDING >= 1.0
    }

    fn take(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }
}

/// The buckets of all sellers, and those of the application.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    by_seller_and_operation: HashMap<(String, Operation), TokenBucket>,
    by_operation: HashMap<Operation, TokenBucket>,
}

impl Buckets {
    /// Takes a token, or returns `false` when a bucket is empty. A refused request costs nothing.
    pub(crate) fn take(&mut self, plan: &UsagePlan, seller: &str, at: AmazonTime) -> bool {
        let own = self
            .by_seller_and_operation
            .entry((seller.to_owned(), plan.operation))
            .or_insert_with(|| TokenBucket::full(plan.burst, at));
        own.refill(plan.requests_per_second, plan.burst, at);
        let Some(rate) = plan.application_requests_per_second else {
            let granted = own.has_one();
            if granted {
                own.take();
            }
            return granted;
        };
        // What may be done in a second may be done at once.
        let everyones =
            self.by_operation.entry(plan.operation).or_insert_with(|| TokenBucket::full(rate, at));
        everyones.refill(rate, rate, at);
        let granted = own.has_one() && everyones.has_one();
        if granted {
            own.take();
            everyones.take();
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Pace;
    use chrono::{DateTime, TimeDelta, Utc};

    fn plan_of(operation: Operation) -> &'static UsagePlan {
        UsagePlan::of(operation).expect("it has a plan")
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    #[test]
    fn the_burst_goes_at_once_and_one_comes_back_after_each_interval() {
        let search = plan_of(Operation::SearchOrders);
        let pace = Pace::new(start(), 1.0);
        let mut buckets = Buckets::default();
        for request in 1..=20 {
            assert!(buckets.take(search, "A1", pace.at(start())), "request {request} is within the burst");
        }
        assert!(!buckets.take(search, "A1", pace.at(start())), "the 21st finds the bucket empty");

        let almost = start() + TimeDelta::milliseconds(178_500);
        assert!(!buckets.take(search, "A1", pace.at(almost)), "a token takes 178.6 s");
        let interval = start() + TimeDelta::milliseconds(178_572);
        assert!(buckets.take(search, "A1", pace.at(interval)), "after 178.6 s there is one");
        assert!(!buckets.take(search, "A1", pace.at(interval)), "and only one");
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let actions = plan_of(Operation::GetSolicitationActionsForOrder);
        let pace = Pace::new(start(), 1.0);
        let mut buckets = Buckets::default();
        assert!(buckets.take(actions, "A1", pace.at(start())));
        let a_day_later = pace.at(start() + TimeDelta::days(1));
        for request in 1..=5 {
            assert!(buckets.take(actions, "A1", a_day_later), "request {request} is within the burst");
        }
        assert!(!buckets.take(actions, "A1", a_day_later));
    }

    #[test]
    fn sellers_and_operations_do_not_share_a_bucket() {
        let actions = plan_of(Operation::GetSolicitationActionsForOrder);
        let post = plan_of(Operation::CreateProductReviewAndSellerFeedbackSolicitation);
        let at = Pace::new(start(), 1.0).at(start());
        let mut buckets = Buckets::default();
        for _ in 0..5 {
            assert!(buckets.take(actions, "A1", at));
        }
        assert!(!buckets.take(actions, "A1", at));
        assert!(buckets.take(actions, "A2", at), "another seller has a bucket of its own");
        assert!(buckets.take(post, "A1", at), "another operation has a bucket of its own");
    }

    #[test]
    fn all_sellers_share_what_the_application_may_do() {
        let catalog = plan_of(Operation::SearchCatalogItems);
        let at = Pace::new(start(), 1.0).at(start());
        let mut buckets = Buckets::default();
        for seller in 0..250 {
            for _ in 0..2 {
                assert!(buckets.take(catalog, &format!("A{seller}"), at), "seller {seller}");
            }
        }
        assert!(!buckets.take(catalog, "B1", at), "500 calls have been made in this second");
        let pace = Pace::new(start(), 1.0);
        let later = pace.at(start() + TimeDelta::milliseconds(4));
        assert!(buckets.take(catalog, "B1", later), "two more after 4 ms");
        assert!(buckets.take(catalog, "B1", later), "the refused call cost its seller nothing");
        assert!(!buckets.take(catalog, "B2", later));
    }

    #[test]
    fn a_client_that_obeys_the_header_of_a_fast_sandbox_is_never_throttled() {
        let search = plan_of(Operation::SearchOrders);
        let pace = Pace::new(start(), 600.0);
        let rate: f64 = search.rate_header(600.0).parse().expect("the header is a number");
        assert_eq!(rate, 3.36);
        let mut buckets = Buckets::default();
        for request in 0..1_000 {
            let seconds = f64::from(request) / rate;
            let at = start() + TimeDelta::nanoseconds((seconds * 1e9) as i64);
            assert!(buckets.take(search, "A1", pace.at(at)), "request {request}");
        }
    }
}
