//! Where sellers may sell, and where they do.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{sp_api::participations::Participation, store::sellers::SellerId};

/// Stores the whole of what Amazon told when it was asked at `asked_at`; what it no longer tells counts as left. An answer to
/// a later question stays as it is.
///
/// # Errors
/// When the database fails.
pub async fn save(
    connection: &mut PgConnection,
    seller: SellerId,
    participations: &[Participation],
    asked_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<_> = participations.iter().map(|told| told.marketplace.id.clone()).collect();
    let text = |of: fn(&Participation) -> &Option<String>| -> Vec<_> {
        participations.iter().map(|told| of(told).clone()).collect()
    };
    let selling: Vec<_> = participations.iter().map(|told| told.participation.is_participating).collect();
    let suspended: Vec<_> =
        participations.iter().map(|told| told.participation.has_suspended_listings).collect();
    sqlx::query!(
        r#"
        insert into participations as p (seller_id, fetched_at, marketplace_id, country_code, currency_code, language_code,
            domain_name, is_participating, has_suspended_listings)
        select distinct on (id) $1::uuid, $2::timestamptz, id, country, currency, language, domain, selling, suspended
        from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[], $9::bool[])
            as given (id, country, currency, language, domain, selling, suspended)
        order by id, selling desc
        on conflict (seller_id, marketplace_id) do update set fetched_at = excluded.fetched_at,
            country_code = excluded.country_code, currency_code = excluded.currency_code,
            language_code = excluded.language_code, domain_name = excluded.domain_name,
            is_participating = excluded.is_participating, has_suspended_listings = excluded.has_suspended_listings
        where p.fetched_at < excluded.fetched_at
        "#,
        seller.0,
        asked_at,
        &ids,
        &text(|told| &told.marketplace.country_code) as &[Option<String>],
        &text(|told| &told.marketplace.default_currency_code) as &[Option<String>],
        &text(|told| &told.marketplace.default_language_code) as &[Option<String>],
        &text(|told| &told.marketplace.domain_name) as &[Option<String>],
        &selling,
        &suspended,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update participations set is_participating = false, fetched_at = $2
         where seller_id = $1 and fetched_at < $2 and is_participating",
        seller.0,
        asked_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
