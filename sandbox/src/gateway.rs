//! Amazon's side of the sandbox: takes any request, writes it down, lets a scripted fault strike, checks what Amazon checks, and
//! answers.
//!
//! The order of the checks is Amazon's as far as it is known: path, access token, user agent, quota, parameters. A request that
//! is refused before the quota costs no token.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::calls::Call;
use crate::fault_answers::{prevented, spoiled};
use crate::faults::{Drawn, Fault};
use crate::operations::{Counter, Operation, Request, looks_like_sp_api};
use crate::query::{InvalidQuery, Query};
use crate::report_documents::{Download, download};
use crate::signin::SignInForm;
use crate::state::{Shared, State};
use crate::usage_plans::UsagePlan;
use crate::{
    catalog, inventory, listings, notifications, orders_answers, participations, report_documents, reports,
    sales, solicitations, sqs, user_agent,
};
use axum::body::{Bytes, to_bytes};
use axum::extract::State as Extracted;
use axum::http::{Request as HttpRequest, header, request};
use axum::response::Response;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const LONGEST_BODY_BYTES: usize = 64 * 1024;
const LONGEST_HANG: Duration = Duration::from_secs(600);

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(crate) struct Severed;

/// A request with what the checks look at.
struct Arrival {
    request: Option<Request>,
    method: String,
    path: String,
    query: String,
    access_token: Option<String>,
    user_agent: Option<String>,
    has_authorization: bool,
    content_type: String,
    body: Bytes,
}

