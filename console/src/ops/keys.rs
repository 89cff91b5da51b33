//! Keys of programs: made, rotated, revoked by people, and looked up by the API.
//!
//! Rotating and revoking are safe to repeat: a second rotation gives another secret and shortens what is left of the ones
//! before; revoking twice says so.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::catalog::CATALOG;
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use thiserror::Error;

use crate::{
    auth::api_key::{KeyId, KeyText, Scope},
    ops::Act,
};

/// How long a key holds, unless it is said.
pub const LIFETIME: TimeDelta = TimeDelta::days(90);
/// How long a key may hold at most.
pub const LONGEST_LIFETIME: TimeDelta = TimeDelta::days(365);
/// How long the secret before goes on beside the new one, unless it is said.
pub const OVERLAP: TimeDelta = TimeDelta::days(7);
/// Requests a second, unless it is said.
pub const RATE: i32 = 100;
/// Requests at once, unless it is said.
pub const BURST: i32 = 200;
/// Most requests a second, and at once, that a key can have.
pub const MOST: i32 = 1_000_000;

/// A key that is not yet made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The program that will have it.
    pub owner: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The kinds it may enqueue and see; empty for all.
    pub kinds: Vec<String>,
    /// How long it holds.
    pub lifetime: TimeDelta,
    /// Requests a second.
    pub rate_per_second: i32,
    /// Requests at once.
    pub burst: i32,
}

/// Why a key was not made or changed.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The owner's name is none.
    #[error(
        "an owner is the name of a program: a small letter, then up to 39 of a-z 0-9 . _ -, as in platform.orders"
    )]
    Owner,
    /// It could do nothing.
    #[error("a key needs a scope; the scopes are enqueue, read, cancel, batches, schedules")]
    NoScope,
    /// Nobody could use it.
    #[error("there is no kind `{0}`; `amzigo kinds` lists them")]
    UnknownKind(String),
    /// It would hold too long or not at all.
    #[error("a key holds for a minute to {} days", LONGEST_LIFETIME.num_days())]
    Lifetime,
    /// It would let nothing or everything through.
    #[error("rate and burst are 1 to {MOST} requests")]
    Rate,
    /// No such key.
    #[error("there is no key {0}; `amzigo keys list` shows them")]
    Unknown(KeyId),
    /// It has ended.
    #[error("key {0} was revoked; make another one with `amzigo keys create`")]
    Revoked(KeyId),
    /// The database failed.
    #[error("could not read or change keys")]
    Database(#[from] sqlx::Error),
}

impl KeyError {
    /// Whether the same request would be refused again.
    #[must_use]
    pub const fn refused(&self) -> bool {
        !matches!(self, Self::Database(_))
    }
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It opens.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

impl KeyState {
    /// As shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A key as people see it: all but its secret.
#[derive(Debug, Clone, Serialize)]
pub struct KeyLine {
    /// Its id.
    pub id: KeyId,
    /// The program that has it.
    pub owner: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The kinds it may enqueue and see; `None` for all.
    pub kinds: Option<Vec<String>>,
    /// Requests a second.
    pub rate_per_second: i32,
    /// Requests at once.
    pub burst: i32,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When somebody ended it.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Until when a secret before the newest still opens.
    pub overlap_until: Option<DateTime<Utc>>,
}

impl KeyLine {
    /// Where it is in its life.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        match self.revoked_at {
            Some(_) => KeyState::Revoked,
            None if self.expires_at <= now => KeyState::Expired,
            None => KeyState::Active,
        }
    }
}

