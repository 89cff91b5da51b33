//! Sellers: connecting an Amazon account and disconnecting it, and which ones are connected. The authorisation itself is never
//! shown.

use chrono::{DateTime, SecondsFormat, Utc};
use jobs::{
    authorisations,
    keyring::Keyring,
    kinds::disconnect_seller::DisconnectSeller,
    newcomers,
    store::sellers::{self, SellerError, SellerId},
};
use queue::{
    JobId,
    outbox::{self, Cause, Enqueued, NewJob},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use thiserror::Error;

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
    /// When the authorisation ends by itself, or ended.
    pub authorised_until: DateTime<Utc>,
    /// When it was disconnected.
    pub disconnected_at: Option<DateTime<Utc>>,
    /// By when everything from Amazon about it must be gone, where its authorisation has ended.
    pub data_deleted_by: Option<DateTime<Utc>>,
    /// When that was done.
    pub data_deleted_at: Option<DateTime<Utc>>,
}

/// What became of a seller that somebody wants disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disconnecting {
    /// The job that does it.
    pub job: JobId,
    /// Whether it is a new one.
    pub new: bool,
}

/// Why a seller is not disconnected.
#[derive(Debug, Error)]
pub enum DisconnectError {
    /// There is none.
    #[error("there is no seller {0}; `amzigo sellers list` shows them")]
    Unknown(SellerId),
    /// It is disconnected already.
    #[error("seller {id} has been disconnected since {since}")]
    Already {
        /// Which.
        id: SellerId,
        /// Since when.
        since: String,
    },
    /// The job was refused, or the database failed.
    #[error(transparent)]
    Enqueue(#[from] outbox::EnqueueError),
    /// The database failed.
    #[error("could not read the seller")]
    Database(#[from] sqlx::Error),
}

/// Why a seller is not connected.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The authorisation could not be encrypted, or the database failed.
    #[error(transparent)]
    Seller(#[from] SellerError),
    /// The first syncs were refused, or the database failed.
    #[error("could not enqueue the first syncs")]
    FirstSyncs(#[from] outbox::EnqueueError),
    /// The database failed.
    #[error("could not connect the seller")]
    Database(#[from] sqlx::Error),
}

/// Connects an account, or renews the authorisation of one that is known, enqueues its first syncs and records the act, in a
/// transaction of its own or a part of the caller's. Returns our id.
///
/// # Errors
/// When the authorisation cannot be encrypted, or the database fails.
pub async fn connect(
    connection: &mut PgConnection,
    keyring: &Keyring,
    seller: &sellers::Connection,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<SellerId, ConnectError> {
    let mut transaction = connection.begin().await?;
    let id = sellers::connect(&mut transaction, keyring, seller, now).await?;
    newcomers::first_syncs(&mut transaction, id, Cause::Cli, now).await?;
    act.record(&mut transaction, "sellers.connect", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(id)
}

/// Enqueues the job that disconnects a seller, and records the act, in a transaction of its own or a part of the caller's.
/// Only the authorisation that the seller has now is meant: one that it gives later is left alone.
///
/// # Errors
/// When there is no such seller, it is disconnected already, or the database fails.
pub async fn disconnect(
    connection: &mut PgConnection,
    id: SellerId,
    cause: Cause,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<Disconnecting, DisconnectError> {
    let mut transaction = connection.begin().await?;
    let seller = sqlx::query!("select state, connected_at, disconnected_at from sellers where id = $1", id.0)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(DisconnectError::Unknown(id))?;
    if seller.state == "disconnected" {
        let since = seller.disconnected_at.unwrap_or(seller.connected_at);
        return Err(DisconnectError::Already { id, since: since.to_rfc3339_opts(SecondsFormat::Secs, true) });
    }
    let job = DisconnectSeller { seller: id, connected_at: Some(seller.connected_at) };
    let job = NewJob::of(&job, cause);
    let enqueued = outbox::enqueue(&mut transaction, std::slice::from_ref(&job), now).await?;
    act.record(&mut transaction, "sellers.disconnect", &id.to_string(), now).await?;
    transaction.commit().await?;
    // The outbox answers for each job, so there is always a first one.
    let enqueued = enqueued.into_iter().next().unwrap_or(Enqueued::New(job.id));
    Ok(Disconnecting { job: enqueued.id(), new: matches!(enqueued, Enqueued::New(_)) })
}

/// Why a seller is not synced.
#[derive(Debug, Error)]
pub enum SyncError {
    /// There is none.
    #[error("there is no seller {0}; `amzigo sellers list` shows them")]
    Unknown(SellerId),
    /// Nothing may be called for it.
    #[error("seller {id} is {state}: nothing is synced for it before it connects again")]
    NotActive {
        /// Which.
        id: SellerId,
        /// What it is.
        state: String,
    },
    /// The jobs were refused.
    #[error("could not enqueue the syncs")]
    Enqueue(#[from] outbox::EnqueueError),
    /// The database failed.
    #[error("could not read the seller")]
    Database(#[from] sqlx::Error),
}

/// Enqueues a sync of all of a seller's data sets, or brings forward those that wait, and records the act, in a transaction of
/// its own or a part of the caller's. Each kind is unique by seller, so that doing it twice makes no second job.
///
/// # Errors
/// When there is no such seller, it is not active, the jobs are refused, or the database fails.
pub async fn sync_now(
    connection: &mut PgConnection,
    id: SellerId,
    cause: Cause,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), SyncError> {
    let mut transaction = connection.begin().await?;
    let state = sqlx::query_scalar!("select state from sellers where id = $1", id.0)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(SyncError::Unknown(id))?;
    if state != "active" {
        return Err(SyncError::NotActive { id, state });
    }
    newcomers::first_syncs(&mut transaction, id, cause, now).await?;
    act.record(&mut transaction, "sellers.sync", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(())
}

/// The seller with this id.
///
/// # Errors
/// When the database fails.
pub async fn one(connection: &mut PgConnection, id: SellerId) -> Result<Option<Seller>, sqlx::Error> {
    Ok(some(connection, Some(id)).await?.pop())
}

/// All sellers, the first connected first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Seller>, sqlx::Error> {
    some(connection, None).await
}

async fn some(connection: &mut PgConnection, only: Option<SellerId>) -> Result<Vec<Seller>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id as "id: SellerId", selling_partner_id, region, marketplace_ids, state, state_reason, connected_at,
            authorisation_ended_at, disconnected_at, data_deleted_at
        from sellers where $1::uuid is null or id = $1 order by id
        "#,
        only.map(|seller| seller.0),
    )
    .fetch_all(connection)
    .await?;
    let sellers = rows.into_iter().map(|row| Seller {
        id: row.id,
        selling_partner_id: row.selling_partner_id,
        region: row.region,
        marketplace_ids: row.marketplace_ids,
        state: row.state,
        state_reason: row.state_reason,
        connected_at: row.connected_at,
        authorised_until: row.authorisation_ended_at.unwrap_or(authorisations::ends_at(row.connected_at)),
        disconnected_at: row.disconnected_at,
        data_deleted_by: row.authorisation_ended_at.map(authorisations::deletion_deadline),
        data_deleted_at: row.data_deleted_at,
    });
    Ok(sellers.collect())
}
