//! Stock at Amazon, by marketplace and SKU.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{sp_api::inventory::Stock, store::sellers::SellerId};

/// Stores what Amazon told when it was asked at `asked_at`. What it told later stays as it is. Returns how many SKUs were
/// written.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    stocks: &[Stock],
    asked_at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    // By SKU: runs that write at once then never wait for each other in a circle.
    let stocks: BTreeMap<&str, &Stock> =
        stocks.iter().filter_map(|stock| Some((stock.seller_sku.as_deref()?, stock))).collect();
    let skus: Vec<_> = stocks.keys().map(|sku| (*sku).to_owned()).collect();
    let text = |of: fn(&Stock) -> &Option<String>| -> Vec<_> {
        stocks.values().map(|stock| of(stock).clone()).collect()
    };
    let units =
        |of: fn(&Stock) -> Option<i64>| -> Vec<_> { stocks.values().map(|stock| of(stock)).collect() };
    let updated: Vec<_> = stocks.values().map(|stock| stock.last_updated_time).collect();
    let done = sqlx::query!(
        r#"
        insert into inventory as i (seller_id, marketplace_id, fetched_at, seller_sku, asin, fnsku, condition, total,
            fulfillable, inbound_working, inbound_shipped, inbound_receiving, reserved, reserved_for_orders,
            reserved_for_transfer, reserved_in_processing, researching, unfulfillable, last_updated_at)
        select $1, $2, $3, * from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
            $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
            $17::bigint[], $18::bigint[], $19::timestamptz[])
        on conflict (seller_id, marketplace_id, seller_sku) do update set fetched_at = excluded.fetched_at,
            asin = excluded.asin, fnsku = excluded.fnsku, condition = excluded.condition, total = excluded.total,
            fulfillable = excluded.fulfillable, inbound_working = excluded.inbound_working,
            inbound_shipped = excluded.inbound_shipped, inbound_receiving = excluded.inbound_receiving,
            reserved = excluded.reserved, reserved_for_orders = excluded.reserved_for_orders,
            reserved_for_transfer = excluded.reserved_for_transfer,
            reserved_in_processing = excluded.reserved_in_processing, researching = excluded.researching,
            unfulfillable = excluded.unfulfillable, last_updated_at = excluded.last_updated_at, gone_at = null
        where i.fetched_at < excluded.fetched_at
        "#,
        seller.0,
        marketplace_id,
        asked_at,
        &skus,
        &text(|stock| &stock.asin) as &[Option<String>],
        &text(|stock| &stock.fnsku) as &[Option<String>],
        &text(|stock| &stock.condition) as &[Option<String>],
        &units(|stock| stock.total_quantity) as &[Option<i64>],
        &units(|stock| stock.details.fulfillable_quantity) as &[Option<i64>],
        &units(|stock| stock.details.inbound_working_quantity) as &[Option<i64>],
        &units(|stock| stock.details.inbound_shipped_quantity) as &[Option<i64>],
        &units(|stock| stock.details.inbound_receiving_quantity) as &[Option<i64>],
        &units(|stock| stock.details.reserved_quantity.total_reserved_quantity) as &[Option<i64>],
        &units(|stock| stock.details.reserved_quantity.pending_customer_order_quantity) as &[Option<i64>],
        &units(|stock| stock.details.reserved_quantity.pending_transshipment_quantity) as &[Option<i64>],
        &units(|stock| stock.details.reserved_quantity.fc_processing_quantity) as &[Option<i64>],
        &units(|stock| stock.details.researching_quantity.total_researching_quantity) as &[Option<i64>],
        &units(|stock| stock.details.unfulfillable_quantity.total_unfulfillable_quantity) as &[Option<i64>],
        &updated as &[Option<DateTime<Utc>>],
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Marks as gone what a walk over everything did not see. Returns how many SKUs are newly gone.
///
/// # Errors
/// When the database fails.
pub async fn mark_gone(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    walk_began_at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "update inventory set gone_at = $3
         where seller_id = $1 and marketplace_id = $2 and fetched_at < $3 and gone_at is null",
        seller.0,
        marketplace_id,
        walk_began_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::Shop;

    const UK: &str = "A1F83G8C2ARO7P";
    const ROW: &str = "select concat_ws(' ', seller_sku, total, (gone_at is not null)::text) from inventory";

    fn mugs(units: i64) -> Stock {
        Stock { seller_sku: Some("mug".into()), total_quantity: Some(units), ..Stock::default() }
    }

    #[tokio::test]
    async fn an_earlier_answer_never_overwrites_a_later_one() {
        let shop = Shop::with_orders(0).await;
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let now = shop.context.clock.now();
        let late = save(&mut connection, shop.seller, UK, &[mugs(3), Stock::default()], now).await;
        assert_eq!(late.expect("it is stored"), 1, "one without a SKU cannot be kept");
        let early = now - TimeDelta::seconds(1);
        let early = save(&mut connection, shop.seller, UK, &[mugs(9)], early).await.expect("it is no error");
        assert_eq!((early, shop.one(ROW).await.as_str()), (0, "mug 3 false"));
    }

    #[tokio::test]
    async fn what_is_gone_keeps_its_figures_and_may_come_back() {
        let shop = Shop::with_orders(0).await;
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let now = shop.context.clock.now();
        save(&mut connection, shop.seller, UK, &[mugs(3)], now).await.expect("it is stored");
        let gone = mark_gone(&mut connection, shop.seller, UK, now).await.expect("it is marked");
        assert_eq!(gone, 0, "it was seen in this walk");
        let next_walk = now + TimeDelta::days(1);
        let gone = mark_gone(&mut connection, shop.seller, UK, next_walk).await.expect("it is marked");
        assert_eq!((gone, shop.one(ROW).await.as_str()), (1, "mug 3 true"));
        let back = next_walk + TimeDelta::days(1);
        save(&mut connection, shop.seller, UK, &[mugs(4)], back).await.expect("it is stored");
        assert_eq!(shop.one(ROW).await, "mug 4 false");
    }
}
