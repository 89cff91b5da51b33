//! How fresh each seller's data are: how far each data set reaches, and how much of the history is stored.

use chrono::{DateTime, Utc};
use jobs::{order_windows, store::sellers::SellerId};
use serde::Serialize;
use sqlx::PgConnection;

/// How fresh a seller's data are. Each moment says: everything that Amazon told until then is stored. `None`: nothing yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Freshness {
    /// The seller.
    pub seller: SellerId,
    /// Orders that changed.
    pub orders: Option<DateTime<Utc>>,
    /// Orders of the time before the seller connected: everything from this moment on is stored.
    pub order_history_from: Option<DateTime<Utc>>,
    /// How much of the history that is, from 0 to 1.
    pub order_history_part: f64,
    /// Stock, in the marketplace where it is oldest.
    pub inventory: Option<DateTime<Utc>>,
    /// Listings, in the marketplace where they are oldest.
    pub listings: Option<DateTime<Utc>>,
    /// Sales by day, in the marketplace where they are oldest.
    pub performance: Option<DateTime<Utc>>,
    /// Where the seller sells.
    pub participations: Option<DateTime<Utc>>,
    /// Review requests that are on their way or wait for an answer.
    pub review_requests_open: i64,
    /// Review requests that were sent.
    pub review_requests_sent: i64,
}

/// How fresh the data are of one seller, or of all, at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn of(
    connection: &mut PgConnection,
    only: Option<SellerId>,
    most: i64,
) -> Result<Vec<Freshness>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select s.id as "id: SellerId", s.connected_at,
            (select synced_until from sync_cursors c where c.seller_id = s.id and data_set = 'orders') as orders,
            (select synced_until from sync_cursors c where c.seller_id = s.id and data_set = 'order_history') as history,
            (select min(synced_at) from walks w where w.seller_id = s.id and data_set = 'inventory') as inventory,
            (select min(synced_at) from walks w where w.seller_id = s.id and data_set = 'listings') as listings,
            (select min(asked_at) from order_metrics_asked a where a.seller_id = s.id and asin = '') as performance,
            (select max(fetched_at) from participations p where p.seller_id = s.id) as participations,
            (select count(*) from review_requests r where r.seller_id = s.id
                and (state = 'sending' or next_check_at is not null)) as "open!",
            (select count(*) from review_requests r where r.seller_id = s.id
                and state in ('sent', 'sent_probably')) as "sent!"
        from sellers s where $1::uuid is null or s.id = $1 order by s.id limit $2
        "#,
        only.map(|seller| seller.0),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Freshness {
            seller: row.id,
            orders: row.orders,
            order_history_from: row.history,
            order_history_part: row
                .history
                .map_or(0.0, |reached| order_windows::history_stored(reached, row.connected_at)),
            inventory: row.inventory,
            listings: row.listings,
            performance: row.performance,
            participations: row.participations,
            review_requests_open: row.open,
            review_requests_sent: row.sent,
        })
        .collect())
}
