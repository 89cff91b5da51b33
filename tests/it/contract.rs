//! Our client against Amazon's own models, judged by Prism: every operation that we may call is accepted without a
//! violation, its answer parses, and each refusal ends in the decision of the table in `docs/AMAZON.md`.
//!
//! The list of cases is a `match` over the operations, so a new one without a case does not compile; and each must be
//! described by a model.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    config::AmazonSettings,
    keyring::Keyring,
    sp_api::{
        CallError, Operation, Region, SpApi,
        answer::Refusal,
        catalog::RanksSearch,
        inventory::{InventoryPage, InventorySearch},
        listings::{ListingsPage, ListingsSearch},
        marketplaces::time_zone,
        notifications::{self, NoticeType},
        operations::Caller,
        order_metrics::{Days, MetricsQuestion},
        orders::{OrdersPage, SearchOrders},
        participations,
        reports::{self, ReportType},
        request::{Request, Success},
        solicitations::{self, OrderId},
    },
    store::sellers::{self, Connection, Seller},
};
use queue::{Failure, limit::Budgets};
use runtime::{
    clock::{Clock, SystemClock},
    secret::SecretString,
    testing::TestDatabase,
};
use sandbox::{Options, Sandbox, Seed};
use serde_json::Value;

use crate::prism::{Answers, Model, Prism, Way, merged, models};

const UK: &str = "A1F83G8C2ARO7P";
const ORDER: &str = "026-1234567-1234567";
const PARTNER: &str = "A2EXAMPLE";

/// Reads an answer; what was read is not looked at here.
type Parse = Box<dyn Fn(&Success) -> Result<(), CallError>>;

/// What is asked of an operation, in every way that we ask it.
struct Case {
    requests: Vec<Request>,
    parse: Parse,
}

fn case(
    requests: impl IntoIterator<Item = Request>,
    parse: impl Fn(&Success) -> Result<(), CallError> + 'static,
) -> Case {
    Case { requests: requests.into_iter().collect(), parse: Box::new(parse) }
}

fn case_of(operation: Operation) -> Case {
    let now = SystemClock.now();
    let order = OrderId::parse(ORDER).expect("it looks like one");
    match operation {
        Operation::GetMarketplaceParticipations => {
            case([participations::request()], |answer| participations::parse(answer).map(drop))
        }
        Operation::SearchOrders => {
            let search = |page_token: Option<&str>| SearchOrders {
                last_updated_after: now - TimeDelta::days(1),
                last_updated_before: now - TimeDelta::minutes(5),
                marketplace_ids: vec![UK.to_owned(), "A1PA6795UKMFR9".to_owned()],
                page_token: page_token.map(str::to_owned),
            };
            let requests = [search(None).request(), search(Some("next")).request()];
            case(requests, |answer| OrdersPage::parse(&answer.body).map(drop))
        }
        Operation::GetInventorySummaries => {
            let search = |changed_since, page_token: Option<&str>| InventorySearch {
                marketplace_id: UK.to_owned(),
                changed_since,
                page_token: page_token.map(str::to_owned),
            };
            let since = Some(now - TimeDelta::hours(1));
            let requests = [search(None, None), search(since, None), search(since, Some("next"))];
            case(requests.map(|search| search.request()), |answer| InventoryPage::parse(answer).map(drop))
        }
        Operation::SearchListingsItems => {
            let created = |since, page_token: Option<&str>| ListingsSearch::Created {
                marketplace_id: UK.to_owned(),
                since,
                page_token: page_token.map(str::to_owned),
            };
            let skus = (0..20).map(|number| format!("mug {number}/ü&=")).collect();
            let requests = [
                created(None, None),
                created(Some(now), Some("next")),
                ListingsSearch::WithSkus { marketplace_id: UK.to_owned(), skus },
            ];
            case(requests.map(|search| search.request(PARTNER)), |answer| {
                ListingsPage::parse(answer).map(drop)
            })
        }
        Operation::SearchCatalogItems => {
            let asins = (0..20).map(|number| format!("B{number:09}")).collect();
            let search = RanksSearch { marketplace_id: UK.to_owned(), asins };
            case([search.request()], move |answer| search.parse(answer).map(drop))
        }
        Operation::GetSolicitationActions => {
            let request = solicitations::actions_request(&order, UK);
            case([request], |answer| solicitations::offered(&answer.body).map(drop))
        }
        Operation::RequestReview => {
            let request = solicitations::review_request(&order, UK);
            case([request], |answer| solicitations::taken(&answer.body))
        }
        Operation::GetOrderMetrics => {
            let local = |at: DateTime<Utc>| at.with_timezone(&time_zone(UK));
            let (from, until) = (local(now - TimeDelta::days(2)), local(now));
            let days = Days { first: from.date_naive(), last: until.date_naive(), from, until };
            let question = |asin| MetricsQuestion { marketplace_id: UK.to_owned(), asin, days };
            let one = question(Some("B000000001".to_owned()));
            let requests = [question(None).request(), one.request()];
            case(requests, move |answer| one.parse(&answer.body).map(drop))
        }
        Operation::CreateReport => {
            let uk = [UK.to_owned()];
            let requests = ReportType::ALL.map(|report| reports::create_request(report, &uk, Some(now)));
            case(requests, |answer| reports::parse_created(&answer.body).map(drop))
        }
        Operation::GetReport => case([reports::progress_request("50000018395")], |answer| {
            reports::parse_progress(&answer.body).map(drop)
        }),
        Operation::GetReportDocument => {
            let id = "amzn1.spdoc.1.4.eu.0356cf79-b8b0-4226-b4b9-0ee058ea5760";
            case([reports::document_request(id)], |answer| reports::parse_document(&answer.body).map(drop))
        }
        Operation::GetDestinations => case([notifications::destinations_request()], |answer| {
            notifications::destinations(&answer.body).map(drop)
        }),
        Operation::CreateDestination => {
            let request =
                notifications::new_destination_request("arn:aws:sqs:eu-west-1:444455556666:notices");
            case([request], |answer| notifications::new_destination(&answer.body).map(drop))
        }
        Operation::GetSubscription => {
            let requests = NoticeType::ALL.map(notifications::subscription_request);
            case(requests, |answer| notifications::subscribed_destination(&answer.body).map(drop))
        }
        Operation::CreateSubscription => {
            let request = |notices| {
                notifications::new_subscription_request(notices, "3acafc7e-121b-1329-8ae8-1571be663aa2")
            };
            // Nothing of it is read: that it was taken is all.
            case(NoticeType::ALL.map(request), |_| Ok(()))
        }
    }
}

