//! Every data set that we copy, compared with what the sandbox knows, row by row.
//!
//! A row of either side is written as one line of text, and two sets of lines are compared. Only what is synced counts: the
//! marketplaces in which we have the seller.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use chrono::{Days, NaiveDate};
use jobs::{
    performance::{FEEDBACK_REACH, days},
    sp_api::marketplaces::time_zone,
};
use runtime::clock::{Clock, SystemClock};
use sandbox::{DayRecord, FulfillmentStatus, MetricsWanted, OrderRecord};
use sqlx::PgPool;

use crate::amazon::Amazon;

/// A data set as both sides have it.
#[derive(Debug, Default)]
pub struct Compared {
    /// How many rows Amazon has.
    pub rows: usize,
    /// Lines that only we have.
    pub only_here: BTreeSet<String>,
    /// Lines that only Amazon has.
    pub only_at_amazon: BTreeSet<String>,
}

impl Compared {
    fn of(stored: BTreeSet<String>, told: BTreeSet<String>) -> Self {
        Self {
            rows: told.len(),
            only_here: stored.difference(&told).cloned().collect(),
            only_at_amazon: told.difference(&stored).cloned().collect(),
        }
    }

    /// What differs, in words; a few rows of each side.
    #[must_use]
    pub fn difference(&self, name: &str) -> Option<String> {
        if self.only_here.is_empty() && self.only_at_amazon.is_empty() {
            return None;
        }
        let some = |lines: &BTreeSet<String>| lines.iter().take(3).cloned().collect::<Vec<_>>();
        Some(format!(
            "{name}: {} rows only here, as {:?}; {} only at Amazon, as {:?}",
            self.only_here.len(),
            some(&self.only_here),
            self.only_at_amazon.len(),
            some(&self.only_at_amazon)
        ))
    }
}

/// A seller and the marketplaces in which it is synced.
struct Synced {
    partner: String,
    marketplaces: BTreeSet<String>,
}

/// Both sides of every data set of the sellers that are connected, by name.
///
/// # Errors
/// When one side cannot be read.
pub async fn compare(pool: &PgPool, amazon: &Amazon) -> anyhow::Result<BTreeMap<&'static str, Compared>> {
    let rows: Vec<(String, Vec<String>)> =
        sqlx::query_as("select selling_partner_id, marketplace_ids from sellers where state = 'active'")
            .fetch_all(pool)
            .await?;
    let sellers: Vec<_> = rows
        .into_iter()
        .map(|(partner, marketplaces)| Synced { partner, marketplaces: marketplaces.into_iter().collect() })
        .collect();
    Ok(BTreeMap::from([
        (
            "participations",
            Compared::of(lines(pool, PARTICIPATIONS).await?, participations(amazon, &sellers).await?),
        ),
        ("orders", Compared::of(lines(pool, ORDERS).await?, orders(amazon, &sellers).await?)),
        ("inventory", Compared::of(lines(pool, INVENTORY).await?, inventory(amazon, &sellers).await?)),
        ("listings", Compared::of(lines(pool, LISTINGS).await?, listings(amazon, &sellers).await?)),
        ("sales_ranks", Compared::of(lines(pool, SALES_RANKS).await?, sales_ranks(amazon, &sellers).await?)),
        ("order_metrics", order_metrics(pool, amazon, &sellers).await?),
        (
            "account_health",
            Compared::of(lines(pool, ACCOUNT_HEALTH).await?, account_health(amazon, &sellers).await?),
        ),
        (
            "seller_feedback",
            Compared::of(lines(pool, SELLER_FEEDBACK).await?, feedback(amazon, &sellers).await?),
        ),
        (
            "notices",
            Compared::of(lines(pool, "select notice_id from notices").await?, notices(amazon).await?),
        ),
    ]))
}

/// By table: how many rows there are of a seller, beside those that say that it was one.
///
/// # Errors
/// When the database fails.
pub async fn rows_of(pool: &PgPool, seller: &str) -> anyhow::Result<BTreeMap<String, i64>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.columns
         where table_schema = 'public' and column_name = 'seller_id' and table_name <> 'authorisation_reminders'",
    )
    .fetch_all(pool)
    .await?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let query = format!("select count(*) from {table} where seller_id = $1::uuid");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(seller).fetch_one(pool).await?;
        if count > 0 {
            rows.insert(table, count);
        }
    }
    Ok(rows)
}

async fn lines(pool: &PgPool, query: &'static str) -> anyhow::Result<BTreeSet<String>> {
    let lines: Vec<String> =
        sqlx::query_scalar(query).fetch_all(pool).await.with_context(|| format!("reading with `{query}`"))?;
    Ok(lines.into_iter().collect())
}

const PARTICIPATIONS: &str = "select concat_ws(' ', selling_partner_id, marketplace_id, is_participating::text,
    has_suspended_listings::text) from participations join sellers s on s.id = seller_id where s.state = 'active'";

