//! Sellers who connected their Amazon account, and their authorisations, encrypted at rest.

use std::{borrow::Cow, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use runtime::secret::SecretString;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use crate::{
    keyring::{Keyring, KeyringError, Sealed},
    order_windows,
    sp_api::Region,
    store::cursors,
};

runtime::id_type!(
    /// Our id of a seller.
    SellerId
);

impl JsonSchema for SellerId {
    fn schema_name() -> Cow<'static, str> {
        "SellerId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Uuid::json_schema(generator)
    }
}

/// A seller, without the authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seller {
    /// Our id.
    pub id: SellerId,
    /// Amazon's id of the account, for the paths that name it; never for a log.
    pub selling_partner_id: String,
    /// Which endpoint answers for it.
    pub region: Region,
    /// What is synced.
    pub marketplace_ids: Vec<String>,
    /// Whether its authorisation holds.
    pub active: bool,
    /// When it connected, or authorised again.
    pub connected_at: DateTime<Utc>,
    refresh_token: Sealed,
}

/// Why a seller could not be read or written.
#[derive(Debug, Error)]
pub enum SellerError {
    /// The database failed.
    #[error("could not read or write the seller")]
    Database(#[from] sqlx::Error),
    /// The authorisation could not be encrypted or decrypted.
    #[error("the seller's authorisation cannot be used")]
    Keyring(#[from] KeyringError),
    /// The row is not what this program writes.
    #[error("the row of seller {id} is not valid: {why}")]
    Row {
        /// Which.
        id: SellerId,
        /// What is wrong.
        why: String,
    },
}

/// What a seller brings when connecting.
#[derive(Debug)]
pub struct Connection {
    /// Amazon's id of the account.
    pub selling_partner_id: String,
    /// Where it sells.
    pub region: Region,
    /// What is to be synced.
    pub marketplace_ids: Vec<String>,
    /// The authorisation.
    pub refresh_token: SecretString,
}

impl Seller {
    /// The authorisation.
    ///
    /// # Errors
    /// When it does not decrypt.
    pub fn refresh_token(&self, keyring: &Keyring) -> Result<SecretString, SellerError> {
        Ok(keyring.open(&self.refresh_token, &place(self.id))?)
    }
}

fn place(id: SellerId) -> String {
    format!("sellers.refresh_token/{id}")
}

/// Connects a seller, or renews the authorisation of one that is known. Returns our id. Where a marketplace is new, its
/// orders are older than the seller's cursor, so that everything is synced from the start; so it is for a seller that was
/// disconnected, whose data may have begun to be deleted.
///
/// # Errors
/// When the authorisation cannot be encrypted, or the database fails.
pub async fn connect(
    connection: &mut PgConnection,
    keyring: &Keyring,
    seller: &Connection,
    now: DateTime<Utc>,
) -> Result<SellerId, SellerError> {
    let known = sqlx::query!(
        r#"
        select id as "id: SellerId", state <> 'disconnected' and marketplace_ids @> $3 as "has_all!" from sellers
        where selling_partner_id = $1 and region = $2 for update
        "#,
        seller.selling_partner_id,
        seller.region.name(),
        &seller.marketplace_ids,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let id = known.as_ref().map_or_else(SellerId::new, |known| known.id);
    if known.is_some_and(|known| !known.has_all) {
        cursors::reset(connection, id, &order_windows::fresh(now), now).await?;
    }
    let sealed = keyring.seal(&seller.refresh_token, &place(id))?;
    sqlx::query!(
        r#"
        insert into sellers (id, selling_partner_id, region, marketplace_ids, refresh_token, refresh_token_key, connected_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (id) do update set marketplace_ids = excluded.marketplace_ids, refresh_token = excluded.refresh_token,
            refresh_token_key = excluded.refresh_token_key, connected_at = excluded.connected_at,
            state = 'active', state_reason = null,
            authorisation_ended_at = null, disconnected_at = null, data_deleted_at = null
        "#,
        id.0,
        seller.selling_partner_id,
        seller.region.name(),
        &seller.marketplace_ids,
        sealed.bytes,
        sealed.key_id,
        now,
    )
    .execute(connection)
    .await?;
    Ok(id)
}

/// The seller, if there is one.
///
/// # Errors
/// When the database fails or the row is not valid.
pub async fn get(connection: &mut PgConnection, id: SellerId) -> Result<Option<Seller>, SellerError> {
    let row = sqlx::query!(
        "select selling_partner_id, region, marketplace_ids, state, connected_at, refresh_token, refresh_token_key
         from sellers where id = $1",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Seller {
            id,
            selling_partner_id: row.selling_partner_id,
            region: Region::from_str(&row.region).map_err(|why| SellerError::Row { id, why })?,
            marketplace_ids: row.marketplace_ids,
            active: row.state == "active",
            connected_at: row.connected_at,
            refresh_token: Sealed { key_id: row.refresh_token_key, bytes: row.refresh_token },
        })
    })
    .transpose()
}

/// Whether the seller is there and sells in exactly these marketplaces, which stays so until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn sells_in(
    connection: &mut PgConnection,
    id: SellerId,
    marketplace_ids: &[String],
) -> Result<bool, sqlx::Error> {
    let present = sqlx::query_scalar!("select marketplace_ids from sellers where id = $1 for share", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(present.is_some_and(|present| present == marketplace_ids))
}

/// Changes what is synced of an active seller, if it still is what was read with the seller; false if not. Where a marketplace
/// is new, everything is synced from the start, as after [`connect`].
///
/// # Errors
/// When the database fails.
pub async fn change_marketplaces(
    connection: &mut PgConnection,
    seller: &Seller,
    marketplace_ids: &[String],
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update sellers set marketplace_ids = $2 where id = $1 and state = 'active' and marketplace_ids = $3",
        seller.id.0,
        marketplace_ids,
        &seller.marketplace_ids,
    )
    .execute(&mut *connection)
    .await?;
    let changed = done.rows_affected() == 1;
    if changed && marketplace_ids.iter().any(|id| !seller.marketplace_ids.contains(id)) {
        cursors::reset(connection, seller.id, &order_windows::fresh(now), now).await?;
    }
    Ok(changed)
}

