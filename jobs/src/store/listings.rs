//! A seller's listings, by marketplace and SKU, and what is wrong with them.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    sp_api::listings::{Issue, Item, ListingsPage, Summary},
    store::sellers::SellerId,
};

/// Stores a page that Amazon told when it was asked at `asked_at`, with the issues of each listing. What it told later stays
/// as it is. Returns how many listings were written.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    page: &ListingsPage,
    asked_at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    // By SKU: runs that write at once then never wait for each other in a circle.
    let here: BTreeMap<String, (&Item, &Summary)> = page
        .items
        .iter()
        .filter_map(|item| Some((item.sku.replace('\0', ""), (item, item.summary(marketplace_id)?))))
        .collect();
    let skus: Vec<_> = here.keys().cloned().collect();
    let text = |of: fn(&Summary) -> &Option<String>| -> Vec<_> {
        here.values().map(|(_, summary)| of(summary).clone()).collect()
    };
    let is = |status: &str| -> Vec<_> {
        here.values().map(|(_, summary)| summary.status.iter().any(|told| told == status)).collect()
    };
    let moment = |of: fn(&Summary) -> Option<DateTime<Utc>>| -> Vec<_> {
        here.values().map(|(_, summary)| of(summary)).collect()
    };
    let types: Vec<_> =
        here.values().map(|(item, _)| item.product_type(marketplace_id).map(str::to_owned)).collect();
    let written = sqlx::query_scalar!(
        r#"
        insert into listings as l (seller_id, marketplace_id, fetched_at, seller_sku, asin, fnsku, item_name, product_type,
            condition, is_buyable, is_discoverable, created_at, last_updated_at)
        select $1, $2, $3, * from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::bool[], $11::bool[], $12::timestamptz[], $13::timestamptz[])
        on conflict (seller_id, marketplace_id, seller_sku) do update set fetched_at = excluded.fetched_at,
            asin = excluded.asin, fnsku = excluded.fnsku, item_name = excluded.item_name,
            product_type = excluded.product_type, condition = excluded.condition, is_buyable = excluded.is_buyable,
            is_discoverable = excluded.is_discoverable, created_at = excluded.created_at,
            last_updated_at = excluded.last_updated_at, gone_at = null
        where l.fetched_at < excluded.fetched_at
        returning seller_sku
        "#,
        seller.0,
        marketplace_id,
        asked_at,
        &skus,
        &text(|summary| &summary.asin) as &[Option<String>],
        &text(|summary| &summary.fnsku) as &[Option<String>],
        &text(|summary| &summary.item_name) as &[Option<String>],
        &types as &[Option<String>],
        &text(|summary| &summary.condition_type) as &[Option<String>],
        &is("BUYABLE"),
        &is("DISCOVERABLE"),
        &moment(|summary| summary.created_date) as &[Option<DateTime<Utc>>],
        &moment(|summary| summary.last_updated_date) as &[Option<DateTime<Utc>>],
    )
    .fetch_all(&mut *connection)
    .await?;
    let written: HashSet<String> = written.into_iter().collect();
    let changed = here.iter().filter(|(sku, _)| written.contains(*sku));
    let issues: Vec<Value> = changed.flat_map(|(sku, (item, _))| issues(sku, item, marketplace_id)).collect();
    let skus: Vec<_> = written.into_iter().collect();
    replace_issues(connection, seller, marketplace_id, &skus, Value::Array(issues), asked_at).await?;
    Ok(skus.len() as u64)
}

/// The issues of a listing, as rows.
fn issues(sku: &str, item: &Item, marketplace_id: &str) -> Vec<Value> {
    let row = |(position, issue): (usize, &Issue)| {
        json!({
            "seller_sku": sku,
            "position": position,
            "code": issue.code.as_deref().unwrap_or_default(),
            "severity": issue.severity.as_deref().unwrap_or_default(),
            "message": issue.message.as_deref().unwrap_or_default(),
            "categories": issue.categories,
            "attribute_names": issue.attribute_names,
            "enforcements": issue.enforcements(),
            "exemption": issue.exemption(),
        })
    };
    item.issues(marketplace_id).enumerate().map(row).collect()
}

async fn replace_issues(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    skus: &[String],
    issues: Value,
    asked_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from listing_issues where seller_id = $1 and marketplace_id = $2 and seller_sku = any($3)",
        seller.0,
        marketplace_id,
        skus,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        insert into listing_issues (seller_id, marketplace_id, fetched_at, seller_sku, position, code, severity, message,
            categories, attribute_names, enforcements, exemption)
        select $1, $2, $3, * from jsonb_to_recordset($4) as given (seller_sku text, position integer, code text,
            severity text, message text, categories text[], attribute_names text[], enforcements text[], exemption text)
        "#,
        seller.0,
        marketplace_id,
        asked_at,
        issues,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// SKUs that are not gone and that the walk that began then has not seen.
///
/// # Errors
/// When the database fails.
pub async fn not_seen(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    walk_began_at: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select seller_sku from listings
         where seller_id = $1 and marketplace_id = $2 and fetched_at < $3 and gone_at is null
         order by seller_sku",
        seller.0,
        marketplace_id,
        walk_began_at,
    )
    .fetch_all(connection)
    .await
}

/// Marks listings as gone unless they were seen at or after `asked_at`; a listing that is gone has no issues. Returns how
/// many are newly gone.
///
/// # Errors
/// When the database fails.
pub async fn mark_gone(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    skus: &[String],
    asked_at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query_scalar!(
        "update listings set gone_at = $4
         where seller_id = $1 and marketplace_id = $2 and seller_sku = any($3) and fetched_at < $4 and gone_at is null
         returning seller_sku",
        seller.0,
        marketplace_id,
        skus,
        asked_at,
    )
    .fetch_all(&mut *connection)
    .await?;
    replace_issues(connection, seller, marketplace_id, &gone, json!([]), asked_at).await?;
    Ok(gone.len() as u64)
}

/// Marks all listings of a marketplace as gone that were not seen since then.
///
/// # Errors
/// When the database fails.
pub async fn mark_all_gone(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    since: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let skus = not_seen(connection, seller, marketplace_id, since).await?;
    mark_gone(connection, seller, marketplace_id, &skus, since).await
}