async fn participations(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let mut told = BTreeSet::new();
    for Synced { partner, .. } in sellers {
        for one in amazon.participations(partner).await? {
            let (participates, suspended) = (one.is_participating, one.has_suspended_listings);
            told.insert(format!("{partner} {} {participates} {suspended}", one.marketplace_id));
        }
    }
    Ok(told)
}

const ORDERS: &str = "select concat_ws(' ', selling_partner_id, marketplace_id, order_id, fulfillment_status,
    extract(epoch from last_updated_at)::bigint, (select string_agg(order_item_id, ',' order by order_item_id collate \"C\")
        from order_items i where (i.seller_id, i.order_id) = (o.seller_id, o.order_id)))
    from orders o join sellers s on s.id = seller_id where s.state = 'active' and marketplace_id = any(marketplace_ids)";

async fn orders(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let mut all = amazon.orders().await?;
    let mut told = BTreeSet::new();
    for Synced { partner, marketplaces } in sellers {
        let orders = all.remove(partner).unwrap_or_default().into_iter();
        told.extend(
            orders
                .filter(|order| marketplaces.contains(&order.marketplace_id))
                .map(|order| line(partner, order)),
        );
    }
    Ok(told)
}

fn line(partner: &str, mut order: OrderRecord) -> String {
    order.item_ids.sort();
    let (changed, items) = (order.last_updated_time.timestamp(), order.item_ids.join(","));
    let status = status(order.status);
    format!("{partner} {} {} {status} {changed} {items}", order.marketplace_id, order.id)
}

