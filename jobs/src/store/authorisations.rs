//! Authorisations that end, and what was said and done about it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{authorisations, store::sellers::SellerId};

/// A step before the end of a seller's authorisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reminder {
    /// Who must authorise us again.
    pub seller: SellerId,
    /// When the authorisation ends.
    pub ends_at: DateTime<Utc>,
    /// The step, in days before the end.
    pub days_before: i32,
}

/// A seller without an authorisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub seller: SellerId,
    /// When it had connected.
    pub connected_at: DateTime<Utc>,
    /// When the authorisation ended.
    pub ended_at: DateTime<Utc>,
}

/// The active sellers that connected before, and when.
///
/// # Errors
/// When the database fails.
pub async fn given_before(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
) -> Result<Vec<(SellerId, DateTime<Utc>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id as "id: SellerId", connected_at from sellers where state = 'active' and connected_at <= $1 order by id"#,
        before,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.connected_at)).collect())
}

/// How many authorisations end before that moment, those included whose time is over and which Amazon still takes.
///
/// # Errors
/// When the database fails.
pub async fn ending_before(connection: &mut PgConnection, moment: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from sellers where state = 'active' and connected_at <= $1"#,
        moment - authorisations::LIFE,
    )
    .fetch_one(connection)
    .await
}

/// Writes reminders down. Returns how many are new: each is written once, ever.
///
/// # Errors
/// When the database fails.
pub async fn remind(
    connection: &mut PgConnection,
    reminders: &[Reminder],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let sellers: Vec<_> = reminders.iter().map(|reminder| reminder.seller.0).collect();
    let ends: Vec<_> = reminders.iter().map(|reminder| reminder.ends_at).collect();
    let steps: Vec<_> = reminders.iter().map(|reminder| reminder.days_before).collect();
    let written = sqlx::query!(
        r#"
        insert into authorisation_reminders (seller_id, ends_at, days_before, created_at)
        select seller_id, ends_at, days_before, $4
        from unnest($1::uuid[], $2::timestamptz[], $3::integer[]) as given (seller_id, ends_at, days_before)
        on conflict do nothing
        "#,
        &sellers,
        &ends,
        &steps,
        now,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}

/// Notes that an authorisation has ended where nobody has noted when: the row was written by an older release.
///
/// # Errors
/// When the database fails.
pub async fn note_ends(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sellers set authorisation_ended_at = $1 where state <> 'active' and authorisation_ended_at is null",
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// The sellers that should have connected again by now: their authorisation ended before that moment.
///
/// # Errors
/// When the database fails.
pub async fn given_up(
    connection: &mut PgConnection,
    ended_before: DateTime<Utc>,
) -> Result<Vec<Ended>, sqlx::Error> {
    sqlx::query_as!(
        Ended,
        r#"
        select id as "seller: SellerId", connected_at, authorisation_ended_at as "ended_at!" from sellers
        where state = 'needs_reauthorisation' and authorisation_ended_at <= $1 order by id
        "#,
        ended_before,
    )
    .fetch_all(connection)
    .await
}

/// The disconnected sellers whose data are not yet deleted.
///
/// # Errors
/// When the database fails.
pub async fn not_yet_deleted(connection: &mut PgConnection) -> Result<Vec<Ended>, sqlx::Error> {
    sqlx::query_as!(
        Ended,
        r#"
        select id as "seller: SellerId", connected_at, authorisation_ended_at as "ended_at!" from sellers
        where state = 'disconnected' and data_deleted_at is null and authorisation_ended_at is not null order by id
        "#,
    )
    .fetch_all(connection)
    .await
}