/// Makes a key and records the act, in a transaction of its own. The answer is the only place where the secret is.
///
/// # Errors
/// When what is asked for makes no sense, or the database fails.
pub async fn create(
    connection: &mut PgConnection,
    new: &NewKey,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<KeyText, KeyError> {
    check(new)?;
    let mut scopes = new.scopes.clone();
    scopes.sort_unstable();
    scopes.dedup();
    let scopes: Vec<_> = scopes.into_iter().map(|scope| scope.name().to_owned()).collect();
    let mut kinds = new.kinds.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let key = KeyText::new(KeyId::new());
    let mut transaction = connection.begin().await?;
    sqlx::query!(
        "insert into api_keys (id, owner, scopes, kinds, rate_per_second, burst, made_by, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        key.id.0,
        new.owner,
        &scopes,
        (!kinds.is_empty()).then_some(kinds.as_slice()),
        new.rate_per_second,
        new.burst,
        act.actor(),
        now,
        now + new.lifetime,
    )
    .execute(&mut *transaction)
    .await?;
    add_secret(&mut transaction, &key, now).await?;
    act.record(&mut transaction, "keys.create", &key.id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(key)
}

fn check(new: &NewKey) -> Result<(), KeyError> {
    let owner = new.owner.as_bytes();
    let begins = owner.first().is_some_and(u8::is_ascii_lowercase);
    let goes_on = owner
        .iter()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"._-".contains(letter));
    if !(begins && goes_on && owner.len() <= 40) {
        return Err(KeyError::Owner);
    }
    if new.scopes.is_empty() {
        return Err(KeyError::NoScope);
    }
    if let Some(unknown) = new.kinds.iter().find(|kind| CATALOG.get(kind).is_none()) {
        return Err(KeyError::UnknownKind(unknown.chars().take(100).collect()));
    }
    check_lifetime(new.lifetime)?;
    if [new.rate_per_second, new.burst].iter().any(|count| !(1..=MOST).contains(count)) {
        return Err(KeyError::Rate);
    }
    Ok(())
}

fn check_lifetime(lifetime: TimeDelta) -> Result<(), KeyError> {
    if (TimeDelta::minutes(1)..=LONGEST_LIFETIME).contains(&lifetime) {
        Ok(())
    } else {
        Err(KeyError::Lifetime)
    }
}

async fn add_secret(
    connection: &mut PgConnection,
    key: &KeyText,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into api_key_secrets (hash, key_id, created_at) values ($1, $2, $3)",
        key.secret.hash(),
        key.id.0,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Gives a key a new secret and `lifetime` from now on; the secrets before end after `overlap`, at the latest when the key
/// would have ended. Records the act, in a transaction of its own.
///
/// # Errors
/// When there is no such key, it was revoked, or the database fails.
pub async fn rotate(
    connection: &mut PgConnection,
    id: KeyId,
    overlap: TimeDelta,
    lifetime: TimeDelta,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<KeyText, KeyError> {
    check_lifetime(lifetime)?;
    let mut transaction = connection.begin().await?;
    let row = sqlx::query!("select expires_at, revoked_at from api_keys where id = $1 for update", id.0)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(KeyError::Unknown(id))?;
    if row.revoked_at.is_some() {
        return Err(KeyError::Revoked(id));
    }
    let key = KeyText::new(id);
    sqlx::query!(
        "update api_key_secrets set ends_at = least(ends_at, $2) where key_id = $1",
        id.0,
        (now + overlap.max(TimeDelta::zero())).min(row.expires_at),
    )
    .execute(&mut *transaction)
    .await?;
    add_secret(&mut transaction, &key, now).await?;
    sqlx::query!("update api_keys set expires_at = $2 where id = $1", id.0, now + lifetime)
        .execute(&mut *transaction)
        .await?;
    act.record(&mut transaction, "keys.rotate", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(key)
}

/// Ends a key with all its secrets and records the act, in a transaction of its own. The API hears of it within a second.
///
/// # Errors
/// When there is no such key, it was revoked before, or the database fails.
pub async fn revoke(
    connection: &mut PgConnection,
    id: KeyId,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<(), KeyError> {
    let mut transaction = connection.begin().await?;
    let revoked_before =
        sqlx::query_scalar!("select revoked_at from api_keys where id = $1 for update", id.0)
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(KeyError::Unknown(id))?;
    if revoked_before.is_some() {
        return Err(KeyError::Revoked(id));
    }
    sqlx::query!("update api_keys set revoked_at = $2 where id = $1", id.0, now)
        .execute(&mut *transaction)
        .await?;
    act.record(&mut transaction, "keys.revoke", &id.to_string(), now).await?;
    transaction.commit().await?;
    Ok(())
}

/// Most keys that are listed.
const MOST_LISTED: i64 = 1_000;

/// The keys: those that open first, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<KeyLine>, sqlx::Error> {
    sqlx::query_as!(
        KeyLine,
        r#"
        select id as "id: KeyId", owner, scopes, kinds, rate_per_second, burst, made_by, created_at, expires_at,
            last_used_at, revoked_at,
            (select max(ends_at) from api_key_secrets where key_id = api_keys.id and ends_at > $1) as overlap_until
        from api_keys order by revoked_at is not null or expires_at <= $1, id desc limit $2
        "#,
        now,
        MOST_LISTED,
    )
    .fetch_all(connection)
    .await
}

/// A key as the API looks at it.
#[derive(Debug, Clone)]
pub struct FoundKey {
    /// Its id.
    pub id: KeyId,
    /// The program that has it.
    pub owner: String,
    /// What it may do; scopes that this release does not know are left out.
    pub scopes: Vec<Scope>,
    /// The kinds it may enqueue and see; `None` for all.
    pub kinds: Option<Vec<String>>,
    /// Requests a second.
    pub rate_per_second: i32,
    /// Requests at once.
    pub burst: i32,
    /// When this secret ends: with its key, or because a newer one has come.
    pub ends_at: DateTime<Utc>,
    /// When somebody ended the key.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// The key that this secret opens, whether it still does or not; `None` when it was never given out.
///
/// # Errors
/// When the database fails.
pub async fn find(connection: &mut PgConnection, key: &KeyText) -> Result<Option<FoundKey>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select owner, scopes, kinds, rate_per_second, burst, least(expires_at, ends_at) as "ends_at!", revoked_at
        from api_key_secrets join api_keys on api_keys.id = key_id
        where hash = $1 and key_id = $2
        "#,
        key.secret.hash(),
        key.id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| FoundKey {
        id: key.id,
        owner: row.owner,
        scopes: row.scopes.iter().filter_map(|name| name.parse().ok()).collect(),
        kinds: row.kinds,
        rate_per_second: row.rate_per_second,
        burst: row.burst,
        ends_at: row.ends_at,
        revoked_at: row.revoked_at,
    }))
}

/// Writes when keys were last used; an older moment than is known changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn note_used(
    connection: &mut PgConnection,
    used: &[(KeyId, DateTime<Utc>)],
) -> Result<(), sqlx::Error> {
    let (ids, moments): (Vec<_>, Vec<_>) = used.iter().map(|(id, at)| (id.0, *at)).unzip();
    sqlx::query!(
        "update api_keys set last_used_at = greatest(last_used_at, used_at)
         from unnest($1::uuid[], $2::timestamptz[]) as used (key_id, used_at) where id = key_id",
        &ids,
        &moments,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