/// As Amazon writes it.
fn status(status: FulfillmentStatus) -> String {
    serde_json::to_value(status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

const INVENTORY: &str =
    "select concat_ws(' ', selling_partner_id, marketplace_id, seller_sku, asin, fnsku, total, fulfillable,
    inbound_working, inbound_shipped, inbound_receiving, reserved, researching, unfulfillable,
    extract(epoch from last_updated_at)::bigint)
    from inventory join sellers s on s.id = seller_id
    where s.state = 'active' and gone_at is null and marketplace_id = any(marketplace_ids)";

async fn inventory(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let mut told = BTreeSet::new();
    for Synced { partner, marketplaces } in sellers {
        for product in amazon.products(partner).await? {
            if product.fulfilled_by_amazon && marketplaces.contains(&product.marketplace_id) {
                let stock = &product.stock;
                told.insert(format!(
                    "{partner} {} {} {} {} {} {} {} {} {} {} {} {} {}",
                    product.marketplace_id,
                    product.sku,
                    product.asin,
                    product.fn_sku,
                    stock.total,
                    stock.fulfillable,
                    stock.inbound_working,
                    stock.inbound_shipped,
                    stock.inbound_receiving,
                    stock.reserved,
                    stock.researching,
                    stock.unfulfillable,
                    product.stock_updated_time.timestamp(),
                ));
            }
        }
    }
    Ok(told)
}

const LISTINGS: &str = "select concat_ws('|', selling_partner_id, marketplace_id, seller_sku, asin, item_name, product_type,
    is_buyable::text, is_discoverable::text, extract(epoch from last_updated_at)::bigint,
    (select coalesce(string_agg(code || ':' || severity, ',' order by code collate \"C\"), '') from listing_issues i
     where (i.seller_id, i.marketplace_id, i.seller_sku) = (l.seller_id, l.marketplace_id, l.seller_sku)))
    from listings l join sellers s on s.id = seller_id
    where s.state = 'active' and gone_at is null and marketplace_id = any(marketplace_ids)";

async fn listings(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let mut told = BTreeSet::new();
    for Synced { partner, marketplaces } in sellers {
        for product in amazon.products(partner).await? {
            if marketplaces.contains(&product.marketplace_id) {
                let issues = product.issues.iter().map(|issue| format!("{}:{}", issue.code, issue.severity));
                let issues: BTreeSet<_> = issues.collect();
                told.insert(format!(
                    "{partner}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
                    product.marketplace_id,
                    product.sku,
                    product.asin,
                    product.title,
                    product.product_type,
                    product.buyable,
                    product.discoverable,
                    product.last_updated_time.timestamp(),
                    issues.into_iter().collect::<Vec<_>>().join(","),
                ));
            }
        }
    }
    Ok(told)
}

const SALES_RANKS: &str = "select concat_ws(' ', selling_partner_id, marketplace_id, asin, kind, rank)
    from sales_ranks r join sellers s on s.id = seller_id
    where s.state = 'active' and marketplace_id = any(marketplace_ids) and day = (select max(day) from sales_ranks m
        where (m.seller_id, m.marketplace_id, m.asin) = (r.seller_id, r.marketplace_id, r.asin))";

async fn sales_ranks(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let mut told = BTreeSet::new();
    for Synced { partner, marketplaces } in sellers {
        for product in amazon.products(partner).await? {
            if marketplaces.contains(&product.marketplace_id) {
                for (kind, rank) in
                    [("classification", product.class_rank), ("display_group", product.group_rank)]
                {
                    let (marketplace, asin) = (&product.marketplace_id, &product.asin);
                    told.insert(format!("{partner} {marketplace} {asin} {kind} {rank}"));
                }
            }
        }
    }
    Ok(told)
}

/// What was sold by day, in each marketplace and of each product that was asked about. The first of the days is left out: when
/// midnight passes it is one of those that are no longer asked about.
async fn order_metrics(pool: &PgPool, amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<Compared> {
    type Row = (String, String, String, NaiveDate, i64, i64, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "select selling_partner_id, marketplace_id, asin, day, unit_count, order_item_count, order_count,
             (total_sales * 100)::bigint from order_metrics join sellers s on s.id = seller_id
         where s.state = 'active' and order_count > 0 and marketplace_id = any(marketplace_ids)",
    )
    .fetch_all(pool)
    .await?;
    let asked: Vec<(String, String, String)> = sqlx::query_as(
        "select selling_partner_id, marketplace_id, asin from order_metrics_asked join sellers s on s.id = seller_id
         where s.state = 'active' and asin <> '' and marketplace_id = any(marketplace_ids)",
    )
    .fetch_all(pool)
    .await?;
    let now = SystemClock.now();
    let first = |marketplace: &str| days(time_zone(marketplace), now).first + Days::new(1);
    let stored = rows.into_iter().filter(|row| row.3 >= first(&row.1)).map(
        |(partner, marketplace, asin, day, units, items, orders, cents)| {
            format!("{partner} {marketplace} {asin} {day} {units} {items} {orders} {cents}")
        },
    );
    let all = sellers.iter().flat_map(|seller| {
        let marketplaces = seller.marketplaces.iter();
        marketplaces.map(|marketplace| (seller.partner.clone(), marketplace.clone(), String::new()))
    });
    let mut told = BTreeSet::new();
    for (partner, marketplace, asin) in all.chain(asked) {
        let zone = time_zone(&marketplace).name();
        let wanted = MetricsWanted {
            marketplace_id: marketplace.clone(),
            time_zone: zone.to_owned(),
            asin: (!asin.is_empty()).then(|| asin.clone()),
        };
        let days = amazon.metrics(&partner, &wanted).await?;
        let day = |day: DayRecord| {
            let DayRecord { date, units, order_items, orders, sales_cents } = day;
            format!("{partner} {marketplace} {asin} {date} {units} {order_items} {orders} {sales_cents}")
        };
        told.extend(days.into_iter().filter(|day| day.date >= first(&marketplace)).map(day));
    }
    Ok(Compared::of(stored.collect(), told))
}

const ACCOUNT_HEALTH: &str =
    "select concat_ws(' ', selling_partner_id, marketplace_id, metric, coalesce(counted::text, h.status))
    from account_health h join sellers s on s.id = seller_id
    where s.state = 'active' and metric in ('account_status', 'late_shipment_rate') and day = (select max(day)
        from account_health l where (l.seller_id, l.marketplace_id) = (h.seller_id, h.marketplace_id))";

async fn account_health(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let mut told = BTreeSet::new();
    for Synced { partner, .. } in sellers {
        for one in amazon.account_health(partner).await? {
            told.insert(format!("{partner} {} account_status {}", one.marketplace_id, one.status));
            told.insert(format!(
                "{partner} {} late_shipment_rate {}",
                one.marketplace_id, one.late_shipments
            ));
        }
    }
    Ok(told)
}

const SELLER_FEEDBACK: &str =
    "select concat_ws(' ', selling_partner_id, marketplace_id, order_id, day, rating)
    from seller_feedback join sellers s on s.id = seller_id
    where s.state = 'active' and marketplace_id = any(marketplace_ids)";

async fn feedback(amazon: &Amazon, sellers: &[Synced]) -> anyhow::Result<BTreeSet<String>> {
    let since = SystemClock.now() - FEEDBACK_REACH;
    let mut told = BTreeSet::new();
    for Synced { partner, marketplaces } in sellers {
        for one in amazon.feedback(partner).await? {
            if one.given_at >= since && marketplaces.contains(&one.marketplace_id) {
                let day = one.given_at.date_naive();
                told.insert(format!(
                    "{partner} {} {} {day} {}",
                    one.marketplace_id, one.order_id, one.rating
                ));
            }
        }
    }
    Ok(told)
}

/// The notices that came through the queue.
async fn notices(amazon: &Amazon) -> anyhow::Result<BTreeSet<String>> {
    let messages = amazon.queue().await?.messages;
    Ok(messages.into_iter().filter_map(|message| message.notification_id).collect())
}
