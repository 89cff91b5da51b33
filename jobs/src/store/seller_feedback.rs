//! Feedback about sellers: the day, the stars and the order, without a word of anybody's.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use crate::{sp_api::seller_feedback::Feedback, store::sellers::SellerId};

/// Stores rows of a report that is being read at `now`. Of two lines about an order the last one counts.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    rows: &[Feedback],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    // By order, so that runs which write at once never wait for each other in a circle.
    let rows: BTreeMap<&str, &Feedback> = rows.iter().map(|row| (row.order_id.as_str(), row)).collect();
    let orders: Vec<String> = rows.keys().map(|order| (*order).to_owned()).collect();
    let days: Vec<NaiveDate> = rows.values().map(|row| row.day).collect();
    let ratings: Vec<i16> = rows.values().map(|row| row.rating).collect();
    sqlx::query!(
        r#"
        insert into seller_feedback (seller_id, order_id, marketplace_id, day, rating, fetched_at)
        select $1, order_id, $2, day, rating, $6
        from unnest($3::text[], $4::date[], $5::smallint[]) as given (order_id, day, rating)
        on conflict (seller_id, order_id) do update set marketplace_id = excluded.marketplace_id, day = excluded.day,
            rating = excluded.rating, fetched_at = excluded.fetched_at
        "#,
        seller.0,
        marketplace_id,
        &orders,
        &days,
        &ratings,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Deletes what a whole report, read at `now`, no longer has of the days since `since`: Amazon or the buyer took it back.
/// Returns how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_missing(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    since: NaiveDate,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "delete from seller_feedback
         where seller_id = $1 and marketplace_id = $2 and day >= $3 and fetched_at < $4",
        seller.0,
        marketplace_id,
        since,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
