//! The only place that opens a socket to Amazon.
//!
//! A call needs a [`Permit`] from the operation's budget first. Asking for it is a step of its own, so that a caller can
//! write down what it is about to do between the permit and the call.

use std::{sync::Arc, time::Duration};

use queue::limit::Budgets;
use reqwest::{Method, StatusCode};
use runtime::{
    clock::Clock,
    secret::{ExposeSecret, SecretString},
};
use tokio::time::Instant;
use url::Url;

use crate::{
    config::AmazonSettings,
    sp_api::{
        answer::{Refusal, classify},
        auth::Tokens,
        caller::{Caller, Holder},
        error::CallError,
        operations::Operation,
        permits::{Permit, Permits},
        rates::{Rates, header},
        regions::Region,
        request::{Request, Success, read},
    },
    store::sellers::Seller,
};

/// How long a request may still be under way after we have given it up.
const ON_THE_WIRE: Duration = Duration::from_secs(5);
/// The Solicitations API's model answers in HAL alone, all others in plain JSON. Source: models of 2026-08-05.
const ACCEPT: &str = "application/json, application/hal+json";
/// Amazon refuses calls without it. Source: "Include a User-Agent header in all requests", read 2026-11-23.
const USER_AGENT: &str =
    concat!("Amzigo/", env!("CARGO_PKG_VERSION"), " (Language=Rust/1.95; Platform=Linux)");

/// Amazon's Selling Partner API for all sellers.
#[derive(Debug)]
pub struct SpApi {
    http: reqwest::Client,
    settings: AmazonSettings,
    budgets: Budgets,
    tokens: Tokens,
    permits: Permits,
    rates: Rates,
}

