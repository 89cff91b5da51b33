//! Requests a review for each of a seller's orders that may have one now: once per order, ever.
//!
//! When: after each sync of the seller's orders, every hour, and on request.
//! Safe to repeat: `sending` is committed before a request leaves; where an answer is missing, Amazon is first asked
//! whether the action is still offered, and never before the lost call must have ended.
//! Limits: `getSolicitationActionsForOrder` and `createProductReviewAndSellerFeedbackSolicitation`, a budget a seller each.
//! Does not promise: that Amazon sends its mail, or tells us whether the buyer opted out.
//! In dead letters: deploy/runbooks/send_review_requests.md.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, Job, Outcome, Policy, Run, Schedule, policy::minutes};
use runtime::secret::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    context::Context,
    kinds::sync_orders::{amazon_failed, load_seller},
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        client::{Request, Success},
        solicitations::{self, OrderId},
    },
    store::{
        review_requests::{self, Candidate, Decision, Outcome as Became},
        sellers,
        sellers::{Seller, SellerId},
    },
};

/// The seller whose orders are looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendReviewRequests {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run decided, by outcome.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Requested {
    /// Requests that Amazon took.
    pub sent: u32,
    /// Requests whose answer was lost but which are no longer offered.
    pub sent_probably: u32,
    /// Orders to ask about again.
    pub not_offered: u32,
    /// Orders that ended without a request.
    pub without: u32,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// Amazon offers nothing at random at times (its issue 187): ask again a day later, until the window closes.
const ASK_AGAIN: TimeDelta = TimeDelta::days(1);
/// After so many orders a run makes way for other sellers.
const ORDERS_A_RUN: u32 = 500;
/// So many orders that Amazon fails at are passed over, because one that it always fails at must not hold up all others.
/// When there are more, it is Amazon that is ill.
const PASSED_OVER_A_RUN: usize = 3;

