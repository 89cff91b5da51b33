//! Amazon's usage plans: a token bucket for each seller and operation of the one application the sandbox knows.
//!
//! Every request takes a token; an empty bucket answers 429. Buckets refill in Amazon time, so a faster sandbox has bigger
//! plans and says so in its rate header. Per-application caps and dynamic plans, which Amazon also has, are not modelled.

use crate::operations::{Operation, SellerRequest};
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
    /// Amazon's document that states the numbers, in `amzn/selling-partner-api-models`.
    pub source: &'static str,
    /// The day of the commit the numbers were read in.
    pub read_on: &'static str,
}

const ORDERS_MODEL: &str = "models/orders-api-model/orders_2026-01-01.json";
const SOLICITATIONS_MODEL: &str = "models/solicitations-api-model/solicitations.json";
const MODELS_OF: &str = "2026-08-05";

static SEARCH_ORDERS: UsagePlan = UsagePlan {
    operation: Operation::SearchOrders,
    requests_per_second: 0.0056,
    burst: 20.0,
    source: ORDERS_MODEL,
    read_on: MODELS_OF,
};
static GET_ORDER: UsagePlan = UsagePlan {
    operation: Operation::GetOrder,
    requests_per_second: 0.5,
    burst: 30.0,
    source: ORDERS_MODEL,
    read_on: MODELS_OF,
};
static GET_SOLICITATION_ACTIONS: UsagePlan = UsagePlan {
    operation: Operation::GetSolicitationActionsForOrder,
    requests_per_second: 1.0,
    burst: 5.0,
    source: SOLICITATIONS_MODEL,
    read_on: MODELS_OF,
};
static CREATE_SOLICITATION: UsagePlan = UsagePlan {
    operation: Operation::CreateProductReviewAndSellerFeedbackSolicitation,
    requests_per_second: 1.0,
    burst: 5.0,
    source: SOLICITATIONS_MODEL,
    read_on: MODELS_OF,
};

impl UsagePlan {
    /// Every plan the sandbox enforces.
    pub(crate) fn all() -> Vec<UsagePlan> {
        vec![SEARCH_ORDERS, GET_ORDER, GET_SOLICITATION_ACTIONS, CREATE_SOLICITATION]
    }

    /// The plan a request is under.
    pub(crate) fn of(request: &SellerRequest) -> &'static UsagePlan {
        match request {
            SellerRequest::SearchOrders => &SEARCH_ORDERS,
            SellerRequest::GetOrder(_) => &GET_ORDER,
            SellerRequest::GetSolicitationActions(_) => &GET_SOLICITATION_ACTIONS,
            SellerRequest::CreateSolicitation(_) => &CREATE_SOLICITATION,
        }
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
    fn full(plan: &UsagePlan, at: AmazonTime) -> TokenBucket {
        TokenBucket { tokens: plan.burst, filled_at: at }
    }

    fn take(&mut self, plan: &UsagePlan, at: AmazonTime) -> bool {
        let refill = at.seconds_since(self.filled_at) * plan.requests_per_second;
        self.tokens = (self.tokens + refill).min(plan.burst);
        self.filled_at = at;
        let granted = self.tokens + ROUNDING >= 1.0;
        if granted {
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        granted
    }
}

/// The buckets of all sellers.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    by_seller_and_operation: HashMap<(String, Operation), TokenBucket>,
}

impl Buckets {
    /// Takes a token, or returns `false` when the bucket is empty. A refused request costs nothing.
    pub(crate) fn take(&mut self, plan: &UsagePlan, seller: &str, at: AmazonTime) -> bool {
        self.by_seller_and_operation
            .entry((seller.to_owned(), plan.operation))
            .or_insert_with(|| TokenBucket::full(plan, at))
            .take(plan, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Pace;
    use chrono::{DateTime, TimeDelta, Utc};

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    #[test]
    fn the_burst_goes_at_once_and_one_comes_back_after_each_interval() {
        let search = &SEARCH_ORDERS;
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
        let actions = &GET_SOLICITATION_ACTIONS;
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
        let actions = &GET_SOLICITATION_ACTIONS;
        let post = &CREATE_SOLICITATION;
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
    fn a_client_that_obeys_the_header_of_a_fast_sandbox_is_never_throttled() {
        let search = &SEARCH_ORDERS;
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
