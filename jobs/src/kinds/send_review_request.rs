//! Requests a review for one order: once, ever.
//!
//! When: `plan_review_requests` enqueues one for each order whose days have come, and on request.
//! Safe to repeat: `sending` is committed before a request leaves; where an answer is missing, Amazon is first asked
//! whether the action is still offered, and never before the lost call must have ended.
//! Limits: `getSolicitationActionsForOrder` and `createProductReviewAndSellerFeedbackSolicitation`, a budget a seller each.
//! Does not promise: that Amazon sends its mail, or tells us whether the buyer opted out.
//! In dead letters: deploy/runbooks/send_review_request.md.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use queue::{Failure, Group, Job, Outcome, Policy, Run, limit::Budget, policy::minutes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    connected::{AMAZONS, Connected, NOT_CONNECTED},
    context::Context,
    sp_api::{
        CallError, Operation,
        answer::Refusal,
        budgets::budget,
        solicitations::{self, OrderId},
    },
    store::{
        review_requests::{self, Candidate, Decision, Outcome as Became, Standing},
        sellers::SellerId,
    },
};

/// The order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendReviewRequest {
    /// Our id of the seller.
    pub seller: SellerId,
    /// Amazon's id of the order.
    #[schemars(regex(pattern = "^[0-9]{3}-[0-9]{7}-[0-9]{7}$"), example = "123-1234567-1234567")]
    pub order: String,
}

/// What became of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requested {
    /// The order's outcome, as stored; nothing where another run decided.
    pub outcome: Option<&'static str>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<String>,
}

/// Amazon offers nothing at random at times (its issue 187): ask again a day later, until the window closes.
const ASK_AGAIN: TimeDelta = TimeDelta::days(1);
/// A request leaves this soon after its note, or not at all: from the note on is counted when its call must have ended. Shorter
/// than the time that `longest_call` allows for what is on the wire.
const LEAVES_WITHIN: TimeDelta = TimeDelta::seconds(2);

impl Job for SendReviewRequest {
    const KIND: &'static str = "send_review_request";
    const SUMMARY: &'static str = "Requests a review for one order: once, ever.";
    const POLICY: Policy = AMAZONS
        .timeout(minutes(5))
        // Some wait for the budget's next call in their runs, the others in their lane.
        .max_running_per_group(4);
    const GROUP: Group = Group::Field("seller");

    type Context = Context;
    type Report = Requested;

    fn budgets(&self) -> Vec<Budget> {
        [Operation::GetSolicitationActions, Operation::RequestReview]
            .map(|operation| budget(self.seller, operation))
            .into()
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Requested> {
        let skipped = |why: String| Ok(Requested { outcome: None, skipped: Some(why) });
        let Some(connected) = Connected::open(context, self.seller, run).await? else {
            return skipped(NOT_CONNECTED.to_owned());
        };
        let candidate = match self.standing(context).await? {
            Standing::Settled(why) => return skipped(why),
            Standing::Undecided(candidate) => candidate,
        };
        if let Some(attempted_at) = candidate.attempted_at {
            wait_for_the_end_of_a_call(context, attempted_at)?;
        }
        match (AtAmazon { connected: &connected, run }).decide_order(&candidate).await? {
            Some(became) => Ok(Requested { outcome: Some(became.name()), skipped: None }),
            None => skipped("another run was faster".to_owned()),
        }
    }
}

impl SendReviewRequest {
    async fn standing(&self, context: &Context) -> Outcome<Standing> {
        let mut connection = context.pool.acquire().await?;
        let now = context.clock.now();
        Ok(review_requests::standing(&mut connection, self.seller, &self.order, now).await?)
    }
}

/// An answer that is missing is looked into when its call must have ended.
fn wait_for_the_end_of_a_call(context: &Context, attempted_at: DateTime<Utc>) -> Outcome<()> {
    let ended_at = attempted_at + longest_call(context);
    if ended_at <= context.clock.now() {
        return Ok(());
    }
    Err(Failure::snooze(ended_at, "an answer of Amazon that is missing"))
}

fn longest_call(context: &Context) -> TimeDelta {
    TimeDelta::from_std(context.sp_api.longest_call()).unwrap_or(TimeDelta::minutes(5))
}

/// One run's dealings with Amazon.
struct AtAmazon<'a> {
    connected: &'a Connected<'a>,
    run: &'a Run,
}