/// Our side: a connected seller, and a sandbox that signs it in.
struct Ours {
    seller: Seller,
    refresh_token: SecretString,
    amazon: AmazonSettings,
    way: Way,
    _prism: Prism,
    _sandbox: Sandbox,
    _database: TestDatabase,
}

impl Ours {
    /// Connects a seller, with Prism in Amazon's place; `None` where there is no Prism, which has been said.
    async fn before(document: &Path, answers: Answers) -> anyhow::Result<Option<Self>> {
        let Some(prism) = Prism::serve(document, answers).await? else { return Ok(None) };
        let way = Way::to(&prism).await?;
        let sandbox = Sandbox::start(Options::default()).await?;
        let seed = Seed { sellers: 1, orders: 0, seed: 1, region: sandbox::Region::Eu };
        let mut seeded = sandbox.control().seed(&seed)?;
        let account = seeded.sellers.remove(0);
        let amazon = AmazonSettings {
            client_id: seeded.client_id,
            client_secret: seeded.client_secret.into(),
            token_url: format!("{}/auth/o2/token", sandbox.base_url()).parse()?,
            endpoint: Some(way.url().parse()?),
            timeout: Duration::from_secs(20),
        };
        let database = TestDatabase::new().await;
        let keyring: Keyring = Keyring::generate("test")?.parse()?;
        let connection = Connection {
            selling_partner_id: account.selling_partner_id,
            region: Region::Eu,
            marketplace_ids: vec![UK.to_owned()],
            refresh_token: account.refresh_token.into(),
        };
        let mut connected = database.pool.acquire().await?;
        let id = sellers::connect(&mut connected, &keyring, &connection, SystemClock.now()).await?;
        let seller = sellers::get(&mut connected, id).await?.context("it has just connected")?;
        drop(connected);
        let refresh_token = seller.refresh_token(&keyring)?;
        let (_prism, _sandbox, _database) = (prism, sandbox, database);
        Ok(Some(Self { seller, refresh_token, amazon, way, _prism, _sandbox, _database }))
    }