impl SpApi {
    /// A client with these settings.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        settings: AmazonSettings,
        budgets: Budgets,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(Duration::from_secs(5).min(settings.timeout))
            .timeout(settings.timeout)
            // Tokens go where we send them and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let tokens = Tokens::new(http.clone(), settings.clone(), Arc::clone(&clock));
        let permits = Permits::new(budgets.clone(), clock, longest_wait(&settings) + ON_THE_WIRE);
        Ok(Self { http, settings, budgets, tokens, permits, rates: Rates::default() })
    }

    /// After this long, a call that was begun has ended, whatever became of its answer.
    #[must_use]
    pub fn longest_call(&self) -> Duration {
        longest_wait(&self.settings) + ON_THE_WIRE
    }

    /// Asks the seller's budget for one call. `ticket` is who asks, usually the job: it holds one slot at a time.
    ///
    /// # Errors
    /// [`CallError::Wait`] with the moment that was set aside, when calls rest, or when Redis fails.
    pub async fn permit(
        &self,
        seller: &Seller,
        operation: Operation,
        ticket: &str,
    ) -> Result<Permit, CallError> {
        // Before the circuits: whoever they let ahead must make its call.
        self.tokens.ask()?;
        self.permits.of_seller(seller.id, seller.region, operation, ticket).await
    }

    /// Asks our application's budget in a region for one call that serves no seller.
    ///
    /// # Errors
    /// As [`permit`](Self::permit).
    pub async fn application_permit(
        &self,
        region: Region,
        operation: Operation,
        ticket: &str,
    ) -> Result<Permit, CallError> {
        self.tokens.ask()?;
        self.permits.of_application(region, operation, ticket).await
    }

    /// Waits shortly until the seller's budget holds more than `keep` calls, which are for others; takes none.
    ///
    /// # Errors
    /// [`CallError::Wait`] with the moment at which it will, or when Redis fails.
    pub async fn room_beside(
        &self,
        seller: &Seller,
        operation: Operation,
        keep: u64,
    ) -> Result<(), CallError> {
        self.permits.room_beside(seller.id, operation, keep).await
    }

    /// Makes one call for a seller. A refused token is renewed and the call made once more; nothing else is repeated here.
    ///
    /// # Errors
    /// Every class of answer that is not a success; [`CallError::NoAnswer`] when it has not ended in time.
    pub async fn call(
        &self,
        permit: Permit,
        seller: &Seller,
        refresh_token: &SecretString,
        request: &Request,
    ) -> Result<Success, CallError> {
        let result = self.call_in_time(permit, Caller::Seller(seller, refresh_token), request).await;
        self.permits.note_health(seller.id, seller.region, request.operation, &result);
        result
    }

    /// Makes one call that serves no seller, with our application's own authorisation.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn application_call(
        &self,
        permit: Permit,
        region: Region,
        request: &Request,
    ) -> Result<Success, CallError> {
        self.call_in_time(permit, Caller::Application(region), request).await
    }

    async fn call_in_time(
        &self,
        permit: Permit,
        caller: Caller<'_>,
        request: &Request,
    ) -> Result<Success, CallError> {
        if permit.holder != caller.holder() || permit.operation != request.operation {
            return Err(CallError::NotAllowed);
        }
        // Tokens that must be fetched, and fetched again, would add up to more than `longest_call` promises.
        let whole = self.call_with_token(caller, request);
        tokio::time::timeout(longest_wait(&self.settings), whole).await.unwrap_or_else(|_| {
            let why = format!("it had not ended after {:?}", longest_wait(&self.settings));
            Err(CallError::NoAnswer { operation: request.operation, why })
        })
    }

    async fn call_with_token(&self, caller: Caller<'_>, request: &Request) -> Result<Success, CallError> {
        let authorisation = caller.authorisation(request.operation).ok_or(CallError::NotAllowed)?;
        let token = self.tokens.get(authorisation).await?;
        let refused = match self.send(caller.holder(), &token, request).await {
            // A seller who has just taken the authorisation back looks as if a role were missing, until a new token is
            // asked for: only sign-in tells the two apart.
            Err(error) if matches!(error.refusal(), Some(Refusal::TokenExpired | Refusal::AccessDenied)) => {
                error
            }
            other => return other,
        };
        self.tokens.forget(authorisation, &token).await;
        let renewed = self.tokens.get(authorisation).await?;
        if renewed.expose_secret() == token.expose_secret() {
            return Err(refused);
        }
        self.send(caller.holder(), &renewed, request).await
    }

    async fn send(
        &self,
        holder: Holder,
        token: &SecretString,
        request: &Request,
    ) -> Result<Success, CallError> {
        let operation = request.operation;
        let (method, url) = self.address(holder.region(), request)?;
        let started = Instant::now();
        let building = self
            .http
            .request(method, url)
            .query(&request.query)
            .header("x-amz-access-token", token.expose_secret())
            .header("accept", ACCEPT);
        let sent = match &request.body {
            Some(body) => building.json(body).send().await,
            None => building.send().await,
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                count(operation, "none", started);
                // The URL holds order ids; the connect error's own words suffice.
                let error = error.without_url();
                return Err(if error.is_connect() || error.is_builder() {
                    CallError::NotSent { operation, cause: error }
                } else {
                    CallError::NoAnswer { operation, why: queue::failure::chain(&error) }
                });
            }
        };
        let status = response.status();
        count(operation, status.as_str(), started);
        let request_id = header(response.headers(), "x-amzn-requestid");
        self.rates.note(&self.budgets, holder.budget(operation), response.headers()).await;
        let body = read(response).await.map_err(|why| CallError::NoAnswer { operation, why })?;
        if status.is_success() {
            return Ok(Success { body, request_id });
        }
        Err(self.refused(holder, operation, status, &body, request_id).await)
    }

    /// The address, if the closed list has it: the last look before the socket.
    fn address(&self, region: Region, request: &Request) -> Result<(Method, Url), CallError> {
        let base = match &self.settings.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => Url::parse(region.endpoint()).map_err(|_| CallError::NotAllowed)?,
        };
        let url = base.join(&request.path).map_err(|_| CallError::NotAllowed)?;
        let method: Method = request.operation.entry().method.parse().map_err(|_| CallError::NotAllowed)?;
        // The URL as it will be sent, after dots and escapes have been resolved.
        if Operation::of_request(&method, url.path()) != Some(request.operation)
            || url.origin() != base.origin()
        {
            tracing::error!(
                operation.name = request.operation.entry().name,
                "refused a request that is not in the list"
            );
            return Err(CallError::NotAllowed);
        }
        Ok((method, url))
    }

    async fn refused(
        &self,
        holder: Holder,
        operation: Operation,
        status: StatusCode,
        body: &[u8],
        request_id: Option<String>,
    ) -> CallError {
        let refusal = classify(status, body);
        if refusal == Refusal::Throttled
            && let Some(budget) = holder.budget(operation)
        {
            // Somebody else uses this quota, or the plan shrank.
            return match self.budgets.drain(&budget).await {
                Ok(until) => CallError::Wait { operation, until },
                Err(error) => CallError::Budget(error),
            };
        }
        CallError::Refused { operation, status: status.as_u16(), refusal, request_id }
    }
}