impl Job for SendReviewRequests {
    const KIND: &'static str = "send_review_requests";
    const SUMMARY: &'static str =
        "Requests a review for each order that may have one now: once per order, ever.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(30))
        .max_attempts(12)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("7 * * * *"));

    type Context = Context;
    type Report = Requested;

    fn group(&self) -> String {
        self.seller.to_string()
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Requested> {
        let mut requested = Requested::default();
        let Some(seller) = load_seller(context, self.seller).await? else {
            return Ok(Requested { skipped: Some("the seller is not connected"), ..requested });
        };
        let refresh_token = seller.refresh_token(&context.keyring).map_err(Failure::reject)?;
        let at_amazon = AtAmazon { context, seller: &seller, refresh_token: &refresh_token, run };
        let mut passed_over = PassedOver::default();
        for _ in 0..ORDERS_A_RUN {
            let Some(candidate) = next_candidate(context, &seller, &passed_over.orders).await? else {
                return match passed_over.failure {
                    Some(failure) => Err(failure),
                    None => finish(context, &seller, requested).await,
                };
            };
            match at_amazon.decide_order(&candidate).await {
                Ok(became) => requested.count(became),
                Err(failure) => passed_over.add(candidate, failure)?,
            }
        }
        Err(Failure::snooze(context.clock.now(), "its next turn: other sellers come first"))
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

impl Requested {
    const fn count(&mut self, became: Option<Became>) {
        match became {
            Some(Became::Sent) => self.sent += 1,
            Some(Became::SentProbably) => self.sent_probably += 1,
            Some(Became::NotOffered) => self.not_offered += 1,
            Some(Became::NotAvailable | Became::WindowClosed | Became::Refused | Became::Gone) => {
                self.without += 1
            }
            // An answer is missing, or another run was faster.
            None => {}
        }
    }
}

/// Orders that this run could not decide about.
#[derive(Default)]
struct PassedOver {
    orders: Vec<String>,
    /// The first one's, which ends the run when the others are done.
    failure: Option<Failure>,
}

impl PassedOver {
    /// Passes an order over, unless the failure is not about the order, or is one too many.
    fn add(&mut self, candidate: Candidate, failure: Failure) -> Outcome<()> {
        if !matches!(failure, Failure::Retry { .. }) || self.orders.len() == PASSED_OVER_A_RUN {
            return Err(failure);
        }
        self.orders.push(candidate.order_id);
        self.failure.get_or_insert(failure);
        Ok(())
    }
}

async fn next_candidate(
    context: &Context,
    seller: &Seller,
    passed_over: &[String],
) -> Outcome<Option<Candidate>> {
    let now = context.clock.now();
    let unanswered_before = now - longest_call(context);
    let mut connection = context.pool.acquire().await?;
    Ok(review_requests::next(&mut connection, seller.id, now, unanswered_before, passed_over).await?)
}

/// Done, unless answers are missing: those are looked into when their calls must have ended.
async fn finish(context: &Context, seller: &Seller, requested: Requested) -> Outcome<Requested> {
    let mut connection = context.pool.acquire().await?;
    match review_requests::oldest_unanswered(&mut connection, seller.id).await? {
        None => Ok(requested),
        Some(attempted_at) => {
            Err(Failure::snooze(attempted_at + longest_call(context), "an answer of Amazon that is missing"))
        }
    }
}

fn longest_call(context: &Context) -> TimeDelta {
    TimeDelta::from_std(context.sp_api.longest_call()).unwrap_or(TimeDelta::minutes(5))
}

/// One run's dealings with Amazon for one seller.
struct AtAmazon<'a> {
    context: &'a Context,
    seller: &'a Seller,
    refresh_token: &'a SecretString,
    run: &'a Run,
}

impl AtAmazon<'_> {
    /// Asks first, then sends. `None` when an answer is missing or another run was faster.
    async fn decide_order(&self, candidate: &Candidate) -> Outcome<Option<Became>> {
        let now = self.context.clock.now();
        let Ok(order) = OrderId::parse(&candidate.order_id) else {
            let decision = decision(Became::Refused, "the order id cannot be sent to Amazon", None);
            return self.store(candidate, candidate.attempted_at, decision).await;
        };
        let offered = match self.ask(&order, candidate).await? {
            Ok(offered) => offered,
            Err(decision) => return self.store(candidate, candidate.attempted_at, decision).await,
        };
        if !offered {
            return self.store(candidate, candidate.attempted_at, not_offered(candidate, now)).await;
        }
        self.send(&order, candidate).await
    }

    /// Whether Amazon offers the request, or the decision that its refusal means.
    async fn ask(&self, order: &OrderId, candidate: &Candidate) -> Outcome<Result<bool, Decision>> {
        let request = solicitations::actions_request(order, &candidate.marketplace_id);
        let answer = match self.permitted(Operation::GetSolicitationActions, &request).await {
            Ok(success) => solicitations::offered(&success.body),
            Err(error) => Err(error),
        };
        match answer {
            Ok(offered) => Ok(Ok(offered)),
            Err(error) => match refused(&error, candidate, self.context.clock.now()) {
                Some(decision) => Ok(Err(decision)),
                None => Err(amazon_failed(self.context, self.seller, error).await),
            },
        }
    }

    /// Writes down that the request leaves, sends it, and writes down what came back.
    async fn send(&self, order: &OrderId, candidate: &Candidate) -> Outcome<Option<Became>> {
        let context = self.context;
        let ticket = self.run.id.to_string();
        let permit = match context.sp_api.permit(self.seller, Operation::RequestReview, &ticket).await {
            Ok(permit) => permit,
            Err(error) => return Err(amazon_failed(context, self.seller, error).await),
        };
        let mut connection = context.pool.acquire().await?;
        let attempted_at = context.clock.now();
        if !review_requests::claim(&mut connection, self.seller.id, candidate, self.run.id, attempted_at)
            .await?
        {
            return Ok(None);
        }
        drop(connection);
        let request = solicitations::review_request(order, &candidate.marketplace_id);
        let answer = context.sp_api.call(permit, self.seller, self.refresh_token, &request).await;
        let taken = answer.and_then(|success| solicitations::taken(&success.body).map(|()| success));
        match taken {
            Ok(success) => {
                let sent = decision(Became::Sent, "Amazon took the request", success.request_id);
                self.store(candidate, Some(attempted_at), sent).await
            }
            // The note stays: when the call must have ended, Amazon is asked whether the action is still offered.
            Err(error) if error.ambiguous() => {
                tracing::warn!(seller.id = %self.seller.id, error = %queue::failure::chain(&error), "an answer is missing");
                Ok(None)
            }
            Err(error) => match refused(&error, candidate, context.clock.now()) {
                Some(decision) => self.store(candidate, Some(attempted_at), decision).await,
                None => {
                    let mut connection = context.pool.acquire().await?;
                    let now = context.clock.now();
                    review_requests::release(&mut connection, self.seller.id, candidate, self.run.id, now)
                        .await?;
                    drop(connection);
                    Err(amazon_failed(context, self.seller, error).await)
                }
            },
        }
    }

    async fn permitted(&self, operation: Operation, request: &Request) -> Result<Success, CallError> {
        let sp_api = &self.context.sp_api;
        let permit = sp_api.permit(self.seller, operation, &self.run.id.to_string()).await?;
        sp_api.call(permit, self.seller, self.refresh_token, request).await
    }

    async fn store(
        &self,
        candidate: &Candidate,
        attempted_at: Option<DateTime<Utc>>,
        decision: Decision,
    ) -> Outcome<Option<Became>> {
        let now = self.context.clock.now();
        let mut connection = self.context.pool.acquire().await?;
        let (seller, order) = (self.seller.id, &candidate.order_id);
        review_requests::decide(&mut connection, seller, order, attempted_at, &decision, now).await?;
        metrics::counter!("review_requests_total", "outcome" => decision.outcome.name()).increment(1);
        Ok(Some(decision.outcome))
    }
}

