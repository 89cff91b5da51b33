//! Sales ranks of the products that a seller lists: a time series, one row a day, product and category.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use crate::{sp_api::catalog::Rank, store::sellers::SellerId};

/// A product that is to be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Where.
    pub marketplace_id: String,
    /// Amazon's product id.
    pub asin: String,
}

/// Listed products that were last asked about before their marketplace's day began, those first for which that is longest
/// ago; at most `most`. `days` has each marketplace with the moment its day began.
///
/// # Errors
/// When the database fails.
pub async fn due(
    connection: &mut PgConnection,
    seller: SellerId,
    days: &[(String, DateTime<Utc>)],
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    let (marketplace_ids, began): (Vec<_>, Vec<_>) = days.iter().cloned().unzip();
    sqlx::query_as!(
        Due,
        r#"
        select marketplace_id, asin as "asin!"
        from listings join unnest($2::text[], $3::timestamptz[]) as given (marketplace_id, began_at) using (marketplace_id)
        where seller_id = $1 and gone_at is null and asin is not null and asin not like '%,%'
        group by marketplace_id, asin
        having coalesce(max(ranks_asked_at) < max(began_at), true)
        order by max(ranks_asked_at) nulls first, marketplace_id, asin
        limit $4
        "#,
        seller.0,
        &marketplace_ids,
        &began,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Stores the ranks of a day, and that these products were asked about at `asked_at`, whether or not they have a rank. What
/// was told later of the same day stays as it is. Returns how many ranks were written.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_id: &str,
    asked: &[String],
    ranks: &[Rank],
    day: NaiveDate,
    asked_at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let asins: Vec<_> = ranks.iter().map(|rank| rank.asin.clone()).collect();
    let kinds: Vec<_> = ranks.iter().map(|rank| rank.kind.name().to_owned()).collect();
    let categories: Vec<_> = ranks.iter().map(|rank| rank.category.clone()).collect();
    let titles: Vec<_> = ranks.iter().map(|rank| rank.title.clone()).collect();
    let places: Vec<_> = ranks.iter().map(|rank| rank.rank).collect();
    let done = sqlx::query!(
        r#"
        insert into sales_ranks as r (seller_id, marketplace_id, day, fetched_at, asin, kind, category, title, rank)
        select distinct on (asin, kind, category) $1::uuid, $2::text, $3::date, $4::timestamptz, asin, kind, category, title, rank
        from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[]) as given (asin, kind, category, title, rank)
        order by asin, kind, category, rank
        on conflict (seller_id, marketplace_id, asin, day, kind, category) do update set title = excluded.title,
            rank = excluded.rank, fetched_at = excluded.fetched_at
        where r.fetched_at < excluded.fetched_at
        "#,
        seller.0,
        marketplace_id,
        day,
        asked_at,
        &asins,
        &kinds,
        &categories,
        &titles as &[Option<String>],
        &places,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update listings set ranks_asked_at = greatest(ranks_asked_at, $4)
         where seller_id = $1 and marketplace_id = $2 and asin = any($3)",
        seller.0,
        marketplace_id,
        asked,
        asked_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
