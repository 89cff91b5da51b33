//! The stand-in for Amazon as a process: its control API, over HTTP.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use reqwest::{Client, Method};
use sandbox::{
    AccountHealthRecord, CallPage, ChangedOrders, ChangedProducts, DayRecord, FaultScript, FeedbackRecord,
    FeedbackRemoval, MetricsWanted, NewMessage, OrderChanges, OrderRecord, ParticipationRecord,
    ProductChanges, ProductRecord, QueueRecord, Seed, Seeded, SettingsChange, Summary,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A client of the sandbox's control API.
#[derive(Debug, Clone)]
pub struct Amazon {
    http: Client,
    base: String,
}

#[derive(Deserialize)]
struct Orders {
    sellers: BTreeMap<String, Vec<OrderRecord>>,
}

#[derive(Deserialize)]
struct Restored {
    refresh_token: String,
}

impl Amazon {
    /// The sandbox at this address, as `127.0.0.1:4321`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn at(address: &str) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        Ok(Self { http, base: format!("http://{address}") })
    }

    /// Its address for clients of Amazon.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<T> {
        let mut request = self.http.request(method, format!("{}/control/{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("asking the sandbox for {path}"))?;
        let (status, text) = (response.status(), response.text().await?);
        anyhow::ensure!(status.is_success(), "the sandbox refused {path}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("reading the sandbox's answer to {path}"))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.send(Method::GET, path, None::<&Value>).await
    }

    /// Makes sellers and orders.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn seed(&self, seed: &Seed) -> anyhow::Result<Seeded> {
        self.send(Method::POST, "seed", Some(seed)).await
    }

    /// Adds or changes orders while the system runs.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn change_orders(&self, changes: &OrderChanges) -> anyhow::Result<ChangedOrders> {
        self.send(Method::POST, "orders", Some(changes)).await
    }

    /// Adds, changes or deletes products while the system runs.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn change_products(&self, changes: &ProductChanges) -> anyhow::Result<ChangedProducts> {
        self.send(Method::POST, "products", Some(changes)).await
    }

    /// Changes how a seller stands in a marketplace.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn change_participation(
        &self,
        selling_partner_id: &str,
        change: &ParticipationRecord,
    ) -> anyhow::Result<()> {
        let path = format!("sellers/{selling_partner_id}/participations");
        self.send::<Value>(Method::POST, &path, Some(change)).await.map(drop)
    }

    /// Lets Amazon remove the oldest feedback about a seller.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn remove_feedback(&self, removal: &FeedbackRemoval) -> anyhow::Result<()> {
        self.send::<Value>(Method::POST, "feedback/remove", Some(removal)).await.map(drop)
    }

    /// Sends a message to the queue of notifications, whatever it says.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn push_message(&self, body: &str) -> anyhow::Result<()> {
        let message = NewMessage { body: body.to_owned() };
        self.send::<Value>(Method::POST, "messages", Some(&message)).await.map(drop)
    }

    /// Scripts a fault.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn script_fault(&self, script: &FaultScript) -> anyhow::Result<()> {
        self.send::<Value>(Method::POST, "faults", Some(script)).await.map(drop)
    }

    /// Ends all scripted faults.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn clear_faults(&self) -> anyhow::Result<()> {
        self.send::<Value>(Method::DELETE, "faults", None::<&Value>).await.map(drop)
    }

    /// Takes a seller's authorisation back.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn revoke(&self, selling_partner_id: &str) -> anyhow::Result<()> {
        self.send::<Value>(Method::POST, &format!("sellers/{selling_partner_id}/revoke"), None::<&Value>)
            .await
            .map(drop)
    }

    /// Authorises a seller anew. Returns the new refresh token.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn restore(&self, selling_partner_id: &str) -> anyhow::Result<String> {
        let path = format!("sellers/{selling_partner_id}/restore");
        let restored: Restored = self.send(Method::POST, &path, None::<&Value>).await?;
        Ok(restored.refresh_token)
    }

    /// Makes an order vanish.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn vanish(&self, order_id: &str) -> anyhow::Result<()> {
        self.send::<Value>(Method::POST, &format!("orders/{order_id}/vanish"), None::<&Value>).await.map(drop)
    }

    /// Changes the sandbox's settings.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn change_settings(&self, change: &SettingsChange) -> anyhow::Result<()> {
        self.send::<Value>(Method::POST, "settings", Some(change)).await.map(drop)
    }

    /// What it recorded, in numbers.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn summary(&self) -> anyhow::Result<Summary> {
        self.get("summary").await
    }

    /// Every order, by selling partner.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn orders(&self) -> anyhow::Result<BTreeMap<String, Vec<OrderRecord>>> {
        Ok(self.get::<Orders>("orders").await?.sellers)
    }

    /// What a seller sells: each product once for each of its marketplaces.
    ///
    /// # Errors
    /// When it does not answer, or there is no such seller.
    pub async fn products(&self, selling_partner_id: &str) -> anyhow::Result<Vec<ProductRecord>> {
        self.get(&format!("sellers/{selling_partner_id}/products")).await
    }

    /// How a seller stands in each marketplace.
    ///
    /// # Errors
    /// When it does not answer, or there is no such seller.
    pub async fn participations(&self, selling_partner_id: &str) -> anyhow::Result<Vec<ParticipationRecord>> {
        self.get(&format!("sellers/{selling_partner_id}/participations")).await
    }

    /// What buyers said of a seller.
    ///
    /// # Errors
    /// When it does not answer, or there is no such seller.
    pub async fn feedback(&self, selling_partner_id: &str) -> anyhow::Result<Vec<FeedbackRecord>> {
        self.get(&format!("sellers/{selling_partner_id}/feedback")).await
    }

    /// How Amazon judges a seller in each marketplace.
    ///
    /// # Errors
    /// When it does not answer, or there is no such seller.
    pub async fn account_health(&self, selling_partner_id: &str) -> anyhow::Result<Vec<AccountHealthRecord>> {
        self.get(&format!("sellers/{selling_partner_id}/account_health")).await
    }

    /// What a seller sold on each day on which it sold something.
    ///
    /// # Errors
    /// When it does not answer, or there is no such seller, marketplace or time zone.
    pub async fn metrics(
        &self,
        selling_partner_id: &str,
        wanted: &MetricsWanted,
    ) -> anyhow::Result<Vec<DayRecord>> {
        let MetricsWanted { marketplace_id, time_zone, asin } = wanted;
        let asin = asin.as_ref().map(|asin| format!("&asin={asin}")).unwrap_or_default();
        let query = format!("marketplace_id={marketplace_id}&time_zone={time_zone}{asin}");
        self.get(&format!("sellers/{selling_partner_id}/metrics?{query}")).await
    }

    /// The queue of notifications, and what became of everything that was sent to it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn queue(&self) -> anyhow::Result<QueueRecord> {
        self.get("messages").await
    }

    /// Every call it received after one.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn calls(&self, after: u64) -> anyhow::Result<CallPage> {
        self.get(&format!("calls?after={after}&limit=10000")).await
    }
}