/// What it means that the action is not offered.
fn not_offered(candidate: &Candidate, now: DateTime<Utc>) -> Decision {
    if candidate.attempted_at.is_some() {
        return decision(
            Became::SentProbably,
            "the answer to the request was lost, and Amazon no longer offers it",
            None,
        );
    }
    ask_again(
        candidate,
        now,
        decision(Became::NotOffered, "Amazon does not offer the request at the moment", None),
        decision(Became::WindowClosed, "not offered until the end of its window", None),
    )
}

/// The decision for now, as long as the window is open a day later; else the one for good.
fn ask_again(candidate: &Candidate, now: DateTime<Utc>, for_now: Decision, for_good: Decision) -> Decision {
    let next = now + ASK_AGAIN;
    if next >= candidate.window_ends_at {
        return for_good;
    }
    Decision { next_check_at: Some(next), ..for_now }
}

/// The decision that a refusal means, where it means one about the order.
fn refused(error: &CallError, candidate: &Candidate, now: DateTime<Utc>) -> Option<Decision> {
    let CallError::Refused { refusal, request_id, .. } = error else { return None };
    let request_id = request_id.clone();
    Some(match refusal {
        Refusal::NotAvailable if candidate.attempted_at.is_some() => decision(
            Became::SentProbably,
            "the answer to an earlier request was lost, and Amazon has it",
            request_id,
        ),
        Refusal::NotAvailable => {
            decision(Became::NotAvailable, "requested before, or the buyer does not want it", request_id)
        }
        // Amazon counts from the delivery, we from the promised one: a late parcel's window opens later than ours.
        Refusal::OutsideWindow if candidate.attempted_at.is_none() => ask_again(
            candidate,
            now,
            decision(
                Became::NotOffered,
                "Amazon says the order is not in its window at the moment",
                request_id.clone(),
            ),
            decision(Became::WindowClosed, "Amazon says the order is outside of its window", request_id),
        ),
        Refusal::OutsideWindow => decision(
            Became::SentProbably,
            "the answer to an earlier request was lost, and its window has closed",
            request_id,
        ),
        Refusal::NotFound => decision(Became::Gone, "Amazon no longer knows the order", request_id),
        Refusal::InvalidInput => decision(Became::Refused, "Amazon says the request is wrong", request_id),
        Refusal::TokenExpired
        | Refusal::AccessDenied
        | Refusal::Throttled
        | Refusal::AmazonFailed
        | Refusal::Unknown => return None,
    })
}

fn decision(outcome: Became, reason: &str, request_id: Option<String>) -> Decision {
    Decision { outcome, reason: reason.to_owned(), request_id, next_check_at: None }
}
