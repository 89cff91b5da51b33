//! For programs in Rust: enqueue a typed job in your own transaction, look it up, wait for its end.
//!
//! ```no_run
//! # use jobs::{client, kinds::sync_orders::SyncOrders, store::sellers::SellerId};
//! # async fn example(pool: sqlx::PgPool, seller: SellerId) -> Result<(), Box<dyn std::error::Error>> {
//! let mut transaction = pool.begin().await?;
//! // … whatever the job follows from, in the same transaction …
//! let job = client::enqueue(&mut transaction, &SyncOrders { seller }).idempotency_key("ticket-812").await?;
//! transaction.commit().await?;
//!
//! let ended = client::wait(&pool, job.id(), std::time::Duration::from_secs(60)).await?;
//! println!("{}: {:?}", ended.state, ended.report);
//! # Ok(())
//! # }
//! ```
//!
//! `jobs/examples/enqueue.rs` is a whole program. Repeating is safe where the kind is unique or an idempotency key is given:
//! the answer then names the job that is there. Moments are the database's, as for whoever enqueues by SQL. Waiting asks the
//! ledger and again: it needs no other right, but a thousand waiters are better off with the API.

use std::{marker::PhantomData, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use queue::{
    Job, JobId, State, TraceContext,
    outbox::{Cause, Enqueued},
};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::{
    context::Context,
    door::{self, EnqueueError, Request},
};

/// A job that is to be enqueued; await it.
#[must_use = "nothing is enqueued until it is awaited"]
#[derive(Debug)]
pub struct Enqueue<'c, J> {
    connection: &'c mut PgConnection,
    request: Request,
    kind: PhantomData<fn(&J)>,
}

/// Enqueues a job in the caller's transaction: it exists when that commits.
pub fn enqueue<'c, J: Job<Context = Context>>(connection: &'c mut PgConnection, job: &J) -> Enqueue<'c, J> {
    let request = Request {
        kind: J::KIND.to_owned(),
        // A payload that cannot be written as JSON becomes null, which the door refuses.
        payload: serde_json::to_value(job).unwrap_or(Value::Null),
        cause: Cause::Rust,
        due_at: None,
        deadline_at: None,
        idempotency_key: None,
        expires_at: None,
        trace: None,
    };
    Enqueue { connection, request, kind: PhantomData }
}

impl<J> Enqueue<'_, J> {
    /// At most one job ever with this key: 1 to 200 bytes.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.request.idempotency_key = Some(key.into());
        self
    }

    /// Not before this moment.
    pub fn due_at(mut self, moment: DateTime<Utc>) -> Self {
        self.request.due_at = Some(moment);
        self
    }

    /// Must be done by this moment; ops are told when that gets tight.
    pub fn deadline_at(mut self, moment: DateTime<Utc>) -> Self {
        self.request.deadline_at = Some(moment);
        self
    }

    /// Cancelled if no run has begun by this moment.
    pub fn expires_at(mut self, moment: DateTime<Utc>) -> Self {
        self.request.expires_at = Some(moment);
        self
    }

    /// Where in a trace it is enqueued.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.request.trace = Some(trace);
        self
    }
}

impl<'c, J> IntoFuture for Enqueue<'c, J> {
    type Output = Result<Enqueued, EnqueueError>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { connection, request, .. } = self;
        Box::pin(async move {
            let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut *connection).await;
            door::enqueue(connection, request, now.map_err(queue::outbox::EnqueueError::Database)?).await
        })
    }
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What sort of work.
    pub kind: String,
    /// Where it is now.
    pub state: State,
    /// Runs that failed.
    pub attempts: i32,
    /// When it may run next.
    pub due_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// What the run that finished it reports.
    pub report: Option<Value>,
    /// Why its last run failed, or it was cancelled.
    pub last_error: Option<String>,
}

/// Why a job was not seen, or not seen to end.
#[derive(Debug, Error)]
pub enum WaitError {
    /// The ledger has none with this id.
    #[error(
        "there is no job {0}: its transaction was not committed, or it ended so long ago that it is deleted"
    )]
    NotThere(JobId),
    /// It goes on without us.
    #[error("job {0} has not ended in time; it goes on, and can be waited for again")]
    InTime(JobId),
    /// The database failed.
    #[error("could not read the ledger")]
    Database(#[from] sqlx::Error),
}

/// What is known of a job; `None` when the ledger has none with this id.
///
/// # Errors
/// When the database fails.
pub async fn look_up(connection: &mut PgConnection, id: JobId) -> Result<Option<Seen>, sqlx::Error> {
    let row = sqlx::query!(
        "select kind, state, attempts, due_at, finished_at, report, last_error from jobs where id = $1",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Seen {
            kind: row.kind,
            state: row.state.parse().map_err(|error: String| sqlx::Error::Decode(error.into()))?,
            attempts: row.attempts,
            due_at: row.due_at,
            finished_at: row.finished_at,
            report: row.report,
            last_error: row.last_error,
        })
    })
    .transpose()
}

