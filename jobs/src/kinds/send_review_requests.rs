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
use queue::{Failure, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use runtime::secret::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{amazon_failed, load_seller},
    context::Context,
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        budgets::budget,
        request::{Request, Success},
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
    pub without: u64,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// Amazon offers nothing at random at times (its issue 187): ask again a day later, until the window closes.
const ASK_AGAIN: TimeDelta = TimeDelta::days(1);
/// After so many orders a run makes way for other sellers.
const ORDERS_A_RUN: usize = 500;
/// A request leaves this soon after its note, or not at all: from the note on is counted when its call must have ended. Shorter
/// than the time that `longest_call` allows for what is on the wire.
const LEAVES_WITHIN: TimeDelta = TimeDelta::seconds(2);
/// So many orders that Amazon fails at are passed over, because one that it always fails at must not hold up all others.
/// When there are more, it is Amazon that is ill.
const PASSED_OVER_A_RUN: usize = 3;

impl Job for SendReviewRequests {
    const KIND: &'static str = "send_review_requests";
    const SUMMARY: &'static str =
        "Requests a review for each order that may have one now: once per order, ever.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(30))
        // A day of Amazon being ill, at half an hour each.
        .max_attempts(60)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("7 * * * *"));

    type Context = Context;
    type Report = Requested;

    fn group(&self) -> String {
        self.seller.to_string()
    }

    fn budgets(&self) -> Vec<Budget> {
        [Operation::GetSolicitationActions, Operation::RequestReview]
            .map(|operation| budget(self.seller, operation))
            .into()
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Requested> {
        let mut requested = Requested::default();
        let Some(seller) = load_seller(context, self.seller).await? else {
            return Ok(Requested { skipped: Some("the seller is not connected"), ..requested });
        };
        let refresh_token = seller.refresh_token(&context.keyring).map_err(Failure::reject)?;
        requested.without += close_windows(context, &seller).await?;
        let at_amazon = AtAmazon { context, seller: &seller, refresh_token: &refresh_token, run };
        let mut passed_over = PassedOver::default();
        let mut decided = 0;
        while decided < ORDERS_A_RUN {
            let candidates = next_candidates(context, &seller, &passed_over.orders).await?;
            if candidates.is_empty() {
                return match passed_over.failure {
                    Some(failure) => Err(failure),
                    None => finish(context, &seller, requested).await,
                };
            }
            decided += candidates.len();
            for candidate in candidates {
                match at_amazon.decide_order(&candidate).await {
                    Ok(became) => requested.count(became),
                    Err(failure) => passed_over.add(candidate, failure)?,
                }
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

async fn close_windows(context: &Context, seller: &Seller) -> Outcome<u64> {
    let mut connection = context.pool.acquire().await?;
    Ok(review_requests::close_windows(&mut connection, seller.id, context.clock.now()).await?)
}

async fn next_candidates(
    context: &Context,
    seller: &Seller,
    passed_over: &[String],
) -> Outcome<Vec<Candidate>> {
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
        if context.clock.now() - attempted_at > LEAVES_WITHIN {
            // The database took its time, or this worker stood still. Another run may soon ask Amazon about the note, find the
            // request still offered, and send it.
            let now = context.clock.now();
            review_requests::release(
                &mut connection,
                self.seller.id,
                candidate,
                self.run.id,
                attempted_at,
                now,
            )
            .await?;
            return Err(Failure::retry("the request could not leave in time after it was written down"));
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
                    let job = self.run.id;
                    review_requests::release(
                        &mut connection,
                        self.seller.id,
                        candidate,
                        job,
                        attempted_at,
                        now,
                    )
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sandbox::Fault;

    use super::*;
    use crate::testing::{ASK_BUYER, OFFERS, Plan, Shop, rejected, retried, snoozed, until};

    /// A minute more than a day, which is when an order is asked about again.
    const NEXT_DAY: TimeDelta = TimeDelta::minutes(24 * 60 + 1);

    /// The orders that ended in a state.
    async fn ended(shop: &Shop, state: &str) -> BTreeSet<String> {
        shop.outcomes()
            .await
            .into_iter()
            .filter(|(_, ended)| ended == state)
            .map(|(order, _)| order)
            .collect()
    }

    /// How often an order was named in calls of an operation, without those whose token was too old.
    fn calls_about(shop: &Shop, order: &str, operation: sandbox::Operation) -> usize {
        let calls = shop.calls_of(operation).into_iter().zip(shop.orders_in_calls(operation));
        calls.filter(|(call, named)| call.status != Some(403) && named == order).count()
    }

    /// Fails if a buyer was asked twice, or if one was not asked who was to be.
    fn assert_each_was_asked_once(shop: &Shop, eligible: &BTreeSet<String>) {
        assert_eq!(shop.asked(), *eligible);
        assert_eq!(shop.sandbox.control().summary().duplicate_requests, 0);
    }

    /// Moves time to the moment until which a run snoozes.
    fn wake_up(shop: &Shop, until: DateTime<Utc>) {
        shop.clock.advance(until - shop.context.clock.now());
    }

    #[tokio::test]
    async fn does_its_work() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        assert!(!eligible.is_empty(), "the sandbox seeds some");
        let requested = shop.send().await.expect("nothing is wrong");
        assert_each_was_asked_once(&shop, &eligible);
        assert_eq!(ended(&shop, "sent").await, eligible);
        assert_eq!(requested.sent as usize, eligible.len());

        let looked_at: BTreeSet<_> = shop.orders_in_calls(OFFERS).into_iter().collect();
        let not_offered = ended(&shop, "not_offered").await;
        assert_eq!(looked_at, &eligible | &not_offered);
        let shipped = |order: &String| shop.at_amazon()[order].status == sandbox::FulfillmentStatus::Shipped;
        assert!(not_offered.iter().all(shipped), "the others are not even asked about");
    }

    #[tokio::test]
    async fn every_outcome_names_the_answer_that_decided_it() {
        let shop = Shop::synced().await;
        shop.send().await.expect("nothing is wrong");
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as("select order_id, request_id from review_requests where state = 'sent'")
                .fetch_all(&shop.context.pool)
                .await
                .expect("outcomes can be read");
        let ids = shop.calls_of(ASK_BUYER).into_iter().map(|call| Some(call.request_id));
        let told: BTreeMap<_, _> = shop.orders_in_calls(ASK_BUYER).into_iter().zip(ids).collect();
        assert_eq!(BTreeMap::from_iter(rows), told);
    }

    #[tokio::test]
    async fn twice_is_once() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.send().await.expect("nothing is wrong");
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        assert_eq!(shop.send().await.expect("nothing is wrong"), Requested::default());
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, calls, "all is decided for today");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.fault_after(2, ASK_BUYER, Fault::Hang, 1);
        shop.drop_in_call(&SendReviewRequests { seller: shop.seller }, ASK_BUYER).await;
        let lost = shop.orders_in_calls(ASK_BUYER).pop().expect("it was sent");
        assert_eq!(shop.outcomes().await[&lost], "sending");

        let until = snoozed(shop.send().await);
        assert_eq!(ended(&shop, "sent").await, &eligible - &BTreeSet::from([lost.clone()]));
        assert_eq!(calls_about(&shop, &lost, OFFERS), 1, "the lost call may still be under way");
        wake_up(&shop, until);
        assert_eq!(shop.send().await.expect("nothing is missing").sent, 1);
        assert_eq!(calls_about(&shop, &lost, OFFERS), 2, "asked first");
        assert_each_was_asked_once(&shop, &eligible);
        assert_eq!(ended(&shop, "sent").await, eligible);
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::with_orders(0).await;
        assert_eq!(shop.send().await.expect("nothing is wrong"), Requested::default());
        shop.execute("update sellers set state = 'disconnected'").await;
        let skipped = shop.send().await.expect("nothing is wrong");
        assert_eq!(skipped.skipped, Some("the seller is not connected"));
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, 0);
    }

    /// The second request is lost in this way; returns the order, when it may be asked about.
    async fn lose_an_answer(shop: &Shop, fault: Fault) -> String {
        shop.fault_after(1, ASK_BUYER, fault, 1);
        let until = snoozed(shop.send().await);
        let lost = shop.orders_in_calls(ASK_BUYER)[1].clone();
        assert_eq!(ended(shop, "sending").await, BTreeSet::from([lost.clone()]), "{fault:?}");
        assert_eq!(snoozed(shop.send().await), until, "{fault:?}: too early");
        wake_up(shop, until);
        lost
    }

    #[tokio::test]
    async fn a_request_that_was_taken_without_an_answer_is_never_sent_again() {
        for fault in [Fault::CutAfter, Fault::InternalAfter] {
            let shop = Shop::synced().await;
            let eligible = shop.eligible();
            let lost = lose_an_answer(&shop, fault).await;
            let requested = shop.send().await.expect("nothing is missing");
            assert_eq!((requested.sent, requested.sent_probably), (0, 1), "{fault:?}");
            assert_eq!(ended(&shop, "sent_probably").await, BTreeSet::from([lost.clone()]), "{fault:?}");
            assert_eq!(calls_about(&shop, &lost, ASK_BUYER), 1, "{fault:?}");
            assert_each_was_asked_once(&shop, &eligible);
        }
    }

    #[tokio::test]
    async fn a_request_that_was_not_taken_is_sent_once_in_the_end() {
        for fault in [Fault::Cut, Fault::Internal, Fault::Unavailable, Fault::Garbage, Fault::Hang] {
            let shop = Shop::open(Plan { timeout: Duration::from_secs(1), ..Plan::default() }).await;
            shop.sync().await.expect("nothing is wrong yet");
            let eligible = shop.eligible();
            let lost = lose_an_answer(&shop, fault).await;
            assert_eq!(shop.send().await.expect("nothing is missing").sent, 1, "{fault:?}");
            assert_eq!(calls_about(&shop, &lost, ASK_BUYER), 2, "{fault:?}");
            assert_eq!(ended(&shop, "sent").await, eligible, "{fault:?}");
            assert_each_was_asked_once(&shop, &eligible);
        }
    }

    #[tokio::test]
    async fn throttled_at_the_second_attempt_it_still_knows_that_an_answer_is_missing() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        let lost = lose_an_answer(&shop, Fault::Cut).await;
        shop.fault(ASK_BUYER, Fault::Quota, 1);
        let until = snoozed(shop.send().await);
        assert_eq!(shop.outcomes().await[&lost], "sending");
        wake_up(&shop, until);
        shop.send().await.expect("the budget has filled again");
        assert_eq!(ended(&shop, "sent").await, eligible);
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn a_missing_answer_is_looked_into_even_when_the_delivery_window_is_gone() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        lose_an_answer(&shop, Fault::Cut).await;
        shop.execute("update orders set earliest_delivery_at = null, latest_delivery_at = null").await;
        shop.send().await.expect("nothing is missing");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn what_is_not_offered_today_is_asked_about_tomorrow() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.fault_after(6, OFFERS, Fault::EmptyActions, 1);
        shop.send().await.expect("nothing is wrong");
        let empty = shop.calls_of(OFFERS).iter().position(|call| call.fault.is_some()).expect("it struck");
        let withheld = shop.orders_in_calls(OFFERS)[empty].clone();
        assert!(ended(&shop, "not_offered").await.contains(&withheld));
        assert_eq!(shop.asked(), &eligible - &BTreeSet::from([withheld.clone()]));

        shop.clock.advance(TimeDelta::hours(23));
        shop.send().await.expect("nothing is wrong");
        assert_eq!(calls_about(&shop, &withheld, OFFERS), 1);
        shop.clock.advance(NEXT_DAY);
        assert!(shop.eligible().contains(&withheld), "its window is still open");
        shop.send().await.expect("nothing is wrong");
        assert_eq!(shop.outcomes().await[&withheld], "sent");
        assert!(eligible.is_subset(&shop.asked()));
        assert_eq!(shop.sandbox.control().summary().duplicate_requests, 0);
    }

    #[tokio::test]
    async fn a_window_that_closed_while_nobody_looked_is_closed() {
        let shop = Shop::synced().await;
        shop.send().await.expect("nothing is wrong");
        let open = ended(&shop, "not_offered").await;
        assert_ne!(open, BTreeSet::new(), "the sandbox seeds some");
        shop.clock.advance(TimeDelta::days(90));
        shop.send().await.expect("nothing is wrong");
        assert_eq!(ended(&shop, "not_offered").await, BTreeSet::new());
        assert!(ended(&shop, "window_closed").await.is_superset(&open));
    }

    #[tokio::test]
    async fn what_is_never_offered_ends_with_its_window() {
        let shop = Shop::synced().await;
        shop.send().await.expect("nothing is wrong");
        // Opted out, or asked elsewhere: Amazon does not say which.
        let never = ended(&shop, "not_offered").await.pop_first().expect("the sandbox seeds some");
        let ends: DateTime<Utc> = sqlx::query_scalar(
            "select latest_delivery_at + interval '30 days' from orders where order_id = $1",
        )
        .bind(&never)
        .fetch_one(&shop.context.pool)
        .await
        .expect("it is stored");
        wake_up(&shop, ends - TimeDelta::hours(12));
        shop.send().await.expect("nothing is wrong");
        assert_eq!(shop.outcomes().await[&never], "window_closed");
        assert_eq!(calls_about(&shop, &never, OFFERS), 2);
        shop.clock.advance(NEXT_DAY);
        shop.send().await.expect("nothing is wrong");
        assert_eq!(calls_about(&shop, &never, OFFERS), 2);
        assert_eq!(calls_about(&shop, &never, ASK_BUYER), 0);
    }

    #[tokio::test]
    async fn an_order_that_vanished_is_gone_and_the_others_go_on() {
        let shop = Shop::synced().await;
        let mut eligible = shop.eligible();
        let vanished = eligible.pop_first().expect("the sandbox seeds some");
        shop.sandbox.control().vanish(&vanished).expect("it is there");
        shop.send().await.expect("an order that is gone is no failure");
        assert_eq!(shop.outcomes().await[&vanished], "gone");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn a_request_that_amazon_calls_wrong_is_refused_and_the_others_go_on() {
        let shop = Shop::synced().await;
        let mut eligible = shop.eligible();
        let wrong = eligible.pop_first().expect("the sandbox seeds some");
        // Amazon wants the marketplace that the order was placed in.
        sqlx::query("update orders set marketplace_id = 'ATVPDKIKX0DER' where order_id = $1")
            .bind(&wrong)
            .execute(&shop.context.pool)
            .await
            .expect("it is stored");
        shop.send().await.expect("an order that is refused is no failure");
        assert_eq!(shop.outcomes().await[&wrong], "refused");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn an_order_whose_id_could_lead_elsewhere_is_never_sent() {
        let shop = Shop::synced().await;
        shop.execute("delete from order_items; update orders set order_id = '../' || order_id").await;
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        shop.send().await.expect("orders that are refused are no failure");
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, calls);
        let states: BTreeSet<_> = shop.outcomes().await.into_values().collect();
        assert_eq!(states, BTreeSet::from(["refused".to_owned()]));
    }

    #[tokio::test]
    async fn an_empty_budget_between_asking_and_sending_leaves_the_order_as_it_was() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.use_up(Operation::RequestReview).await;
        let job = SendReviewRequests { seller: shop.seller };
        let run = shop.enqueue(&job).await;
        let until = snoozed(job.run(&shop.context, &run).await);
        assert!(until > shop.context.clock.now());
        let asked_about = shop.orders_in_calls(OFFERS).pop().expect("it asked first");
        assert!(eligible.contains(&asked_about) && !shop.outcomes().await.contains_key(&asked_about));
        assert_eq!(shop.orders_in_calls(ASK_BUYER), [""; 0]);
        wake_up(&shop, until);
        job.run(&shop.context, &run).await.expect("its moment has come");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn two_runs_at_once_never_send_twice() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        // Both are told that the same order may be asked about.
        shop.fault(OFFERS, Fault::Hang, 2);
        let both_hang = || shop.orders_in_calls(OFFERS).len() == 2;
        let (one, other, ()) = tokio::join!(shop.send(), shop.send(), async {
            until(both_hang).await;
            shop.sandbox.control().clear_faults();
        });
        for outcome in [one, other] {
            // The one that ends first may find an answer missing that the other is waiting for.
            assert!(matches!(outcome, Ok(_) | Err(Failure::Snooze { .. })), "{outcome:?}");
        }
        let [first, second, ..] = &shop.orders_in_calls(OFFERS)[..] else { panic!("both asked") };
        assert_eq!(first, second);
        assert_each_was_asked_once(&shop, &eligible);
        assert_eq!(ended(&shop, "sent").await, eligible);
    }

    /// Waits until a session of the shop's database waits for a lock.
    async fn until_somebody_waits(shop: &Shop) {
        let waits = "select exists (select from pg_locks where not granted
            and database = (select oid from pg_database where datname = current_database()))::text";
        let waiting = async {
            while shop.one(waits).await != "true" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("somebody waits for the lock");
    }

    /// The database is slow to answer, or the worker stands still, until another run may count the call as ended.
    #[tokio::test]
    async fn a_request_that_was_written_down_too_long_ago_does_not_leave() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        // So that the first order that is looked at is one whose buyer may be asked.
        sqlx::query("delete from orders where order_id <> all($1)")
            .bind(eligible.iter().cloned().collect::<Vec<_>>())
            .execute(&shop.context.pool)
            .await
            .expect("Postgres is there");
        shop.fault(OFFERS, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.send(), async {
            until(|| shop.hangs(OFFERS, 0)).await;
            let mut lock = shop.context.pool.begin().await.expect("Postgres is there");
            let exclusively = "lock table review_requests in exclusive mode";
            sqlx::query(exclusively).execute(&mut *lock).await.expect("nobody else has it");
            shop.sandbox.control().clear_faults();
            until_somebody_waits(&shop).await;
            shop.clock.advance(longest_call(&shop.context));
            lock.commit().await.expect("Postgres is there");
        });
        assert!(retried(outcome).contains("could not leave in time"));
        let late = &shop.orders_in_calls(OFFERS)[0];
        assert_eq!(shop.outcomes().await[late], "not_offered", "as if it had not been begun");
        let others: BTreeSet<_> = eligible.iter().filter(|order| *order != late).cloned().collect();
        assert_each_was_asked_once(&shop, &others);
        shop.send().await.expect("nothing is wrong any more");
        assert_each_was_asked_once(&shop, &eligible);
    }

    /// A run that stood still wakes up when the job's next run has sent the request anew: it may not take back that note.
    #[tokio::test]
    async fn a_late_run_does_not_take_back_the_note_of_the_next_one() {
        let shop = Shop::synced().await;
        let run = shop.enqueue(&SendReviewRequests { seller: shop.seller }).await;
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let now = shop.context.clock.now();
        let found =
            review_requests::next(&mut connection, shop.seller, now, now, &[]).await.expect("in order");
        let first = found.into_iter().next().expect("the sandbox seeds some");
        let (early, late) = (now, now + TimeDelta::seconds(20));
        let claimed = review_requests::claim(&mut connection, shop.seller, &first, run.id, early).await;
        assert!(claimed.expect("Postgres is there"));
        let again = Candidate { attempted_at: Some(early), ..first.clone() };
        let claimed = review_requests::claim(&mut connection, shop.seller, &again, run.id, late).await;
        assert!(claimed.expect("Postgres is there"), "the next run of the same job");
        review_requests::release(&mut connection, shop.seller, &first, run.id, early, late)
            .await
            .expect("Postgres is there");
        assert_eq!(shop.outcomes().await[&first.order_id], "sending");
        review_requests::release(&mut connection, shop.seller, &first, run.id, late, late)
            .await
            .expect("Postgres is there");
        assert_eq!(shop.outcomes().await[&first.order_id], "not_offered", "its own note it may");
    }

    #[tokio::test]
    async fn a_grant_that_is_revoked_in_mid_request_leaves_the_order_for_later() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        let partner = &shop.account.selling_partner_id;
        shop.fault(ASK_BUYER, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.send(), async {
            until(|| shop.hangs(ASK_BUYER, 0)).await;
            shop.sandbox.control().revoke(partner).expect("the seller is known");
            shop.sandbox.control().clear_faults();
        });
        assert!(rejected(outcome).contains("connect again"));
        assert_eq!(shop.state().await, "needs_reauthorisation");
        let [in_mid_request] = &shop.orders_in_calls(ASK_BUYER)[..] else { panic!("one was begun") };
        assert_eq!(shop.outcomes().await[in_mid_request], "not_offered", "Amazon did not take it");

        let token = shop.sandbox.control().restore(partner).expect("the seller is known");
        shop.reconnect(&token).await;
        shop.send().await.expect("it is back");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn an_order_that_amazon_fails_at_does_not_hold_up_the_others() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.fault(OFFERS, Fault::Internal, 1);
        let error = retried(shop.send().await);
        assert!(error.contains("getSolicitationActionsForOrder"), "{error}");
        let failed = BTreeSet::from([shop.orders_in_calls(OFFERS)[0].clone()]);
        assert_eq!(shop.asked(), &eligible - &failed);
        shop.send().await.expect("Amazon is well again");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn an_amazon_that_is_ill_is_left_in_peace() {
        let shop = Shop::synced().await;
        shop.fault(OFFERS, Fault::Unavailable, u32::MAX);
        retried(shop.send().await);
        assert_eq!(shop.orders_in_calls(OFFERS).len(), PASSED_OVER_A_RUN + 1);
        assert_eq!(shop.outcomes().await, BTreeMap::new());
    }

    #[test]
    fn every_refusal_has_its_outcome() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a moment");
        let tomorrow = Some(now + ASK_AGAIN);
        let candidate = |open: TimeDelta, attempted: bool| Candidate {
            order_id: "026-0000000-0000001".to_owned(),
            marketplace_id: "A1F83G8C2ARO7P".to_owned(),
            window_ends_at: now + open,
            attempted_at: attempted.then_some(now - TimeDelta::hours(1)),
        };
        let (week, hour) = (TimeDelta::days(7), TimeDelta::hours(1));
        for (refusal, open, attempted, outcome, next) in [
            (Refusal::NotAvailable, week, false, Some(Became::NotAvailable), None),
            (Refusal::NotAvailable, week, true, Some(Became::SentProbably), None),
            (Refusal::OutsideWindow, week, false, Some(Became::NotOffered), tomorrow),
            (Refusal::OutsideWindow, hour, false, Some(Became::WindowClosed), None),
            (Refusal::OutsideWindow, hour, true, Some(Became::SentProbably), None),
            (Refusal::NotFound, week, false, Some(Became::Gone), None),
            (Refusal::InvalidInput, week, false, Some(Became::Refused), None),
            (Refusal::TokenExpired, week, false, None, None),
            (Refusal::AccessDenied, week, false, None, None),
            (Refusal::Throttled, week, false, None, None),
            (Refusal::AmazonFailed, week, true, None, None),
            (Refusal::Unknown, week, false, None, None),
        ] {
            let operation = Operation::RequestReview;
            let error = CallError::Refused { operation, status: 403, refusal, request_id: None };
            let decision = refused(&error, &candidate(open, attempted), now);
            let told = decision.as_ref().map(|decision| decision.outcome);
            assert_eq!(told, outcome, "{refusal:?}, attempted: {attempted}");
            assert_eq!(decision.and_then(|decision| decision.next_check_at), next, "{refusal:?}");
        }
    }
}
