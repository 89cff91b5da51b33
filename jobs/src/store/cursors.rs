//! How far each data set of a seller is synced. A cursor moves in the transaction that stores the page, and only from where
//! the run found it: a run that lost its lease cannot move it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::store::sellers::SellerId;

/// Data set of the orders that change from now on.
pub const ORDERS: &str = "orders";
/// Data set of the orders of the time before the seller connected, stored backwards.
pub const ORDER_HISTORY: &str = "order_history";

/// A place in the stream of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to here is stored; for a data set that is stored backwards, everything from here on.
    pub reached: DateTime<Utc>,
    /// The window whose pages are being fetched.
    pub window: Option<Window>,
    version: i64,
}

/// A window between its first page and its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its other end: reached, once its last page is stored.
    pub end: DateTime<Utc>,
    /// Token of the next page, and when Amazon gave it.
    pub page: Option<(String, DateTime<Utc>)>,
}

impl Cursor {
    /// A cursor that begins here.
    #[must_use]
    pub const fn starting_at(from: DateTime<Utc>) -> Self {
        Self { reached: from, window: None, version: 0 }
    }

    /// The cursor at another place.
    #[must_use]
    pub const fn moved_to(&self, reached: DateTime<Utc>, window: Option<Window>) -> Self {
        Self { reached, window, version: self.version }
    }

    /// The cursor as it is stored, once [`advance`] has moved it here.
    #[must_use]
    pub(crate) fn after_moving(self) -> Self {
        Self { version: self.version + 1, ..self }
    }
}

/// The cursor, if the data set was ever synced.
///
/// # Errors
/// When the database fails.
pub async fn load(
    connection: &mut PgConnection,
    seller: SellerId,
    data_set: &str,
) -> Result<Option<Cursor>, sqlx::Error> {
    let row = sqlx::query!(
        "select synced_until, window_until, page_token, page_token_at, version from sync_cursors
         where seller_id = $1 and data_set = $2",
        seller.0,
        data_set
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Cursor {
        reached: row.synced_until,
        window: row.window_until.map(|end| Window { end, page: row.page_token.zip(row.page_token_at) }),
        version: row.version,
    }))
}

/// Moves the cursor to a new place. False if another run moved it meanwhile: then nothing of this run may be stored.
///
/// # Errors
/// When the database fails.
pub async fn advance(
    connection: &mut PgConnection,
    seller: SellerId,
    data_set: &str,
    from: &Cursor,
    to: &Cursor,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let page = to.window.as_ref().and_then(|window| window.page.as_ref());
    let done = sqlx::query!(
        r#"
        insert into sync_cursors as c (seller_id, data_set, synced_until, window_until, page_token, page_token_at, moved_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (seller_id, data_set) do update set synced_until = $3, window_until = $4, page_token = $5,
            page_token_at = $6, moved_at = $7, version = c.version + 1
        where c.version = $8
        "#,
        seller.0,
        data_set,
        to.reached,
        to.window.as_ref().map(|window| window.end),
        page.map(|(token, _)| token),
        page.map(|(_, at)| *at),
        now,
        from.version,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a seller's cursors to where those of one who connects now begin, so that all of its history is stored anew.
///
/// # Errors
/// When the database fails.
pub async fn reset(
    connection: &mut PgConnection,
    seller: SellerId,
    fresh: &Cursor,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sync_cursors set synced_until = $3, window_until = null, page_token = null, page_token_at = null,
             moved_at = $2, version = version + 1
         where seller_id = $1",
        seller.0,
        now,
        fresh.reached,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