/// Longest time that a call is waited for, with the tokens that had to be fetched for it.
fn longest_wait(settings: &AmazonSettings) -> Duration {
    settings.timeout * 3
}

fn count(operation: Operation, status: &str, started: Instant) {
    let name = operation.entry().name;
    metrics::counter!("amazon_calls_total", "operation" => name, "status" => status.to_owned()).increment(1);
    metrics::histogram!("amazon_call_seconds", "operation" => name).record(started.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use queue::limit::Grant;
    use reqwest::header::{HeaderName, HeaderValue};
    use sandbox::{Fault, Operation as Asked};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinSet,
    };

    use super::*;
    use crate::{
        sp_api::{
            auth::Authorisation,
            budgets::budget,
            solicitations::{OrderId, actions_request, review_request},
        },
        testing::{Plan, Shop},
    };

    const ACTIONS: Operation = Operation::GetSolicitationActions;

    async fn call(shop: &Shop, sp_api: &SpApi, request: &Request) -> Result<Success, CallError> {
        let seller = shop.seller().await;
        let refresh_token = seller.refresh_token(&shop.context.keyring).expect("it decrypts");
        let permit = sp_api.permit(&seller, request.operation, "test").await?;
        sp_api.call(permit, &seller, &refresh_token, request).await
    }

    /// Asks about an order of the shop.
    fn question(shop: &Shop) -> Request {
        let (id, order) = shop.at_amazon().pop_first().expect("it has an order");
        actions_request(&OrderId::parse(&id).expect("an id"), &order.marketplace_id)
    }

    #[tokio::test]
    async fn many_calls_at_once_fetch_one_token() {
        let shop = Shop::with_orders(0).await;
        let seller = shop.seller().await;
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let (context, seller) = (Arc::clone(&shop.context), seller.clone());
            tasks.spawn(async move {
                let refresh_token = seller.refresh_token(&context.keyring).expect("it decrypts");
                let seller = Authorisation::Seller(seller.id, &refresh_token);
                let token = context.sp_api.tokens.get(seller).await.expect("the sign-in is well");
                token.expose_secret().to_owned()
            });
        }
        let mut tokens = tasks.join_all().await;
        tokens.dedup();
        assert_eq!(tokens.len(), 1);
        assert_eq!(shop.calls_of(Asked::Token).len(), 1);
    }

    #[tokio::test]
    async fn amazon_is_told_who_calls() {
        let shop = Shop::with_orders(1).await;
        call(&shop, &shop.context.sp_api, &question(&shop)).await.expect("Amazon takes the user agent");
        let agents: Vec<_> =
            shop.sandbox.control().calls(0, 9).calls.into_iter().map(|c| c.user_agent).collect();
        assert_eq!(agents, [Some(USER_AGENT.to_owned()), Some(USER_AGENT.to_owned())]);
    }

    /// How long the shop would wait for the call after a whole burst.
    async fn wait_after_a_burst(shop: &Shop) -> f64 {
        shop.use_up(ACTIONS).await;
        let asked = shop.budgets.ask(&[budget(shop.seller, ACTIONS)], "last").await.expect("Redis is there");
        match asked {
            Grant::Now => 0.0,
            Grant::At { moment, .. } => (moment - shop.context.clock.now()).as_seconds_f64(),
        }
    }

    #[tokio::test]
    async fn the_rate_that_amazon_tells_moves_the_budget_of_all_processes() {
        let shop = Shop::with_orders(1).await;
        assert!(wait_after_a_burst(&shop).await > 2.0, "the plan as documented gives one a second");
        let shop = Shop::with_orders(1).await;
        call(&shop, &shop.context.sp_api, &question(&shop)).await.expect("nothing is wrong");
        // The shop's budgets are a client of Redis of their own, as another process has.
        assert!(wait_after_a_burst(&shop).await < 0.5, "this sandbox gives thousands");
    }

    #[tokio::test]
    async fn a_rate_that_is_missing_or_no_number_is_ignored() {
        let shop = Shop::with_orders(0).await;
        let name = HeaderName::from_static("x-amzn-ratelimit-limit");
        for told in [None, Some("string"), Some(""), Some("-1"), Some("0"), Some("NaN"), Some("inf")] {
            let headers =
                told.map(|rate| (name.clone(), HeaderValue::from_static(rate))).into_iter().collect();
            let budget = Some(budget(shop.seller, ACTIONS));
            shop.context.sp_api.rates.note(&shop.budgets, budget, &headers).await;
        }
        assert!(wait_after_a_burst(&shop).await > 2.0);
    }

    #[tokio::test]
    async fn what_is_not_in_the_list_does_not_reach_the_socket() {
        let shop = Shop::with_orders(1).await;
        for operation in Operation::ALL {
            for path in [
                "/finances/v0/financialEvents",
                "/products/pricing/v0/price",
                "/orders/v0/orders",
                "/orders/2026-01-01/orders/026-0000000-0000001",
                "/solicitations/v1/orders/../../../finances/v0/financialEvents",
                "/solicitations/v1/orders/%2e%2e/%2e%2e/finances",
                "//127.0.0.2/orders/2026-01-01/orders",
                "http://127.0.0.2/orders/2026-01-01/orders",
            ] {
                let request = Request { path: path.to_owned(), ..Request::new(operation) };
                let error = call(&shop, &shop.context.sp_api, &request).await.expect_err("it is refused");
                assert!(matches!(error, CallError::NotAllowed), "{path}: {error:?}");
                shop.clock.advance(chrono::TimeDelta::minutes(5));
            }
        }
        let summary = shop.sandbox.control().summary();
        assert_eq!(summary.refused, [""; 0]);
        assert!(summary.calls.keys().all(|operation| *operation == Asked::Token), "{:?}", summary.calls);
    }

    #[tokio::test]
    async fn a_permit_is_for_one_operation_and_one_seller() {
        let (shop, other) = (Shop::with_orders(1).await, Shop::with_orders(1).await);
        let sp_api = &shop.context.sp_api;
        let (seller, stranger) = (shop.seller().await, other.seller().await);
        let refresh_token = seller.refresh_token(&shop.context.keyring).expect("it decrypts");
        let question = question(&shop);
        let id = OrderId::parse("026-0000000-0000001").expect("an id");
        let order = review_request(&id, "A1F83G8C2ARO7P");
        for (asks, request) in [(&stranger, &question), (&seller, &order)] {
            let permit = sp_api.permit(asks, ACTIONS, "test").await.expect("the budget is full");
            let error = sp_api.call(permit, &seller, &refresh_token, request).await.expect_err("not for it");
            assert!(matches!(error, CallError::NotAllowed), "{error:?}");
        }
        assert_eq!(shop.sandbox.control().calls(0, 9).calls.len(), 0);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let shop = Shop::with_orders(1).await;
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let location = elsewhere.local_addr().expect("it listens");
        let here = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let endpoint = format!("http://{}/", here.local_addr().expect("it listens"));
        let redirecting = tokio::spawn(async move {
            let (mut stream, _) = here.accept().await.expect("it is called");
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.expect("a request comes") > 0);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{location}/\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.expect("the client listens");
        });
        let amazon = AmazonSettings { endpoint: endpoint.parse().ok(), ..shop.amazon.clone() };
        let clock = Arc::clone(&shop.context.clock);
        let sp_api = SpApi::new(amazon, shop.budgets.clone(), clock).expect("TLS can be set up");
        let error = call(&shop, &sp_api, &question(&shop)).await.expect_err("no success");
        assert_eq!(error.refusal(), Some(Refusal::Unknown));
        redirecting.await.expect("it answered");
        let followed = tokio::time::timeout(Duration::ZERO, elsewhere.accept()).await;
        assert!(followed.is_err(), "the token would have gone to a stranger");
    }
    #[tokio::test]
    async fn a_call_ends_when_it_promises_to_even_if_no_token_comes() {
        let plan = Plan { timeout: Duration::from_millis(200), orders: 1, ..Plan::default() };
        let shop = Shop::open(plan).await;
        shop.fault(Asked::Token, Fault::Hang, u32::MAX);
        let sp_api = &shop.context.sp_api;
        let started = Instant::now();
        let error = call(&shop, sp_api, &question(&shop)).await.expect_err("no token, no answer");
        assert!(error.ambiguous(), "{error:?}");
        assert!(started.elapsed() < sp_api.longest_call(), "{:?}", started.elapsed());
    }
}