    /// A client that knows nothing of earlier calls: its budgets are full.
    fn client(&self) -> anyhow::Result<SpApi> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(SpApi::new(self.amazon.clone(), Budgets::in_memory(Arc::clone(&clock)), clock)?)
    }

    async fn call(&self, client: &SpApi, request: &Request) -> Result<Success, CallError> {
        let (operation, ticket) = (request.operation(), "contract");
        match operation.entry().caller {
            Caller::Seller => {
                let permit = client.permit(&self.seller, operation, ticket).await?;
                client.call(permit, &self.seller, &self.refresh_token, request).await
            }
            Caller::Application(_) => {
                let permit = client.application_permit(self.seller.region, operation, ticket).await?;
                client.application_call(permit, self.seller.region, request).await
            }
        }
    }

    /// Every request of an operation is accepted, and its answer parses.
    async fn assert_accepted(&self, operation: Operation) -> anyhow::Result<()> {
        let case = case_of(operation);
        let name = operation.entry().name;
        for request in &case.requests {
            let answer = self.call(&self.client()?, request).await;
            let judged = self.way.answers();
            ensure!(judged.len() == 1, "{name}: one call, one answer: {judged:?}");
            for head in judged {
                let violations = violations(&head)?;
                ensure!(violations.is_empty(), "{name} violates its model: {violations:?}");
                ensure!(!head.to_lowercase().contains("\r\ndeprecation:"), "{name} is deprecated: {head}");
            }
            let answer = answer.with_context(|| format!("{name} was not accepted"))?;
            (case.parse)(&answer).with_context(|| format!("the answer to {name} does not parse"))?;
        }
        Ok(())
    }

    /// Each refusal of an operation ends in its decision.
    async fn assert_refusals(&self, operation: Operation) -> anyhow::Result<()> {
        let case = case_of(operation);
        let name = operation.entry().name;
        let request = case.requests.first().context("a case has a request")?;
        for status in [400, 403, 404, 429, 500, 503] {
            let client = self.client()?;
            self.way.want(Some(status));
            let answer = self.call(&client, request).await;
            self.way.want(None);
            let Err(error) = answer else { anyhow::bail!("{name}: {status} is no success") };
            let judged = self.way.answers();
            let asked_for = format!(" {status} ");
            ensure!(
                judged.iter().all(|head| head.lines().next().is_some_and(|line| line.contains(&asked_for)))
            );
            let (refusal, calls) = match status {
                400 => (Some(Refusal::InvalidInput), 1),
                // The role may be missing, or only the token: so a new one, and the call once more.
                403 => (Some(Refusal::AccessDenied), 2),
                404 => (Some(Refusal::NotFound), 1),
                429 => (None, 1),
                _ => (Some(Refusal::AmazonFailed), 1),
            };
            ensure!(error.refusal() == refusal, "{name} {status}: {error:?}");
            ensure!(judged.len() == calls, "{name} {status}: {} calls", judged.len());
            if status == 429 {
                ensure!(matches!(error, CallError::Wait { .. }), "{name}: {error:?}");
            }
            ensure!(error.ambiguous() == (status >= 500), "{name} {status}: {error:?}");
            let decision = error.into_failure(SystemClock.now());
            let as_the_table_says = match status {
                400 | 404 => matches!(decision, Failure::Reject { .. }),
                403 | 429 => matches!(decision, Failure::Snooze { .. }),
                _ => matches!(decision, Failure::Retry { .. }),
            };
            ensure!(as_the_table_says, "{name} {status}: {decision:?}");
        }
        Ok(())
    }
}

/// What Prism has against a request, from the head of its answer. What it has against its own answer is not ours.
fn violations(head: &str) -> anyhow::Result<Vec<Value>> {
    let told = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sl-violations").then_some(value)
    });
    let told: Vec<Value> = told.map_or(Ok(Vec::new()), serde_json::from_str)?;
    Ok(told.into_iter().filter(|violation| violation["location"][0] != "response").collect())
}

/// The models, each operation of ours in exactly one; empty where there are none, which has been said.
fn complete_models() -> anyhow::Result<Vec<Model>> {
    let models = models()?;
    let mut described: Vec<_> = models.iter().flat_map(|model| model.operations.clone()).collect();
    described.sort();
    let mut all = Operation::ALL.to_vec();
    all.sort();
    ensure!(models.is_empty() || described == all, "each operation is in one model: {described:?}");
    Ok(models)
}

#[tokio::test]
async fn every_call_fits_amazons_models_and_every_refusal_has_its_decision() -> anyhow::Result<()> {
    let models = complete_models()?;
    if models.is_empty() {
        return Ok(());
    }
    let Some(document) = merged(&models) else { return Ok(()) };
    let Some(ours) = Ours::before(&document, Answers::Examples).await? else { return Ok(()) };
    for operation in Operation::ALL {
        ours.assert_accepted(operation).await?;
        ours.assert_refusals(operation).await?;
    }
    std::fs::remove_file(document)?;
    Ok(())
}

/// Amazon's models as they are. Answers are placeholders that fit the schema, also in headers: `string` where a rate is meant.
#[tokio::test]
async fn placeholders_of_the_raw_models_parse() -> anyhow::Result<()> {
    for Model { file, operations } in complete_models()? {
        let Some(ours) = Ours::before(&file, Answers::Placeholders).await? else { return Ok(()) };
        for operation in operations {
            ours.assert_accepted(operation).await.with_context(|| format!("in {}", file.display()))?;
        }
    }
    Ok(())
}

/// The judge judges: a request that is wrong is found to be so.
#[test]
fn a_violation_is_found() -> anyhow::Result<()> {
    let ours = r#"{"location":["request","query"],"code":"required"}"#;
    let its_own = r#"{"location":["response","body"],"code":"required"}"#;
    let head = format!("HTTP/1.1 400 Bad Request\r\nSL-Violations: [{its_own},{ours}]\r\n\r\n");
    assert_eq!(violations(&head)?, [serde_json::from_str::<Value>(ours)?]);
    assert_eq!(violations("HTTP/1.1 200 OK\r\n\r\n")?, [] as [Value; 0]);
    Ok(())
}
