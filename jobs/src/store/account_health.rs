//! How Amazon judged accounts, by day: the last report of a day counts, as a whole.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

use crate::{
    sp_api::{account_health::Judgement, marketplaces::time_zone},
    store::sellers::SellerId,
};

/// Stores what a report says that was asked for at `asked_at`, in place of what an earlier one said of the same day: of a
/// marketplace that it names, nothing else stays.
///
/// # Errors
/// When the database fails.
pub async fn replace(
    connection: &mut PgConnection,
    seller: SellerId,
    judgements: &[Judgement],
    asked_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let day = |marketplace: &str| asked_at.with_timezone(&time_zone(marketplace)).date_naive();
    let told: BTreeSet<&str> = judgements.iter().map(|one| one.marketplace_id.as_str()).collect();
    let marketplaces: Vec<String> = told.iter().map(|id| (*id).to_owned()).collect();
    let days: Vec<NaiveDate> = told.iter().map(|id| day(id)).collect();
    sqlx::query!(
        "delete from account_health h using unnest($2::text[], $3::date[]) as told (marketplace_id, day)
         where h.seller_id = $1 and h.marketplace_id = told.marketplace_id and h.day = told.day",
        seller.0,
        &marketplaces,
        &days,
    )
    .execute(&mut *connection)
    .await?;
    let column = |of: fn(&Judgement) -> String| -> Vec<String> { judgements.iter().map(of).collect() };
    let (counted, out_of): (Vec<_>, Vec<_>) = judgements.iter().map(|one| (one.counted, one.out_of)).unzip();
    let (rates, targets): (Vec<_>, Vec<_>) = judgements.iter().map(|one| (one.rate, one.target)).unzip();
    let conditions: Vec<_> = judgements.iter().map(|one| one.target_condition.clone()).collect();
    let (from, until): (Vec<_>, Vec<_>) =
        judgements.iter().map(|one| (one.measured_from, one.measured_until)).unzip();
    let days: Vec<_> = judgements.iter().map(|one| day(&one.marketplace_id)).collect();
    sqlx::query!(
        r#"
        insert into account_health (seller_id, marketplace_id, day, metric, status, rate, target, target_condition, counted,
            out_of, measured_from, measured_until, fetched_at)
        select distinct on (marketplace_id, metric) $1::uuid, marketplace_id, day, metric, status, rate, target, condition,
            counted, out_of, measured_from, measured_until, $13::timestamptz
        from unnest($2::text[], $3::date[], $4::text[], $5::text[], $6::float8[], $7::float8[], $8::text[], $9::bigint[],
            $10::bigint[], $11::timestamptz[], $12::timestamptz[])
            as given (marketplace_id, day, metric, status, rate, target, condition, counted, out_of, measured_from,
                measured_until)
        "#,
        seller.0,
        &column(|one| one.marketplace_id.clone()),
        &days,
        &column(|one| one.metric.to_owned()),
        &column(|one| one.status.clone()),
        &rates as &[Option<f64>],
        &targets as &[Option<f64>],
        &conditions as &[Option<String>],
        &counted as &[Option<i64>],
        &out_of as &[Option<i64>],
        &from as &[Option<DateTime<Utc>>],
        &until as &[Option<DateTime<Utc>>],
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
