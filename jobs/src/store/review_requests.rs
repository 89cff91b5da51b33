//! The outcome of each order's review request: one row an order, because it is sent once, ever.
//!
//! `sending` is written and committed before a request leaves. Found later, it says: an answer is missing, ask Amazon
//! whether the action is still offered before anything else.

use chrono::{DateTime, TimeDelta, Utc};
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

/// From when until when a review may be requested for an order with this promised delivery.
#[must_use]
pub fn window(earliest: DateTime<Utc>, latest: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    (earliest + TimeDelta::days(i64::from(FROM_DAY)), latest + TimeDelta::days(i64::from(UNTIL_DAY)))
}

/// An order that needs a request, or a look into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Amazon's id.
    pub order_id: String,
    /// End of the days in which a review may be requested.
    pub window_ends_at: DateTime<Utc>,
}

/// The orders of a seller that something must be done about, at most `most`: those whose answer is missing, and those in
/// their window without an outcome; the window that ends first comes first.
///
/// # Errors
/// When the database fails.
pub async fn open(
    connection: &mut PgConnection,
    seller: SellerId,
    now: DateTime<Utc>,
    most: i64,
) -> Result<Vec<Open>, sqlx::Error> {
    sqlx::query_as!(
        Open,
        r#"
        select o.order_id,
            coalesce(o.latest_delivery_at, r.attempted_at) + make_interval(days => $4) as "window_ends_at!"
        from orders o left join review_requests r using (seller_id, order_id)
        where o.seller_id = $1 and (
            r.state = 'sending'
            or (o.fulfillment_status = 'SHIPPED'
                and o.earliest_delivery_at + make_interval(days => $3) <= $2
                and o.latest_delivery_at + make_interval(days => $4) > $2
                and (r.state is null or (r.state = 'not_offered' and r.next_check_at <= $2))))
        order by o.latest_delivery_at, o.order_id
        limit $5
        "#,
        seller.0,
        now,
        FROM_DAY,
        UNTIL_DAY,
        most,
    )
    .fetch_all(connection)
    .await
}

/// How an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Something is to be decided about it.
    Undecided(Candidate),
    /// Nothing is to be done, for this reason.
    Settled(String),
}

/// How an order stands now; a reason why nothing is to be done where it is not known.
///
/// # Errors
/// When the database fails.
pub async fn standing(
    connection: &mut PgConnection,
    seller: SellerId,
    order_id: &str,
    now: DateTime<Utc>,
) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select o.marketplace_id, o.fulfillment_status, o.earliest_delivery_at, o.latest_delivery_at,
            r.state as "state?", r.attempted_at, r.next_check_at
        from orders o left join review_requests r using (seller_id, order_id)
        where o.seller_id = $1 and o.order_id = $2
        "#,
        seller.0,
        order_id,
    )
    .fetch_optional(connection)
    .await?;
    let settled = |reason: &str| Ok(Standing::Settled(reason.to_owned()));
    let Some(row) = row else { return settled("the order is no longer stored") };
    let delivery = row.earliest_delivery_at.zip(row.latest_delivery_at);
    let undecided = |window_ends_at, attempted_at| {
        let (order_id, marketplace_id) = (order_id.to_owned(), row.marketplace_id.clone());
        Ok(Standing::Undecided(Candidate { order_id, marketplace_id, window_ends_at, attempted_at }))
    };
    // An answer that is missing is looked into, whatever has become of the order.
    if let (Some("sending"), Some(attempted_at)) = (row.state.as_deref(), row.attempted_at) {
        let ends = delivery
            .map_or(attempted_at + TimeDelta::days(i64::from(UNTIL_DAY)), |(from, to)| window(from, to).1);
        return undecided(ends, Some(attempted_at));
    }
    match row.state.as_deref() {
        None => {}
        Some("not_offered") if row.next_check_at.is_some_and(|at| at <= now) => {}
        Some("not_offered") => return settled("not offered; Amazon is asked again later"),
        Some(state) => return settled(state),
    }
    let Some((opens, closes)) = delivery.map(|(from, to)| window(from, to)) else {
        return settled("no delivery is promised");
    };
    match () {
        () if row.fulfillment_status != "SHIPPED" => settled("the order is not shipped"),
        () if now < opens => settled("its window is not yet open"),
        () if now >= closes => settled("its window has closed"),
        () => undecided(closes, None),
    }
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
