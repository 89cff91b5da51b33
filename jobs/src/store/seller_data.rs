//! Everything that we have from Amazon about a seller, wherever it is: each table with a column `seller_id`. The tables are
//! asked for, not listed, so that a new one cannot be forgotten.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::store::sellers::SellerId;

/// Tables with a column `seller_id` whose rows stay when a seller's data are deleted, each because of a duty to keep it.
const KEPT: [&str; 0] = [];
/// Deleted first: what says how far data were fetched. From then on nothing says that the rest is here, and a seller that comes back is synced from its start. Of
/// the others, those come first on which others hang, and take their rows along: were a part of a thing deleted and the
/// thing itself left, a sync would find it unchanged and not bring the part back.
const FIRST: [&str; 4] = ["sync_cursors", "walks", "order_metrics_asked", "amazon_reports"];
/// Most rows of one statement.
pub const BATCH: i64 = 1_000;

/// Whether the data of a seller whose authorisation ended then are still to be deleted. It stays so until the
/// transaction ends: the seller cannot connect again meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn to_be_deleted(
    connection: &mut PgConnection,
    seller: SellerId,
    ended_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_scalar!(
        r#"
        select 1 as "found!" from sellers
        where id = $1 and state = 'disconnected' and authorisation_ended_at = $2 and data_deleted_at is null
        for share
        "#,
        seller.0,
        ended_at,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// The tables that hold data of sellers, in the order in which they are emptied.
///
/// # Errors
/// When the database fails.
pub async fn tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let kept: Vec<_> = KEPT.iter().map(|table| (*table).to_owned()).collect();
    sqlx::query_scalar!(
        r#"
        select format('%I.%I', nspname, relname) as "name!"
        from pg_attribute
            join pg_class on pg_class.oid = attrelid
            join pg_namespace on pg_namespace.oid = relnamespace
        where attname = 'seller_id' and not attisdropped and relkind = 'r' and relname <> all($1)
            and nspname not in ('pg_catalog', 'information_schema')
        order by relname <> all($2), exists (
            select from pg_constraint join pg_attribute as other on other.attrelid = confrelid
            where conrelid = pg_class.oid and confrelid <> conrelid and contype = 'f'
                and other.attname = 'seller_id' and not other.attisdropped
        ), relname
        "#,
        &kept,
        &FIRST.map(str::to_owned),
    )
    .fetch_all(connection)
    .await
}

/// Deletes at most [`BATCH`] rows of the seller from one of [`tables`]. Returns how many there were.
///
/// # Errors
/// When the database fails.
pub async fn delete_some(
    connection: &mut PgConnection,
    table: &str,
    seller: SellerId,
) -> Result<u64, sqlx::Error> {
    // The name comes from the database's own catalog, quoted by it.
    let statement = format!(
        "delete from {table} where ctid = any(array(select ctid from {table} where seller_id = $1 limit $2))"
    );
    let deleted =
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(seller).bind(BATCH).execute(connection).await?;
    Ok(deleted.rows_affected())
}

/// Notes that nothing is left.
///
/// # Errors
/// When the database fails.
pub async fn note_deleted(
    connection: &mut PgConnection,
    seller: SellerId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update sellers set data_deleted_at = $2 where id = $1", seller.0, now)
        .execute(connection)
        .await
        .map(|_| ())
}
