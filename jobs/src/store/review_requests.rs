//! The outcome of each order's review request: one row an order, because it is sent once, ever.
//!
//! `sending` is written and committed before a request leaves. Found later, it says: an answer is missing, ask Amazon
//! whether the action is still offered before anything else.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::store::sellers::SellerId;
use queue::JobId;

/// What became of an order's review request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Amazon said so.
    Sent,
    /// Amazon's answer was lost, and the action is no longer offered.
    SentProbably,
    /// Not offered at the moment; asked again until the window closes.
    NotOffered,
    /// Already requested elsewhere, or the buyer does not want it.
    NotAvailable,
    /// The days in which it may be requested are over.
    WindowClosed,
    /// Amazon refused the request as wrong: our fault.
    Refused,
    /// Amazon no longer knows the order.
    Gone,
}

impl Outcome {
    /// As stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::SentProbably => "sent_probably",
            Self::NotOffered => "not_offered",
            Self::NotAvailable => "not_available",
            Self::WindowClosed => "window_closed",
            Self::Refused => "refused",
            Self::Gone => "gone",
        }
    }
}

/// An order that something must be decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Amazon's id.
    pub order_id: String,
    /// Where it was placed.
    pub marketplace_id: String,
    /// End of the days in which a review may be requested.
    pub window_ends_at: DateTime<Utc>,
    /// When a request left whose answer is missing.
    pub attempted_at: Option<DateTime<Utc>>,
}

/// Days after the start of the promised delivery from which a review may be requested, and days after its end until
/// which. Source: Amazon, "Set up the Solicitations API", read 2026-11-23.
const FROM_DAY: i32 = 5;
const UNTIL_DAY: i32 = 30;
/// Finding candidates reads a seller's orders, so it is done for many at once.
const AT_ONCE: i64 = 100;

/// The next orders to decide about, a hundred at most: one whose answer is missing since `unanswered_before`, or one in its window without
/// an outcome, oldest window first; none of `passed_over`.
///
/// # Errors
/// When the database fails.
pub async fn next(
    connection: &mut PgConnection,
    seller: SellerId,
    now: DateTime<Utc>,
    unanswered_before: DateTime<Utc>,
    passed_over: &[String],
) -> Result<Vec<Candidate>, sqlx::Error> {
    sqlx::query_as!(
        Candidate,
        r#"
        select o.order_id, o.marketplace_id,
            coalesce(o.latest_delivery_at, r.attempted_at) + make_interval(days => $5) as "window_ends_at!",
            case when r.state = 'sending' then r.attempted_at end as attempted_at
        from orders o left join review_requests r using (seller_id, order_id)
        where o.seller_id = $1 and o.order_id <> all($6) and (
            (r.state = 'sending' and r.attempted_at <= $3)
            or (o.fulfillment_status = 'SHIPPED'
                and o.earliest_delivery_at + make_interval(days => $4) <= $2
                and o.latest_delivery_at + make_interval(days => $5) > $2
                and (r.state is null or (r.state = 'not_offered' and r.next_check_at <= $2))))
        order by o.latest_delivery_at, o.order_id
        limit $7
        "#,
        seller.0,
        now,
        unanswered_before,
        FROM_DAY,
        UNTIL_DAY,
        passed_over,
        AT_ONCE,
    )
    .fetch_all(connection)
    .await
}

/// Ends the orders that were not offered until their window closed while nobody looked. Returns how many.
///
/// # Errors
/// When the database fails.
pub async fn close_windows(
    connection: &mut PgConnection,
    seller: SellerId,
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"
        update review_requests r set state = 'window_closed', reason = 'not offered until the end of its window',
            decided_at = $2, next_check_at = null
        from orders o
        where r.seller_id = $1 and r.state = 'not_offered' and r.next_check_at is not null
            and o.seller_id = r.seller_id and o.order_id = r.order_id
            and o.latest_delivery_at + make_interval(days => $3) <= $2
        "#,
        seller.0,
        now,
        UNTIL_DAY,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Writes down that a request is about to leave. False if another run got there first: then it must not leave.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    connection: &mut PgConnection,
    seller: SellerId,
    candidate: &Candidate,
    job: JobId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        r#"
        insert into review_requests as r (seller_id, order_id, state, reason, claimed_by, attempted_at, decided_at, checks)
        values ($1, $2, 'sending', 'the request is on its way', $3, $4, $4, 1)
        on conflict (seller_id, order_id) do update set state = 'sending', reason = 'the request is on its way',
            claimed_by = $3, attempted_at = $4, decided_at = $4, next_check_at = null, checks = r.checks + 1
        where (r.state = 'not_offered' and $5::timestamptz is null) or (r.state = 'sending' and r.attempted_at = $5)
        "#,
        seller.0,
        candidate.order_id,
        job.0,
        now,
        candidate.attempted_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the note of [`claim`] at `attempted_at` back: the request did certainly not leave, or was refused unseen (429). Where
/// the answer to an earlier request is missing, that is what the note says again. A later note stays, also one of the same
/// job's next run.
///
/// # Errors
/// When the database fails.
pub async fn release(
    connection: &mut PgConnection,
    seller: SellerId,
    candidate: &Candidate,
    job: JobId,
    attempted_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let earlier = candidate.attempted_at;
    let (state, reason) = match earlier {
        Some(_) => ("sending", "the answer to an earlier request is missing"),
        None => ("not_offered", "the request did not leave"),
    };
    sqlx::query!(
        r#"
        update review_requests set state = $4, reason = $5, attempted_at = $6, next_check_at = $7, decided_at = $8
        where seller_id = $1 and order_id = $2 and state = 'sending' and claimed_by = $3 and attempted_at = $9
        "#,
        seller.0,
        candidate.order_id,
        job.0,
        state,
        reason,
        earlier,
        earlier.is_none().then_some(now),
        now,
        attempted_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// A decision about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for ops.
    pub reason: String,
    /// Amazon's request id of the deciding answer.
    pub request_id: Option<String>,
    /// When to ask again.
    pub next_check_at: Option<DateTime<Utc>>,
}

/// Stores a decision. `attempted_at` is the note of the request that it is about, if one left; a decision about an older
/// state than what is stored does not count, and one that says "sent" is never overwritten.
///
/// # Errors
/// When the database fails.
pub async fn decide(
    connection: &mut PgConnection,
    seller: SellerId,
    order_id: &str,
    attempted_at: Option<DateTime<Utc>>,
    decision: &Decision,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into review_requests as r (seller_id, order_id, state, reason, request_id, decided_at, next_check_at, checks)
        values ($1, $2, $3, $4, $5, $6, $7, 1)
        on conflict (seller_id, order_id) do update set state = $3, reason = $4, request_id = coalesce($5, r.request_id),
            decided_at = $6, next_check_at = $7, checks = r.checks + 1
        where r.state = 'not_offered' or (r.state = 'sending' and r.attempted_at = $8)
        "#,
        seller.0,
        order_id,
        decision.outcome.name(),
        decision.reason,
        decision.request_id,
        now,
        decision.next_check_at,
        attempted_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// The oldest request of a seller whose answer is missing.
///
/// # Errors
/// When the database fails.
pub async fn oldest_unanswered(
    connection: &mut PgConnection,
    seller: SellerId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "select min(attempted_at) from review_requests where seller_id = $1 and state = 'sending'",
        seller.0
    )
    .fetch_one(connection)
    .await
}
