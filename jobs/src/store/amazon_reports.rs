//! The latest report of each type that was asked for, and how far it is.
//!
//! Each change names the report and the state that it was found in, so that of two runs only one takes a step.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    performance::{Report, ReportState},
    sp_api::reports::ReportType,
    store::sellers::SellerId,
};

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was read and stored.
    Stored,
    /// There is nothing to report.
    NoData,
    /// It comes to nothing, for this reason, in our own words.
    Failed(&'static str),
}

impl End {
    const fn state(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::NoData => "no_data",
            Self::Failed(_) => "failed",
        }
    }

    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Stored | Self::NoData => None,
        }
    }
}

/// The latest report of each type and marketplace. Types that the code no longer knows are left out.
///
/// # Errors
/// When the database fails.
pub async fn load(connection: &mut PgConnection, seller: SellerId) -> Result<Vec<Report>, sqlx::Error> {
    let rows = sqlx::query!(
        "select report_type, marketplace_id, state, reason, report_id, document_id, data_from, asked_at, looks, next_look_at
         from amazon_reports where seller_id = $1 order by report_type, marketplace_id",
        seller.0,
    )
    .fetch_all(connection)
    .await?;
    let known = rows.into_iter().filter_map(|row| {
        let state = match (row.state.as_str(), row.document_id, row.next_look_at) {
            ("asked", _, Some(next_look_at)) => ReportState::Asked { looks: row.looks, next_look_at },
            ("ready", Some(document_id), _) => ReportState::Ready { document_id },
            ("refused", ..) => ReportState::Refused(row.reason.unwrap_or_default()),
            _ => ReportState::Ended,
        };
        Some(Report {
            report_type: ReportType::of_name(&row.report_type)?,
            marketplace_id: row.marketplace_id,
            report_id: row.report_id,
            asked_at: row.asked_at,
            data_from: row.data_from,
            state,
        })
    });
    Ok(known.collect())
}

/// Writes down a report in the state `asked`, in place of the one before; unless that one is still on its way, because another
/// run asked for it meanwhile: then this one is left to itself.
///
/// # Errors
/// When the database fails.
pub async fn asked(
    connection: &mut PgConnection,
    seller: SellerId,
    report: &Report,
) -> Result<(), sqlx::Error> {
    let ReportState::Asked { looks, next_look_at } = report.state else { return Ok(()) };
    sqlx::query!(
        r#"
        insert into amazon_reports as r (seller_id, report_type, marketplace_id, state, report_id, data_from, asked_at,
            looks, next_look_at)
        values ($1, $2, $3, 'asked', $4, $5, $6, $7, $8)
        on conflict (seller_id, report_type, marketplace_id) do update set state = 'asked', reason = null,
            report_id = excluded.report_id, document_id = null, data_from = excluded.data_from,
            asked_at = excluded.asked_at, looks = excluded.looks, next_look_at = excluded.next_look_at, ended_at = null
        where r.ended_at is not null
        "#,
        seller.0,
        report.report_type.name(),
        report.marketplace_id,
        report.report_id,
        report.data_from,
        report.asked_at,
        looks,
        next_look_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Writes down that Amazon would not make a report, and why, in our own words.
///
/// # Errors
/// When the database fails.
pub async fn refused(
    connection: &mut PgConnection,
    seller: SellerId,
    report_type: ReportType,
    marketplace_id: &str,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into amazon_reports as r (seller_id, report_type, marketplace_id, state, reason, report_id, asked_at, ended_at)
        values ($1, $2, $3, 'refused', $4, '', $5, $5)
        on conflict (seller_id, report_type, marketplace_id) do update set state = 'refused', reason = excluded.reason,
            report_id = '', document_id = null, data_from = null, asked_at = excluded.asked_at, looks = 0,
            next_look_at = null, ended_at = excluded.ended_at
        where r.ended_at is not null
        "#,
        seller.0,
        report_type.name(),
        marketplace_id,
        reason,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Forgets which reports were refused, so that the next run asks for them again.
///
/// # Errors
/// When the database fails.
pub async fn forget_refused(connection: &mut PgConnection, seller: SellerId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from amazon_reports where seller_id = $1 and state = 'refused'", seller.0)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Notes that Amazon was asked and the report is not ready. False if another run took a step meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn looked(
    connection: &mut PgConnection,
    seller: SellerId,
    report: &Report,
    looks: i32,
    next_look_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update amazon_reports set looks = $5, next_look_at = $6
         where seller_id = $1 and report_type = $2 and marketplace_id = $3 and report_id = $4 and state = 'asked'",
        seller.0,
        report.report_type.name(),
        report.marketplace_id,
        report.report_id,
        looks,
        next_look_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that the report can be fetched. False if another run took a step meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn ready(
    connection: &mut PgConnection,
    seller: SellerId,
    report: &Report,
    document_id: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update amazon_reports set state = 'ready', document_id = $5, next_look_at = null
         where seller_id = $1 and report_type = $2 and marketplace_id = $3 and report_id = $4 and state = 'asked'",
        seller.0,
        report.report_type.name(),
        report.marketplace_id,
        report.report_id,
        document_id,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a report. False if another run did so first: then what this one read must not be stored.
///
/// # Errors
/// When the database fails.
pub async fn end(
    connection: &mut PgConnection,
    seller: SellerId,
    report: &Report,
    end: End,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update amazon_reports set state = $5, reason = $6, next_look_at = null, ended_at = $7
         where seller_id = $1 and report_type = $2 and marketplace_id = $3 and report_id = $4 and ended_at is null",
        seller.0,
        report.report_type.name(),
        report.marketplace_id,
        report.report_id,
        end.state(),
        end.reason(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