impl AtAmazon<'_> {
    /// Asks first, then sends. `None` when another run was faster.
    async fn decide_order(&self, candidate: &Candidate) -> Outcome<Option<Became>> {
        let now = self.connected.context.clock.now();
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
        let answer =
            self.connected.call(&request).await.and_then(|success| solicitations::offered(&success.body));
        match answer {
            Ok(offered) => Ok(Ok(offered)),
            Err(error) => match refused(&error, candidate, self.connected.context.clock.now()) {
                Some(decision) => Ok(Err(decision)),
                None => Err(self.connected.failed(error).await),
            },
        }
    }

    /// Writes down that the request leaves, sends it, and writes down what came back.
    async fn send(&self, order: &OrderId, candidate: &Candidate) -> Outcome<Option<Became>> {
        let Connected { context, seller, refresh_token, ticket } = self.connected;
        let permit = match context.sp_api.permit(seller, Operation::RequestReview, ticket).await {
            Ok(permit) => permit,
            Err(error) => return Err(self.connected.failed(error).await),
        };
        // As Postgres keeps it, so that the note is found again.
        let attempted_at = context.clock.now().trunc_subsecs(6);
        if !self.note(candidate, attempted_at).await? {
            return Ok(None);
        }
        if context.clock.now() - attempted_at > LEAVES_WITHIN {
            // The database took its time, or this worker stood still. Another run may soon ask Amazon about the note, find the
            // request still offered, and send it.
            self.take_back(candidate, attempted_at).await?;
            return Err(Failure::retry("the request could not leave in time after it was written down"));
        }
        let request = solicitations::review_request(order, &candidate.marketplace_id);
        let answer = context.sp_api.call(permit, seller, refresh_token, &request).await;
        let taken = answer.and_then(|success| solicitations::taken(&success.body).map(|()| success));
        match taken {
            Ok(success) => {
                let sent = decision(Became::Sent, "Amazon took the request", success.request_id);
                self.store(candidate, Some(attempted_at), sent).await
            }
            // The note stays: when the call must have ended, Amazon is asked whether the action is still offered.
            Err(error) if error.ambiguous() => {
                tracing::warn!(seller.id = %seller.id, error = %queue::failure::chain(&error), "an answer is missing");
                wait_for_the_end_of_a_call(context, attempted_at)?;
                Ok(None)
            }
            Err(error) => match refused(&error, candidate, context.clock.now()) {
                Some(decision) => self.store(candidate, Some(attempted_at), decision).await,
                None => {
                    self.take_back(candidate, attempted_at).await?;
                    Err(self.connected.failed(error).await)
                }
            },
        }
    }

    async fn note(&self, candidate: &Candidate, attempted_at: DateTime<Utc>) -> Outcome<bool> {
        let Connected { context, seller, .. } = self.connected;
        let mut connection = context.pool.acquire().await?;
        Ok(review_requests::claim(&mut connection, seller.id, candidate, self.run.id, attempted_at).await?)
    }

    async fn take_back(&self, candidate: &Candidate, attempted_at: DateTime<Utc>) -> Outcome<()> {
        let Connected { context, seller, .. } = self.connected;
        let (job, now) = (self.run.id, context.clock.now());
        let mut connection = context.pool.acquire().await?;
        review_requests::release(&mut connection, seller.id, candidate, job, attempted_at, now).await?;
        Ok(())
    }

    async fn store(
        &self,
        candidate: &Candidate,
        attempted_at: Option<DateTime<Utc>>,
        decision: Decision,
    ) -> Outcome<Option<Became>> {
        let Connected { context, seller, .. } = self.connected;
        let now = context.clock.now();
        let mut connection = context.pool.acquire().await?;
        let order = &candidate.order_id;
        review_requests::decide(&mut connection, seller.id, order, attempted_at, &decision, now).await?;
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

    use std::time::Duration;

    use super::*;
    use crate::{
        store::review_requests::standing,
        testing::{ASK_BUYER, OFFERS, Plan, Shop, rejected, retried, snoozed, until},
    };

    /// A minute more than a day, which is when an order is asked about again.
    const NEXT_DAY: TimeDelta = TimeDelta::minutes(24 * 60 + 1);

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
        let done = shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
        assert_eq!(shop.ended("sent").await, eligible);
        let sent: BTreeSet<_> = done
            .into_iter()
            .filter(|(_, outcome)| *outcome == Some("sent"))
            .map(|(order, _)| order)
            .collect();
        assert_eq!(sent, eligible);
        let looked_at: BTreeSet<_> = shop.orders_in_calls(OFFERS).into_iter().collect();
        assert_eq!(looked_at, &eligible | &shop.ended("not_offered").await);
    }

    #[tokio::test]
    async fn every_outcome_names_the_answer_that_decided_it() {
        let shop = Shop::synced().await;
        shop.send().await.all_done();
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
        shop.send().await.all_done();
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        assert_eq!(shop.send().await.all_done(), BTreeMap::new(), "all is decided for today");
        for order in shop.outcomes().await.into_keys() {
            let again =
                shop.run(&SendReviewRequest { seller: shop.seller, order }).await.expect("nothing to do");
            assert!(again.skipped.is_some(), "{again:?}");
        }
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, calls);
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        let order = eligible.first().expect("the sandbox seeds some").clone();
        let job = SendReviewRequest { seller: shop.seller, order: order.clone() };
        shop.fault(ASK_BUYER, Fault::Hang, 1);
        shop.drop_in_call(&job, ASK_BUYER).await;
        assert_eq!(shop.outcomes().await[&order], "sending");

        let until = snoozed(shop.run(&job).await);
        assert_eq!(calls_about(&shop, &order, OFFERS), 1, "the lost call may still be under way");
        wake_up(&shop, until);
        assert_eq!(shop.run(&job).await.expect("nothing is missing").outcome, Some("sent"));
        assert_eq!(calls_about(&shop, &order, OFFERS), 2, "asked first");
        shop.sandbox.control().clear_faults();
        shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let shop = Shop::synced().await;
        let skipped = async |order: &str| {
            let job = SendReviewRequest { seller: shop.seller, order: order.to_owned() };
            shop.run(&job).await.expect("nothing to do").skipped.expect("it says why")
        };
        assert_eq!(skipped("026-0000000-0000000").await, "the order is no longer stored");
        let of = |status| {
            let mut orders = shop.at_amazon().into_values();
            orders.find(|order| order.status == status).map(|order| order.id).expect("the sandbox seeds one")
        };
        assert_eq!(skipped(&of(sandbox::FulfillmentStatus::Cancelled)).await, "the order is not shipped");
        shop.clock.advance(TimeDelta::days(90));
        assert_eq!(skipped(&of(sandbox::FulfillmentStatus::Shipped)).await, "its window has closed");
        shop.execute("update sellers set state = 'disconnected'").await;
        assert_eq!(skipped("026-0000000-0000000").await, NOT_CONNECTED);
        assert_eq!(shop.orders_in_calls(OFFERS), [""; 0]);
    }

    /// The second request is lost in this way; returns the order, when it may be asked about.
    async fn lose_an_answer(shop: &Shop, fault: Fault) -> String {
        shop.fault_after(1, ASK_BUYER, fault, 1);
        let (lost, until) = shop.send().await.one_snoozed();
        assert_eq!(lost, shop.orders_in_calls(ASK_BUYER)[1]);
        assert_eq!(shop.ended("sending").await, BTreeSet::from([lost.clone()]), "{fault:?}");
        assert_eq!(shop.send().await.one_snoozed(), (lost.clone(), until), "{fault:?}: too early");
        wake_up(shop, until);
        lost
    }

    #[tokio::test]
    async fn a_request_that_was_taken_without_an_answer_is_never_sent_again() {
        for fault in [Fault::CutAfter, Fault::InternalAfter] {
            let shop = Shop::synced().await;
            let eligible = shop.eligible();
            let lost = lose_an_answer(&shop, fault).await;
            let done = shop.send().await.all_done();
            assert_eq!(done, BTreeMap::from([(lost.clone(), Some("sent_probably"))]), "{fault:?}");
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
            let done = shop.send().await.all_done();
            assert_eq!(done, BTreeMap::from([(lost.clone(), Some("sent"))]), "{fault:?}");
            assert_eq!(calls_about(&shop, &lost, ASK_BUYER), 2, "{fault:?}");
            assert_eq!(shop.ended("sent").await, eligible, "{fault:?}");
            assert_each_was_asked_once(&shop, &eligible);
        }
    }

    #[tokio::test]
    async fn throttled_at_the_second_attempt_it_still_knows_that_an_answer_is_missing() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        let lost = lose_an_answer(&shop, Fault::Cut).await;
        shop.fault(ASK_BUYER, Fault::Quota, 1);
        let (waiting, until) = shop.send().await.one_snoozed();
        assert_eq!((&waiting, shop.outcomes().await[&lost].as_str()), (&lost, "sending"));
        wake_up(&shop, until);
        shop.send().await.all_done();
        assert_eq!(shop.ended("sent").await, eligible);
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn a_missing_answer_is_looked_into_even_when_the_delivery_window_is_gone() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        lose_an_answer(&shop, Fault::Cut).await;
        shop.execute("update orders set earliest_delivery_at = null, latest_delivery_at = null").await;
        shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn what_is_not_offered_today_is_asked_about_tomorrow() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.fault_after(6, OFFERS, Fault::EmptyActions, 1);
        shop.send().await.all_done();
        let empty = shop.calls_of(OFFERS).iter().position(|call| call.fault.is_some()).expect("it struck");
        let withheld = shop.orders_in_calls(OFFERS)[empty].clone();
        assert!(shop.ended("not_offered").await.contains(&withheld));
        assert_eq!(shop.asked(), &eligible - &BTreeSet::from([withheld.clone()]));

        shop.clock.advance(TimeDelta::hours(23));
        shop.send().await.all_done();
        assert_eq!(calls_about(&shop, &withheld, OFFERS), 1);
        shop.clock.advance(NEXT_DAY);
        assert!(shop.eligible().contains(&withheld), "its window is still open");
        shop.send().await.all_done();
        assert_eq!(shop.outcomes().await[&withheld], "sent");
        assert!(eligible.is_subset(&shop.asked()));
        assert_eq!(shop.sandbox.control().summary().duplicate_requests, 0);
    }

    #[tokio::test]
    async fn what_is_never_offered_ends_with_its_window() {
        let shop = Shop::synced().await;
        shop.send().await.all_done();
        // Opted out, or asked elsewhere: Amazon does not say which.
        let never = shop.ended("not_offered").await.pop_first().expect("the sandbox seeds some");
        let ends: DateTime<Utc> = sqlx::query_scalar(
            "select latest_delivery_at + interval '30 days' from orders where order_id = $1",
        )
        .bind(&never)
        .fetch_one(&shop.context.pool)
        .await
        .expect("it is stored");
        wake_up(&shop, ends - TimeDelta::hours(12));
        shop.send().await.all_done();
        assert_eq!(shop.outcomes().await[&never], "window_closed");
        assert_eq!(calls_about(&shop, &never, OFFERS), 2);
        shop.clock.advance(NEXT_DAY);
        shop.send().await.all_done();
        assert_eq!(calls_about(&shop, &never, OFFERS), 2);
        assert_eq!(calls_about(&shop, &never, ASK_BUYER), 0);
    }

    #[tokio::test]
    async fn an_order_that_vanished_is_gone() {
        let shop = Shop::synced().await;
        let mut eligible = shop.eligible();
        let vanished = eligible.pop_first().expect("the sandbox seeds some");
        shop.sandbox.control().vanish(&vanished).expect("it is there");
        assert_eq!(shop.send().await.all_done()[&vanished], Some("gone"));
        assert_eq!(shop.outcomes().await[&vanished], "gone");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn a_request_that_amazon_calls_wrong_is_refused() {
        let shop = Shop::synced().await;
        let mut eligible = shop.eligible();
        let wrong = eligible.pop_first().expect("the sandbox seeds some");
        // Amazon wants the marketplace that the order was placed in.
        sqlx::query("update orders set marketplace_id = 'ATVPDKIKX0DER' where order_id = $1")
            .bind(&wrong)
            .execute(&shop.context.pool)
            .await
            .expect("it is stored");
        assert_eq!(shop.send().await.all_done()[&wrong], Some("refused"));
        assert_eq!(shop.outcomes().await[&wrong], "refused");
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn an_order_whose_id_could_lead_elsewhere_is_never_sent() {
        let shop = Shop::synced().await;
        shop.execute("delete from order_items; update orders set order_id = '../' || order_id").await;
        let calls = shop.sandbox.control().calls(0, 0).last_seq;
        let outcomes: BTreeSet<_> = shop.send().await.all_done().into_values().collect();
        assert_eq!(outcomes, BTreeSet::from([Some("refused")]));
        assert_eq!(shop.sandbox.control().calls(0, 0).last_seq, calls);
    }

    #[tokio::test]
    async fn an_empty_budget_between_asking_and_sending_leaves_the_order_as_it_was() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        let order = eligible.first().expect("the sandbox seeds some").clone();
        shop.use_up(Operation::RequestReview).await;
        let job = SendReviewRequest { seller: shop.seller, order: order.clone() };
        let run = shop.enqueue(&job).await;
        let until = snoozed(job.run(&shop.context, &run).await);
        assert!(until > shop.context.clock.now());
        assert_eq!(shop.orders_in_calls(OFFERS), std::slice::from_ref(&order), "it asked first");
        assert!(!shop.outcomes().await.contains_key(&order));
        assert_eq!(shop.orders_in_calls(ASK_BUYER), [""; 0]);
        wake_up(&shop, until);
        job.run(&shop.context, &run).await.expect("its moment has come");
        shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn two_runs_at_once_never_send_twice() {
        let shop = Shop::synced().await;
        let order = shop.eligible().pop_first().expect("the sandbox seeds some");
        let job = SendReviewRequest { seller: shop.seller, order: order.clone() };
        // Both are told that the order's buyer may be asked.
        shop.fault(OFFERS, Fault::Hang, 2);
        let both_hang = || shop.orders_in_calls(OFFERS).len() == 2;
        let (one, other, ()) = tokio::join!(shop.run(&job), shop.run(&job), async {
            until(both_hang).await;
            shop.sandbox.control().clear_faults();
        });
        let outcomes = [one, other].map(|outcome| outcome.expect("neither fails").outcome);
        assert_eq!(BTreeSet::from(outcomes), BTreeSet::from([None, Some("sent")]));
        assert_each_was_asked_once(&shop, &BTreeSet::from([order]));
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
        let late = eligible.first().expect("the sandbox seeds some").clone();
        let job = SendReviewRequest { seller: shop.seller, order: late.clone() };
        shop.fault(OFFERS, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.run(&job), async {
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
        assert_eq!(shop.outcomes().await[&late], "not_offered", "as if it had not been begun");
        assert_eq!(shop.asked(), BTreeSet::new());
        shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
    }

    /// A run that stood still wakes up when the job's next run has sent the request anew: it may not take back that note.
    #[tokio::test]
    async fn a_late_run_does_not_take_back_the_note_of_the_next_one() {
        let shop = Shop::synced().await;
        let order = shop.eligible().pop_first().expect("the sandbox seeds some");
        let run = shop.enqueue(&SendReviewRequest { seller: shop.seller, order: order.clone() }).await;
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let now = shop.context.clock.now();
        let found = standing(&mut connection, shop.seller, &order, now).await.expect("in order");
        let Standing::Undecided(first) = found else { panic!("{found:?}") };
        let (early, late) = (now, now + TimeDelta::seconds(20));
        let claimed = review_requests::claim(&mut connection, shop.seller, &first, run.id, early).await;
        assert!(claimed.expect("Postgres is there"));
        let again = Candidate { attempted_at: Some(early), ..first.clone() };
        let claimed = review_requests::claim(&mut connection, shop.seller, &again, run.id, late).await;
        assert!(claimed.expect("Postgres is there"), "the next run of the same job");
        review_requests::release(&mut connection, shop.seller, &first, run.id, early, late)
            .await
            .expect("Postgres is there");
        assert_eq!(shop.outcomes().await[&order], "sending");
        review_requests::release(&mut connection, shop.seller, &first, run.id, late, late)
            .await
            .expect("Postgres is there");
        assert_eq!(shop.outcomes().await[&order], "not_offered", "its own note it may");
    }

    #[tokio::test]
    async fn a_grant_that_is_revoked_in_mid_request_leaves_the_order_for_later() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        let order = eligible.first().expect("the sandbox seeds some").clone();
        let job = SendReviewRequest { seller: shop.seller, order: order.clone() };
        let partner = &shop.account.selling_partner_id;
        shop.fault(ASK_BUYER, Fault::Hang, 1);
        let (outcome, ()) = tokio::join!(shop.run(&job), async {
            until(|| shop.hangs(ASK_BUYER, 0)).await;
            shop.sandbox.control().revoke(partner).expect("the seller is known");
            shop.sandbox.control().clear_faults();
        });
        assert!(rejected(outcome).contains("connect again"));
        assert_eq!(shop.state().await, "needs_reauthorisation");
        assert_eq!(shop.outcomes().await[&order], "not_offered", "Amazon did not take it");

        let token = shop.sandbox.control().restore(partner).expect("the seller is known");
        shop.reconnect(&token).await;
        shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
    }

    #[tokio::test]
    async fn an_amazon_that_is_ill_is_left_in_peace_and_costs_no_attempts() {
        let shop = Shop::synced().await;
        let eligible = shop.eligible();
        shop.fault(OFFERS, Fault::Unavailable, u32::MAX);
        let sending = shop.send().await;
        let failures: Vec<_> = sending.failed.values().collect();
        let retries = failures.iter().filter(|failure| matches!(failure, Failure::Retry { .. })).count();
        let snoozes = failures.iter().filter(|failure| matches!(failure, Failure::Snooze { .. })).count();
        assert_eq!((retries, retries + snoozes), (5, failures.len()), "{failures:?}");
        assert_eq!(shop.orders_in_calls(OFFERS).len(), 5);
        assert_eq!(shop.outcomes().await, BTreeMap::new());

        shop.sandbox.control().clear_faults();
        shop.clock.advance(TimeDelta::seconds(15));
        shop.send().await.all_done();
        assert_each_was_asked_once(&shop, &eligible);
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
