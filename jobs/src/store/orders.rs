//! Orders and their lines, as Amazon tells them.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{sp_api::orders::Order, store::sellers::SellerId};

/// Stores a page. An order that is stored in this version or a newer one stays as it is, with its lines. Returns how many
/// orders were written.
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
    let orders = newest(orders);
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
    let written = sqlx::query_scalar!(
        r#"
        insert into orders as o (seller_id, order_id, marketplace_id, created_at, last_updated_at, fulfillment_status,
            fulfilled_by, earliest_delivery_at, latest_delivery_at, fetched_at)
        select $1, order_id, marketplace_id, created_at, last_updated_at, status, by_whom, earliest, latest, $10
        from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[], $8::timestamptz[],
            $9::timestamptz[]) as given (order_id, marketplace_id, created_at, last_updated_at, status, by_whom, earliest, latest)
        on conflict (seller_id, order_id) do update set marketplace_id = excluded.marketplace_id,
            created_at = excluded.created_at, last_updated_at = excluded.last_updated_at,
            fulfillment_status = excluded.fulfillment_status, fulfilled_by = excluded.fulfilled_by,
            earliest_delivery_at = excluded.earliest_delivery_at, latest_delivery_at = excluded.latest_delivery_at,
            fetched_at = excluded.fetched_at
        where o.last_updated_at < excluded.last_updated_at
        returning order_id
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
    .fetch_all(&mut *connection)
    .await?;
    let ids: HashSet<&str> = written.iter().map(String::as_str).collect();
    let changed = orders.into_iter().filter(|order| ids.contains(order.order_id.as_str()));
    save_items(connection, seller, changed).await?;
    Ok(written.len() as u64)
}

/// The newest version of each order, should a page tell one twice; by id, so that runs which write at once never wait for
/// each other in a circle.
fn newest(orders: &[Order]) -> Vec<&Order> {
    let mut newest: BTreeMap<&str, &Order> = BTreeMap::new();
    for order in orders {
        let known = newest.entry(&order.order_id).or_insert(order);
        if known.last_updated_time < order.last_updated_time {
            *known = order;
        }
    }
    newest.into_values().collect()
}

async fn save_items(
    connection: &mut PgConnection,
    seller: SellerId,
    orders: impl Iterator<Item = &Order>,
) -> Result<(), sqlx::Error> {
    let (mut order_ids, mut item_ids, mut asins, mut skus, mut quantities) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (order, item) in orders.flat_map(|order| order.order_items.iter().map(move |item| (order, item))) {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{sp_api::orders::OrdersPage, testing::Shop};

    const ID: &str = "026-0000000-0000001";

    /// A version of the order: the hour of its last update, its status, its lines by id and quantity.
    type Version<'a> = (u32, &'a str, &'a [(&'a str, i32)]);

    /// A page with these versions of the order.
    fn page(versions: &[Version<'_>]) -> OrdersPage {
        let orders: Vec<Value> = versions
            .iter()
            .map(|(hour, status, lines)| {
                let items: Vec<Value> = lines
                    .iter()
                    .map(|(id, quantity)| json!({"orderItemId": id, "quantityOrdered": quantity}))
                    .collect();
                json!({
                    "orderId": ID,
                    "createdTime": "2026-11-01T00:00:00Z",
                    "lastUpdatedTime": format!("2026-11-02T{hour:02}:00:00Z"),
                    "salesChannel": {},
                    "fulfillment": {"fulfillmentStatus": status},
                    "orderItems": items,
                })
            })
            .collect();
        OrdersPage::parse(json!({"orders": orders}).to_string().as_bytes()).expect("a page")
    }

    async fn save_page(shop: &Shop, page: &OrdersPage) -> u64 {
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        let now = shop.context.clock.now();
        save(&mut connection, shop.seller, &page.orders, "A1F83G8C2ARO7P", now).await.expect("it is stored")
    }

    async fn row(shop: &Shop) -> String {
        shop.one(
            "select concat_ws(' ', marketplace_id, fulfillment_status,
                 (select string_agg(order_item_id || 'x' || quantity_ordered, ' ' order by order_item_id)
                  from order_items))
             from orders",
        )
        .await
    }

    #[tokio::test]
    async fn an_older_version_never_overwrites_a_newer_one() {
        let shop = Shop::with_orders(0).await;
        assert_eq!(save_page(&shop, &page(&[(5, "SHIPPED", &[("1", 2), ("2", 1)])])).await, 1);
        assert_eq!(save_page(&shop, &page(&[(4, "UNSHIPPED", &[("1", 9)])])).await, 0);
        assert_eq!(row(&shop).await, "A1F83G8C2ARO7P SHIPPED 1x2 2x1");
        assert_eq!(save_page(&shop, &page(&[(6, "CANCELLED", &[("1", 0), ("2", 0)])])).await, 1);
        assert_eq!(row(&shop).await, "A1F83G8C2ARO7P CANCELLED 1x0 2x0");
    }

    #[tokio::test]
    async fn of_two_versions_on_one_page_the_newer_one_counts() {
        let shop = Shop::with_orders(0).await;
        let twice = page(&[(5, "SHIPPED", &[("1", 2)]), (4, "UNSHIPPED", &[("1", 9)])]);
        assert_eq!(save_page(&shop, &twice).await, 1);
        assert_eq!(row(&shop).await, "A1F83G8C2ARO7P SHIPPED 1x2");
    }
}