impl Arrival {
    fn new(parts: &request::Parts, body: Bytes) -> Arrival {
        let header = |name: header::HeaderName| {
            parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let target = header(header::HeaderName::from_static("x-amz-target"));
        Arrival {
            request: Request::recognise(&parts.method, parts.uri.path(), target.as_deref()),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            access_token: header(header::HeaderName::from_static("x-amz-access-token")),
            user_agent: header(header::USER_AGENT),
            has_authorization: parts.headers.contains_key(header::AUTHORIZATION),
            content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
            body,
        }
    }

    fn operation(&self) -> Option<Operation> {
        self.request.as_ref().map(|request| request.operation)
    }

    fn sign_in_form(&self) -> SignInForm {
        SignInForm::parse(&self.content_type, &self.body)
    }
}

/// Answers one request.
pub(crate) async fn serve(
    Extracted(shared): Extracted<Arc<Shared>>,
    request: HttpRequest<axum::body::Body>,
) -> Response {
    // Listening before the fault is drawn, so that a release in between is not missed.
    let mut released = shared.releases.subscribe();
    let request_id = Uuid::new_v4().to_string();
    let (parts, body) = request.into_parts();
    // Whoever hangs up in mid-request, or sends more than any operation takes, gets no answer.
    let Ok(body) = to_bytes(body, LONGEST_BODY_BYTES).await else { return severed() };
    let arrival = Arrival::new(&parts, body);

    let (seq, drawn) = shared.state().receive(&arrival, &request_id, shared.now());
    match drawn.map(|drawn| drawn.fault) {
        Some(Fault::Cut) => return severed(),
        Some(Fault::Hang) => {
            let release = tokio::time::timeout(LONGEST_HANG, released.changed()).await;
            if release.is_err() {
                return severed();
            }
        }
        Some(Fault::Slow) => tokio::time::sleep(drawn.map(|drawn| drawn.delay).unwrap_or_default()).await,
        _ => {}
    }
    if let Some(wait) = arrival.operation().and_then(|operation| sqs::wait_of(operation, &arrival.body)) {
        wait_for_message(&shared, &arrival.body, wait).await;
    }
    let answer = shared.state().conclude(&arrival, seq, drawn, shared.now());
    match answer {
        Some(answer) => return answer.into_response(&request_id),
        None if drawn.is_some_and(|drawn| drawn.fault == Fault::HangAfter) => {
            // Whether it was released or nobody did, the connection is cut.
            tokio::time::timeout(LONGEST_HANG, released.changed()).await.ok();
        }
        None => {}
    }
    severed()
}

/// How often a queue is looked at for a client that waits: messages come back, and reports end, without anybody calling.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until there is a message to receive, or until the client's patience ends, by the clock of this machine.
async fn wait_for_message(shared: &Shared, body: &[u8], patience: Duration) {
    let look = async {
        loop {
            let now = shared.now();
            let found = {
                let mut state = shared.state();
                state.finish_reports(now);
                sqs::has_message(&state, body, now)
            };
            if found {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    // Running out of patience is not an error: the answer is then empty.
    tokio::time::timeout(patience, look).await.ok();
}

fn severed() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Severed);
    response
}

impl State {
    /// Writes a request down and draws the fault that strikes it.
    fn receive(&mut self, arrival: &Arrival, request_id: &str, now: DateTime<Utc>) -> (u64, Option<Drawn>) {
        let operation = arrival.operation();
        let seller = match operation {
            Some(Operation::Token) => self.sign_in.seller_of_form(&arrival.sign_in_form()),
            _ => arrival.access_token.as_deref().and_then(|token| self.sign_in.seller_of_token(token)),
        };
        let seller = seller.map(str::to_owned);
        if let Some(request) = &arrival.request {
            self.note_repeated_request(request);
        }
        let drawn =
            operation.and_then(|operation| self.faults.draw(operation, seller.as_deref(), &mut self.chance));
        let seq = self.calls.record(Call {
            seq: 0,
            at: now,
            seller,
            operation,
            method: arrival.method.clone(),
            path: arrival.path.clone(),
            query: arrival.query.clone(),
            status: None,
            fault: drawn.map(|drawn| drawn.fault),
            request_id: request_id.to_owned(),
            user_agent: arrival.user_agent.clone(),
        });
        (seq, drawn)
    }

    /// A client that asks a buyer again has lost track, whatever this request is answered.
    fn note_repeated_request(&mut self, request: &Request) {
        if request.operation != Operation::CreateProductReviewAndSellerFeedbackSolicitation {
            return;
        }
        let order = self.orders.get_mut(request.first_subject());
        if let Some(order) = order.filter(|order| order.solicited_at.is_some()) {
            order.repeated_requests += 1;
        }
    }

    /// Does what was asked, unless a fault prevents it, and returns the answer, or `None` if none shall be sent.
    fn conclude(
        &mut self,
        arrival: &Arrival,
        seq: u64,
        drawn: Option<Drawn>,
        now: DateTime<Utc>,
    ) -> Option<Answer> {
        let prevented = drawn.and_then(|drawn| prevented(drawn.fault, arrival.operation()));
        let mut answer = prevented.or_else(|| {
            self.finish_reports(now);
            Some(self.answer(arrival, drawn.map(|drawn| drawn.fault), now))
        });
        let mut struck = drawn.map(|drawn| drawn.fault);
        if let (Some(drawn), Some(request)) =
            (drawn.filter(|drawn| drawn.fault.follows_success()), &arrival.request)
        {
            match answer.take_if(|answer| answer.status.is_success()) {
                Some(success) => {
                    answer = spoiled(drawn.fault, success, request, &Query::parse(&arrival.query));
                }
                None => {
                    self.faults.give_back(drawn);
                    struck = None;
                }
            }
        }
        self.calls.finish(seq, answer.as_ref().map(|answer| answer.status.as_u16()), struck);
        answer
    }

    fn answer(&mut self, arrival: &Arrival, fault: Option<Fault>, now: DateTime<Utc>) -> Answer {
        let Some(request) = &arrival.request else { return refused(&arrival.path) };
        match request.operation.counter() {
            Counter::SignIn => self.sign_in.answer(&arrival.sign_in_form(), &self.pace, now),
            Counter::Seller | Counter::Application => self.answer_caller(request, arrival, fault, now),
            Counter::Queue => {
                sqs::answer(self, request.operation, &arrival.body, arrival.has_authorization, now)
            }
            Counter::Store => {
                let wanted = Download {
                    path: request.first_subject(),
                    query: &Query::parse(&arrival.query),
                    has_credentials: arrival.access_token.is_some() || arrival.has_authorization,
                    now,
                };
                download(self, &wanted)
            }
        }
    }

    /// Checks what Amazon checks of every call of the Selling Partner API, then lets the operation answer.
    fn answer_caller(
        &mut self,
        request: &Request,
        arrival: &Arrival,
        fault: Option<Fault>,
        now: DateTime<Utc>,
    ) -> Answer {
        let at = self.pace.at(now);
        let token = arrival.access_token.as_deref();
        let caller = match request.operation.counter() {
            Counter::Application => self.sign_in.application(token, at).map(|()| ""),
            _ => self.sign_in.caller(token, at),
        };
        let seller = match caller {
            Ok(seller) => seller.to_owned(),
            Err(details) => return Answer::access_denied(details),
        };
        if let Some(complaint) = user_agent::complaint(arrival.user_agent.as_deref()) {
            return Answer::invalid_input("Invalid Input", complaint);
        }
        let Some(plan) = UsagePlan::of(request.operation) else { return Answer::access_denied("") };
        if !self.buckets.take(plan, &seller, at) {
            self.throttled += 1;
            return Answer::quota_exceeded();
        }
        let query = Query::parse(&arrival.query);
        let ask = Ask {
            seller: &seller,
            subject: &request.subject,
            query: &query,
            body: &arrival.body,
            fault,
            now,
        };
        let answer = self
            .perform(request.operation, &ask)
            .unwrap_or_else(|InvalidQuery(details)| Answer::invalid_input("Invalid Input", &details));
        // Orders have places of their own for the buyer.
        let has_places = matches!(request.operation, Operation::SearchOrders | Operation::GetOrder);
        let leaks = self.leak_buyer_data && !has_places && answer.status.is_success();
        let answer = if leaks { answer.leaking() } else { answer };
        answer.with_rate(plan.rate_header(self.pace.speed()))
    }

    /// Which file answers which operation.
    fn perform(&mut self, operation: Operation, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
        match operation {
            Operation::SearchOrders => orders_answers::search_orders(self, ask),
            Operation::GetOrder => orders_answers::get_order(self, ask),
            Operation::GetSolicitationActionsForOrder => Ok(solicitations::get_actions(self, ask)),
            Operation::CreateProductReviewAndSellerFeedbackSolicitation => {
                Ok(solicitations::create_solicitation(self, ask))
            }
            Operation::GetMarketplaceParticipations => {
                participations::get_marketplace_participations(self, ask)
            }
            Operation::GetInventorySummaries => inventory::get_inventory_summaries(self, ask),
            Operation::SearchListingsItems => listings::search_listings_items(self, ask),
            Operation::SearchCatalogItems => catalog::search_catalog_items(self, ask),
            Operation::GetOrderMetrics => sales::get_order_metrics(self, ask),
            Operation::CreateReport => reports::create_report(self, ask),
            Operation::GetReport => reports::get_report(self, ask),
            Operation::GetReportDocument => report_documents::get_report_document(self, ask),
            Operation::CreateDestination => notifications::create_destination(self, ask),
            Operation::GetDestinations => notifications::get_destinations(self, ask),
            Operation::CreateSubscription => notifications::create_subscription(self, ask),
            Operation::GetSubscription => notifications::get_subscription(self, ask),
            // Answered at other counters.
            Operation::Token
            | Operation::DownloadDocument
            | Operation::ReceiveMessage
            | Operation::DeleteMessage
            | Operation::DeleteMessageBatch
            | Operation::GetQueueAttributes
            | Operation::GetQueueUrl => Ok(Answer::access_denied("")),
        }
    }
}

fn refused(path: &str) -> Answer {
    if looks_like_sp_api(path) {
        Answer::access_denied("")
    } else {
        Answer::not_found("The sandbox has no such path.")
    }
}