/// The ids of all sellers whose authorisation holds.
///
/// # Errors
/// When the database fails.
pub async fn active(connection: &mut PgConnection) -> Result<Vec<SellerId>, sqlx::Error> {
    sqlx::query_scalar!(r#"select id as "id: SellerId" from sellers where state = 'active' order by id"#)
        .fetch_all(connection)
        .await
}

/// The ids of the sellers whose authorisation holds, and whose orders are not yet stored as far back as `history`.
///
/// # Errors
/// When the database fails.
pub async fn without_whole_history(
    connection: &mut PgConnection,
    history: TimeDelta,
) -> Result<Vec<SellerId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select s.id as "id: SellerId" from sellers s
        left join sync_cursors c on c.seller_id = s.id and c.data_set = $1
        where s.state = 'active' and (c.synced_until is null or c.synced_until > now() - make_interval(secs => $2))
        order by s.id
        "#,
        cursors::ORDER_HISTORY,
        history.as_seconds_f64(),
    )
    .fetch_all(connection)
    .await
}

/// Notes that Amazon no longer accepts the authorisation that was read with the seller. Its jobs then do nothing until it
/// connects again; if it has done so meanwhile, the new authorisation is not blamed.
///
/// # Errors
/// When the database fails.
pub async fn needs_reauthorisation(
    connection: &mut PgConnection,
    seller: &Seller,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sellers set state = 'needs_reauthorisation', state_reason = $2, authorisation_ended_at = $4
         where id = $1 and state = 'active' and refresh_token = $3",
        seller.id.0,
        reason,
        seller.refresh_token.bytes,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// What became of a seller that was to be disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnected {
    /// It is disconnected, now or since before; its authorisation ended then.
    Since(DateTime<Utc>),
    /// It connected again after the authorisation that was meant.
    ConnectedAgain,
    /// There is none.
    Unknown,
}

/// Disconnects a seller: its authorisation is wiped and its jobs do nothing any more. With `connected_at`, only the
/// authorisation of that moment is meant. Twice is once.
///
/// # Errors
/// When the database fails.
pub async fn disconnect(
    connection: &mut PgConnection,
    id: SellerId,
    connected_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Disconnected, sqlx::Error> {
    let ended_at = sqlx::query_scalar!(
        r#"
        update sellers set state = 'disconnected',
            authorisation_ended_at = coalesce(authorisation_ended_at, $3), disconnected_at = coalesce(disconnected_at, $3)
        where id = $1 and ($2::timestamptz is null or connected_at = $2)
        returning authorisation_ended_at as "ended_at!"
        "#,
        id.0,
        connected_at,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(ended_at) = ended_at {
        return Ok(Disconnected::Since(ended_at));
    }
    let known = sqlx::query_scalar!(r#"select 1 as "known!" from sellers where id = $1"#, id.0)
        .fetch_optional(connection)
        .await?;
    Ok(known.map_or(Disconnected::Unknown, |_| Disconnected::ConnectedAgain))
}

/// A connected seller that a selling partner at Amazon is here: one for each region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Amazon's id.
    pub selling_partner_id: String,
    /// Ours.
    pub seller: SellerId,
    /// Where it sells.
    pub marketplace_ids: Vec<String>,
}

/// The connected sellers that these selling partners are here.
///
/// # Errors
/// When the database fails.
pub async fn of_partners(
    connection: &mut PgConnection,
    selling_partner_ids: &[String],
) -> Result<Vec<Partner>, sqlx::Error> {
    sqlx::query_as!(
        Partner,
        r#"
        select selling_partner_id, id as "seller: SellerId", marketplace_ids from sellers
        where selling_partner_id = any($1) and state = 'active' order by id
        "#,
        selling_partner_ids,
    )
    .fetch_all(connection)
    .await
}
