//! Sellers: connecting an Amazon account, and which ones are connected. The authorisation itself is never shown.

use chrono::{DateTime, Utc};
use jobs::{
    keyring::Keyring,
    store::sellers::{self, SellerError, SellerId},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::ops::Act;

/// A connected account, by ids only.
#[derive(Debug, Clone, Serialize)]
pub struct Seller {
    /// Our id.
    pub id: SellerId,
    /// Amazon's id of the account.
    pub selling_partner_id: String,
    /// na, eu or fe.
    pub region: String,
    /// Amazon's ids of the marketplaces that are synced.
    pub marketplace_ids: Vec<String>,
    /// active, needs_reauthorisation or disconnected.
    pub state: String,
    /// Why it is not active.
    pub state_reason: Option<String>,
    /// When it connected, or authorised again.
    pub connected_at: DateTime<Utc>,
}

/// Connects an account, or renews the authorisation of one that is known, and records the act, in a transaction of its
/// own or a part of the caller's. Returns our id.
///
/// # Errors
/// When the authorisation cannot be encrypted, or the database fails.
pub async fn connect(
    connection: &mut PgConnection,
    keyring: &Keyring,
    seller: &sellers::Connection,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<SellerId, SellerError> {
    let mut transaction = connection.begin().await?;
    let id = sellers::connect(&mut transaction, keyring, seller, now).await?;
    act.record(&mut transaction, "sellers.connect", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(id)
}

/// All sellers, the first connected first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Seller>, sqlx::Error> {
    sqlx::query_as!(
        Seller,
        r#"
        select id as "id: SellerId", selling_partner_id, region, marketplace_ids, state, state_reason, connected_at
        from sellers order by id
        "#
    )
    .fetch_all(connection)
    .await
}
