//! Orders and their lines, as Amazon tells them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{sp_api::orders::Order, store::sellers::SellerId};

/// Stores a page. An order that is stored in a newer version already stays as it is. Returns how many rows were written.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    orders: &[Order],
    fallback_marketplace: &str,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<_> = orders.iter().map(|order| order.order_id.clone()).collect();
    let marketplaces: Vec<_> = orders
        .iter()
        .map(|order| {
            order.sales_channel.marketplace_id.clone().unwrap_or_else(|| fallback_marketplace.to_owned())
        })
        .collect();
    let created: Vec<_> = orders.iter().map(|order| order.created_time).collect();
    let updated: Vec<_> = orders.iter().map(|order| order.last_updated_time).collect();
    let status: Vec<_> = orders
        .iter()
        .map(|order| order.fulfillment.as_ref().map_or("UNKNOWN", |f| &f.fulfillment_status).to_owned())
        .collect();
    let by: Vec<_> =
        orders.iter().map(|order| order.fulfillment.as_ref().and_then(|f| f.fulfilled_by.clone())).collect();
    let window = |order: &Order, end: fn(&crate::sp_api::orders::Window) -> Option<DateTime<Utc>>| {
        order.fulfillment.as_ref().and_then(|f| f.deliver_by_window.as_ref()).and_then(end)
    };
    let earliest: Vec<_> = orders.iter().map(|order| window(order, |w| w.earliest_date_time)).collect();
    let latest: Vec<_> = orders.iter().map(|order| window(order, |w| w.latest_date_time)).collect();
    let written = sqlx::query!(
        r#"
        insert into orders as o (seller_id, order_id, marketplace_id, created_at, last_updated_at, fulfillment_status,
            fulfilled_by, earliest_delivery_at, latest_delivery_at, fetched_at)
        select distinct on (order_id) $1, order_id, marketplace_id, created_at, last_updated_at, status, by_whom, earliest, latest, $10
        from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[], $8::timestamptz[],
            $9::timestamptz[]) as given (order_id, marketplace_id, created_at, last_updated_at, status, by_whom, earliest, latest)
        order by order_id, last_updated_at desc
        on conflict (seller_id, order_id) do update set marketplace_id = excluded.marketplace_id,
            created_at = excluded.created_at, last_updated_at = excluded.last_updated_at,
            fulfillment_status = excluded.fulfillment_status, fulfilled_by = excluded.fulfilled_by,
            earliest_delivery_at = excluded.earliest_delivery_at, latest_delivery_at = excluded.latest_delivery_at,
            fetched_at = excluded.fetched_at
        where o.last_updated_at < excluded.last_updated_at
        "#,
        seller.0,
        &ids,
        &marketplaces,
        &created,
        &updated,
        &status,
        &by as &[Option<String>],
        &earliest as &[Option<DateTime<Utc>>],
        &latest as &[Option<DateTime<Utc>>],
        now,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    save_items(connection, seller, orders).await?;
    Ok(written)
}

async fn save_items(
    connection: &mut PgConnection,
    seller: SellerId,
    orders: &[Order],
) -> Result<(), sqlx::Error> {
    let (mut order_ids, mut item_ids, mut asins, mut skus, mut quantities) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (order, item) in
        orders.iter().flat_map(|order| order.order_items.iter().map(move |item| (order, item)))
    {
        order_ids.push(order.order_id.clone());
        item_ids.push(item.order_item_id.clone());
        asins.push(item.product.asin.clone());
        skus.push(item.product.seller_sku.clone());
        quantities.push(item.quantity_ordered);
    }
    sqlx::query!(
        r#"
        insert into order_items (seller_id, order_id, order_item_id, asin, seller_sku, quantity_ordered)
        select distinct on (order_id, item_id) $1::uuid, order_id, item_id, asin, sku, quantity
        from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[]) as given (order_id, item_id, asin, sku, quantity)
        on conflict (seller_id, order_id, order_item_id) do update set asin = excluded.asin,
            seller_sku = excluded.seller_sku, quantity_ordered = excluded.quantity_ordered
        "#,
        seller.0,
        &order_ids,
        &item_ids,
        &asins as &[Option<String>],
        &skus as &[Option<String>],
        &quantities,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
