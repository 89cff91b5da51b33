//! What was ordered, by day: of everything, and of each product that was ordered lately.
//!
//! An answer replaces the days that it was asked for: days that it no longer has are deleted, figures that are the same are
//! left alone, and an older answer never overwrites a newer one. Of a product, days without an order have no row.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::{
    performance::Product,
    sp_api::order_metrics::{Metrics, MetricsQuestion},
    store::sellers::SellerId,
};

/// What stands for all products together.
const ALL_PRODUCTS: &str = "";

/// When the days of each marketplace were last told, of all products together.
///
/// # Errors
/// When the database fails.
pub async fn marketplaces(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_ids: &[String],
) -> Result<Vec<(String, Option<DateTime<Utc>>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select given.id as "id!", asked.asked_at
        from unnest($2::text[]) as given (id)
        left join order_metrics_asked asked
            on asked.seller_id = $1 and asked.marketplace_id = given.id and asked.asin = $3
        order by given.id
        "#,
        seller.0,
        marketplace_ids,
        ALL_PRODUCTS,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.asked_at)).collect())
}

/// Notes that the figures of each product are needed that was ordered in the marketplace since then. Returns how many.
///
/// # Errors
/// When the database fails.
pub async fn want_products(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    ordered_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"
        insert into order_metrics_asked as a (seller_id, marketplace_id, asin, wanted_at)
        select distinct $1::uuid, $2::text, i.asin, $4::timestamptz
        from orders o join order_items i using (seller_id, order_id)
        where o.seller_id = $1 and o.marketplace_id = $2 and o.created_at >= $3 and i.asin <> $5
        order by i.asin
        on conflict (seller_id, marketplace_id, asin) do update set wanted_at = excluded.wanted_at
        where a.wanted_at < excluded.wanted_at
        "#,
        seller.0,
        marketplace_id,
        ordered_since,
        now,
        ALL_PRODUCTS,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Products whose figures are needed, those with the oldest figures first.
///
/// # Errors
/// When the database fails.
pub async fn late_products(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_ids: &[String],
    most: i64,
) -> Result<Vec<Product>, sqlx::Error> {
    sqlx::query_as!(
        Product,
        r#"
        select marketplace_id, asin, wanted_at, asked_at from order_metrics_asked
        where seller_id = $1 and marketplace_id = any($2) and asin <> $4 and (asked_at is null or asked_at < wanted_at)
        order by asked_at nulls first, marketplace_id, asin
        limit $3
        "#,
        seller.0,
        marketplace_ids,
        most,
        ALL_PRODUCTS,
    )
    .fetch_all(connection)
    .await
}

/// Stores an answer. Returns how many days changed.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    question: &MetricsQuestion,
    metrics: &Metrics,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let asin = question.asin.as_deref().unwrap_or(ALL_PRODUCTS);
    let of_a_product = question.asin.is_some();
    let told: Vec<_> = metrics
        .days
        .iter()
        .filter(|day| !of_a_product || day.order_item_count != 0 || day.unit_count != 0)
        .collect();
    let days: Vec<_> = told.iter().map(|day| day.day).collect();
    let units: Vec<_> = told.iter().map(|day| day.unit_count).collect();
    let items: Vec<_> = told.iter().map(|day| day.order_item_count).collect();
    let orders: Vec<_> = told.iter().map(|day| day.order_count).collect();
    let (sales, currencies): (Vec<_>, Vec<_>) =
        told.iter().map(|day| day.total_sales.clone().unzip()).unzip();
    let mut changed = 0;
    // A day that could not be told apart may be any of those that are missing.
    if metrics.unreadable == 0 {
        let deleted = sqlx::query!(
            "delete from order_metrics where seller_id = $1 and marketplace_id = $2 and asin = $3
                 and day between $4 and $5 and day <> all($6) and fetched_at <= $7",
            seller.0,
            question.marketplace_id,
            asin,
            question.days.first,
            question.days.last,
            &days,
            now,
        )
        .execute(&mut *connection)
        .await?;
        changed += deleted.rows_affected();
    }
    let written = sqlx::query!(
        r#"
        insert into order_metrics as m (seller_id, marketplace_id, asin, day, unit_count, order_item_count, order_count,
            total_sales, currency, fetched_at)
        select $1, $2, $3, day, units, items, orders, sales, currency, $10
        from unnest($4::date[], $5::bigint[], $6::bigint[], $7::bigint[], $8::numeric[], $9::text[])
            as given (day, units, items, orders, sales, currency)
        on conflict (seller_id, marketplace_id, asin, day) do update set unit_count = excluded.unit_count,
            order_item_count = excluded.order_item_count, order_count = excluded.order_count,
            total_sales = excluded.total_sales, currency = excluded.currency, fetched_at = excluded.fetched_at
        where m.fetched_at <= excluded.fetched_at
            and (m.unit_count, m.order_item_count, m.order_count, m.total_sales, m.currency) is distinct from
                (excluded.unit_count, excluded.order_item_count, excluded.order_count, excluded.total_sales,
                 excluded.currency)
        "#,
        seller.0,
        question.marketplace_id,
        asin,
        &days,
        &units,
        &items,
        &orders,
        &sales as &[Option<Decimal>],
        &currencies as &[Option<String>],
        now,
    )
    .execute(&mut *connection)
    .await?;
    changed += written.rows_affected();
    asked(connection, seller, &question.marketplace_id, asin, now).await?;
    Ok(changed)
}

/// Notes that a product was asked about and that there is nothing to store.
///
/// # Errors
/// When the database fails.
pub async fn pass_over(
    connection: &mut PgConnection,
    seller: SellerId,
    product: &Product,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    asked(connection, seller, &product.marketplace_id, &product.asin, now).await
}

async fn asked(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    asin: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into order_metrics_asked as a (seller_id, marketplace_id, asin, wanted_at, asked_at)
         values ($1, $2, $3, $4, $4)
         on conflict (seller_id, marketplace_id, asin) do update set asked_at = greatest(a.asked_at, excluded.asked_at)",
        seller.0,
        marketplace_id,
        asin,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