/// The shortest and the longest rest between two looks.
const RESTS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Waits until a job is done, dead or cancelled, for at most so long.
///
/// # Errors
/// When there is no such job, it has not ended in time, or the database fails. The job minds none of that.
pub async fn wait(pool: &PgPool, id: JobId, patience: Duration) -> Result<Seen, WaitError> {
    let looking = async {
        let [mut rest, longest] = RESTS;
        loop {
            let seen = look_up(&mut *pool.acquire().await?, id).await?.ok_or(WaitError::NotThere(id))?;
            if seen.finished_at.is_some() {
                return Ok(seen);
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(longest);
        }
    };
    tokio::time::timeout(patience, looking).await.unwrap_or(Err(WaitError::InTime(id)))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use runtime::testing::TestDatabase;
    use serde_json::json;

    use super::*;
    use crate::{
        kinds::{send_review_request::SendReviewRequest, sync_orders::SyncOrders},
        store::sellers::SellerId,
    };

    #[tokio::test]
    async fn a_job_is_enqueued_in_its_transaction_looked_up_and_waited_for() {
        let database = TestDatabase::new().await;
        let pool = &database.pool;
        let job = SyncOrders { seller: SellerId::new() };
        let mut transaction = pool.begin().await.expect("a transaction");
        let first = enqueue(&mut transaction, &job).idempotency_key("ticket-1").await.expect("it fits");
        assert!(matches!(first, Enqueued::New(_)));
        let not_yet = wait(pool, first.id(), Duration::from_secs(20)).await;
        assert!(matches!(not_yet, Err(WaitError::NotThere(_))), "{not_yet:?}");
        transaction.commit().await.expect("it commits");

        let mut connection = pool.acquire().await.expect("a connection");
        let again = enqueue(&mut connection, &job).idempotency_key("ticket-1").await.expect("it fits");
        assert_eq!(again, Enqueued::Exists(first.id()));
        let seen = look_up(&mut connection, first.id()).await.expect("it can be read").expect("it is there");
        assert_eq!((seen.kind.as_str(), seen.state, seen.finished_at), ("sync_orders", State::Ready, None));
        let early = wait(pool, first.id(), Duration::from_millis(60)).await;
        assert!(matches!(early, Err(WaitError::InTime(_))), "{early:?}");

        let waiting = wait(pool, first.id(), Duration::from_secs(20));
        let ending =
            sqlx::query("update jobs set state = 'done', finished_at = now(), report = '{\"pages\": 2}'")
                .execute(pool);
        let (ended, _) = tokio::join!(waiting, ending);
        let ended = ended.expect("it has ended");
        assert_eq!((ended.state, ended.report), (State::Done, Some(json!({"pages": 2}))));
    }

    #[tokio::test]
    async fn what_is_asked_for_is_in_the_row() {
        let database = TestDatabase::new().await;
        let mut connection = database.pool.acquire().await.expect("a connection");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let moment = DateTime::from_timestamp(4_000_000_000, 0).expect("a moment");
        let id = enqueue(&mut connection, &SyncOrders { seller: SellerId::new() })
            .due_at(moment)
            .deadline_at(moment + TimeDelta::hours(2))
            .expires_at(moment + TimeDelta::hours(1))
            .trace(trace.parse().expect("it is one"))
            .await
            .expect("it fits")
            .id();
        let row: (String, DateTime<Utc>, DateTime<Utc>, DateTime<Utc>, String) = sqlx::query_as(
            "select cause, due_at, expires_at, deadline_at, traceparent from jobs where id = $1",
        )
        .bind(id)
        .fetch_one(&mut *connection)
        .await
        .expect("it is there");
        let hours = |count| moment + TimeDelta::hours(count);
        assert_eq!(row, ("rust".to_owned(), moment, hours(1), hours(2), trace.to_owned()));
    }

    #[tokio::test]
    async fn what_a_type_allows_and_the_schema_does_not_is_refused() {
        let database = TestDatabase::new().await;
        let mut connection = database.pool.acquire().await.expect("a connection");
        let job = SendReviewRequest { seller: SellerId::new(), order: "Ann Canary".to_owned() };
        let refused = enqueue(&mut connection, &job).await.expect_err("that is no order");
        assert!(refused.to_string().ends_with("`order` must be a text as 123-1234567-1234567"), "{refused}");
    }
}
