//! The door for SQL and the door for Rust, side by side: the same rows, the same answers, the same refusals.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    catalog::CATALOG,
    door::{self, Request},
};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use queue::{
    Catalog, JobId, TraceContext, kinds,
    outbox::{Cause, Enqueued},
};
use runtime::{postgres::newest_migration, testing::TestDatabase};
use serde_json::{Value, json};
use sqlx::{Acquire, PgConnection, PgPool};

use crate::{payloads::payloads, shelves::SHELVES};

pub(super) const SELLER: &str = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What somebody asks for, of either door.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    kind: &'static str,
    payload: Value,
    key: Option<String>,
    due_in: Option<TimeDelta>,
    deadline_in: Option<TimeDelta>,
    expires_in: Option<TimeDelta>,
    traceparent: Option<String>,
}

impl Asked {
    pub(super) fn of(kind: &'static str, payload: Value) -> Self {
        Self {
            kind,
            payload,
            key: None,
            due_in: None,
            deadline_in: None,
            expires_in: None,
            traceparent: None,
        }
    }

    /// Through the catalog, as other doors in Rust do.
    async fn by_rust<C: Send + Sync + 'static>(
        &self,
        connection: &mut PgConnection,
        catalog: &Catalog<C>,
    ) -> Answer {
        let now = now(connection).await;
        let request = Request {
            kind: self.kind.to_owned(),
            payload: self.payload.clone(),
            cause: Cause::Cli,
            due_at: self.due_in.map(|by| now + by),
            deadline_at: self.deadline_in.map(|by| now + by),
            idempotency_key: self.key.clone(),
            expires_at: self.expires_in.map(|by| now + by),
            trace: self.traceparent.as_deref().and_then(TraceContext::from_outside),
        };
        door::enqueue_of(catalog, connection, request, now).await.map_err(|error| error.to_string())
    }

    pub(super) async fn by_sql(&self, connection: &mut PgConnection) -> Answer {
        let now = now(connection).await;
        let answered = sqlx::query_as(
            "select id, created from enqueue_job($1, $2, idempotency_key => $3, due_at => $4, deadline_at => $5,
                 expires_at => $6, traceparent => $7)",
        )
        .bind(self.kind)
        .bind(&self.payload)
        .bind(&self.key)
        .bind(self.due_in.map(|by| now + by))
        .bind(self.deadline_in.map(|by| now + by))
        .bind(self.expires_in.map(|by| now + by))
        .bind(&self.traceparent)
        .fetch_one(connection)
        .await;
        match answered {
            Ok((id, true)) => Ok(Enqueued::New(id)),
            Ok((id, false)) => Ok(Enqueued::Exists(id)),
            Err(error) => Err(error.as_database_error().expect("the server says why").message().to_owned()),
        }
    }
}

/// What the door says, or why it refuses.
type Answer = Result<Enqueued, String>;

async fn now(connection: &mut PgConnection) -> DateTime<Utc> {
    sqlx::query_scalar("select now()").fetch_one(connection).await.expect("it has a clock")
}

/// All that is stored of a job, but its id and its door.
pub(super) async fn row(connection: &mut PgConnection, id: JobId) -> Value {
    sqlx::query_scalar(
        "select to_jsonb(jobs) - 'id' - 'cause' || jsonb_build_object('payload', payload::text,
             'relayed', exists (select from outbox where job_id = id))
         from public.jobs as jobs where id = $1",
    )
    .bind(id)
    .fetch_one(connection)
    .await
    .expect("it is there")
}

pub(super) async fn run(connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(connection).await.map(|_| ())
}

async fn cause(connection: &mut PgConnection, id: JobId) -> String {
    sqlx::query_scalar("select cause from jobs where id = $1")
        .bind(id)
        .fetch_one(connection)
        .await
        .expect("it is there")
}

pub(super) async fn open<C: Send + Sync + 'static>(catalog: &Catalog<C>) -> TestDatabase {
    let database = TestDatabase::new().await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    kinds::write(&mut connection, catalog, newest_migration()).await.expect("SQL can know these kinds");
    database
}

/// Asks both doors the same and fails when they differ. Returns what both say; nothing stays.
async fn same<C: Send + Sync + 'static>(
    pool: &PgPool,
    catalog: &Catalog<C>,
    asked: &Asked,
) -> Result<Value, String> {
    // One transaction: the clock stands still.
    let mut transaction = pool.begin().await.expect("a transaction");
    let mut seen = Vec::new();
    for by_sql in [false, true] {
        let mut step = transaction.begin().await.expect("a savepoint");
        let answer =
            if by_sql { asked.by_sql(&mut step).await } else { asked.by_rust(&mut step, catalog).await };
        seen.push(match answer {
            Ok(answer) => {
                assert!(matches!(answer, Enqueued::New(_)), "{asked:?}");
                Ok(row(&mut step, answer.id()).await)
            }
            Err(refused) => Err(refused),
        });
        step.rollback().await.expect("it can be undone");
    }
    assert_eq!(seen[0], seen[1], "{asked:?}");
    seen.remove(0)
}

fn wishes() -> impl Strategy<Value = [Option<TimeDelta>; 3]> {
    let moments = [
        None,
        Some(TimeDelta::seconds(-90)),
        Some(TimeDelta::zero()),
        Some(TimeDelta::microseconds(1_234_567_891)),
    ];
    let later = [None, Some(TimeDelta::hours(5))];
    (select(moments.to_vec()), select(later.to_vec()), select(moments.to_vec())).prop_map(<[_; 3]>::from)
}

fn traces() -> impl Strategy<Value = Option<String>> {
    let odd = [
        TRACE.to_owned(),
        TRACE.replacen("00", "cc", 1) + "-and-more",
        TRACE.replacen("00", "ff", 1),
        TRACE.replace("-01", "-fe"),
        format!(" {TRACE}\n"),
        format!("{TRACE}-x"),
        TRACE.to_uppercase(),
        TRACE.replace("00f067aa0ba902b7", "0000000000000000"),
        TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
        TRACE[..54].to_owned(),
        "ä".to_owned(),
        String::new(),
    ];
    proptest::option::of(select(odd.to_vec()))
}

/// Asks both doors for many things. Returns how many were let in.
async fn compare<C: Send + Sync + 'static>(catalog: &'static Catalog<C>, cases: u32) -> u32 {
    let database = open(catalog).await;
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut let_in = 0;
    for case in 0..cases {
        let strategy = (payloads(catalog), wishes(), traces(), any::<bool>());
        let ((kind, payload), [due_in, deadline_in, expires_in], traceparent, keyed) =
            strategy.new_tree(&mut runner).expect("it can be made").current();
        // Neither can be sent to Postgres as JSON at all.
        if payload.to_string().contains("\\u0000") {
            continue;
        }
        let key = keyed.then(|| format!("key {case}"));
        let asked = Asked { kind, payload, key, due_in, deadline_in, expires_in, traceparent };
        let_in += u32::from(same(&database.pool, catalog, &asked).await.is_ok());
    }
    let_in
}

#[tokio::test]
async fn the_whole_catalog_gets_the_same_rows_from_both() {
    let let_in = compare(&CATALOG, 600).await;
    assert!((150..600).contains(&let_in), "{let_in} of 600 fit");
}

#[tokio::test]
async fn what_no_kind_of_the_catalog_asks_for_yet_is_the_same_too() {
    let let_in = compare(&SHELVES, 400).await;
    assert!((80..400).contains(&let_in), "{let_in} of 400 fit");
}

#[tokio::test]
async fn every_kind_can_be_enqueued_by_sql() {
    let database = open(&CATALOG).await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    for kind in CATALOG.iter() {
        let fields = kind.schema().get("properties").and_then(Value::as_object);
        let example: serde_json::Map<_, _> = fields
            .into_iter()
            .flatten()
            .map(|(name, field)| (name.clone(), field["examples"][0].clone()))
            .collect();
        let asked = Asked::of(kind.name, Value::Object(example));
        let stored = same(&database.pool, &CATALOG, &asked).await.expect("an example fits");
        assert_eq!(stored["kind"], kind.name);
        let id = asked.by_sql(&mut connection).await.expect("an example fits").id();
        assert_eq!(cause(&mut connection, id).await, "sql");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_same_words_without_what_was_found() {
    let database = open(&CATALOG).await;
    let must_be = format!("must be an id as {SELLER}");
    for (kind, payload, why) in [
        ("sync_orders", json!({}), format!("`seller` is missing; it {must_be}")),
        ("sync_orders", json!({"seller": "Ann Canary"}), format!("`seller` {must_be}")),
        (
            "sync_orders",
            json!({"seller": SELLER, "Ann Canary": 1}),
            "there is no field (hidden); the fields are `seller`".to_owned(),
        ),
        (
            "sync_orders",
            json!({"selle": SELLER}),
            format!("there is no field `selle`; the fields are `seller`; `seller` is missing; it {must_be}"),
        ),
        ("watch_authorisations", json!({"a": 1}), "there is no field `a`; it has none".to_owned()),
        ("watch_authorisations", json!(["Ann Canary"]), "it must be an object without fields".to_owned()),
        (
            "disconnect_seller",
            json!({"seller": SELLER, "connected_at": "2023-02-29T00:00:00Z"}),
            "`connected_at` must be a moment as 2026-11-24T09:00:00Z, or left out".to_owned(),
        ),
        (
            "send_review_request",
            json!({"seller": SELLER, "order": "Ann Canary"}),
            "`order` must be a text as 123-1234567-1234567".to_owned(),
        ),
    ] {
        let refused =
            same(&database.pool, &CATALOG, &Asked::of(kind, payload)).await.expect_err("it does not fit");
        assert_eq!(refused, format!("the payload does not fit `{kind}`: {why}"));
    }
}

#[tokio::test]
async fn kinds_that_are_not_run_are_refused_by_both() {
    let database = open(&SHELVES).await;
    let ask = async |kind| {
        same(&database.pool, &SHELVES, &Asked::of(kind, json!({}))).await.expect_err("no such kind")
    };
    assert_eq!(ask("count").await, "there is no kind `count`; the kinds are count_shelves, count_boxes");
    assert_eq!(
        ask("count_bags").await,
        "the kind `count_bags` was retired: its jobs are no longer run; the kinds are count_shelves, count_boxes"
    );
    // The name that was meant is told by Rust alone.
    let mut connection = database.pool.acquire().await.expect("a connection");
    let refused = Asked::of("count_boxs", json!({})).by_sql(&mut connection).await.expect_err("no such kind");
    assert_eq!(refused, "there is no kind `count_boxs`; the kinds are count_shelves, count_boxes");
}

#[tokio::test]
async fn what_is_not_of_the_payload_is_checked_by_sql_too() {
    let database = open(&CATALOG).await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let good = Asked::of("sync_orders", json!({"seller": SELLER}));
    for (asked, why) in [
        (Asked { key: Some(String::new()), ..good.clone() }, "an idempotency key has 1 to 200 bytes, not 0;"),
        (
            Asked { key: Some("ä".repeat(101)), ..good.clone() },
            "an idempotency key has 1 to 200 bytes, not 202;",
        ),
        (
            Asked { deadline_in: Some(TimeDelta::zero()), ..good.clone() },
            "UTC has passed already; name a later one",
        ),
        (
            Asked { payload: json!({"seller": "x".repeat(70_000)}), ..good.clone() },
            "the payload of `sync_orders` has 70014 bytes, more than the 65536 allowed; store the data in a table",
        ),
    ] {
        let refused = asked.by_sql(&mut connection).await.expect_err(why);
        assert!(refused.contains(why), "{refused}");
    }
    for moment in ["infinity", "-infinity", "20000-01-01"] {
        let refused = sqlx::query("select enqueue_job('sync_orders', $1, due_at => $2::text::timestamptz)")
            .bind(&good.payload)
            .bind(moment)
            .execute(&mut *connection)
            .await
            .expect_err("nobody could read that");
        assert!(refused.to_string().contains("`due_at` must be a moment"), "{refused}");
    }
    let null = sqlx::query("select enqueue_job('sync_orders', null)").execute(&mut *connection).await;
    assert!(
        null.expect_err("no payload").to_string().contains("it must be an object with the fields `seller`")
    );
    let jobs: i64 =
        sqlx::query_scalar("select count(*) from jobs").fetch_one(&mut *connection).await.expect("a count");
    assert_eq!(jobs, 0);
}

#[tokio::test]
async fn programs_learn_from_an_error_which_field_and_that_asking_again_is_no_use() {
    let database = open(&CATALOG).await;
    for (statement, code, column) in [
        ("select enqueue_job('sync_orders', '{}')", "22023", "payload.seller"),
        ("select enqueue_job('sync_orders', '[]')", "22023", "payload"),
        ("select enqueue_job('sync_order', '{}')", "42704", "kind"),
        ("select enqueue_job('sync_orders', '{}', deadline_at => now())", "22023", "deadline_at"),
    ] {
        let error = sqlx::query(statement).execute(&database.pool).await.expect_err(statement);
        let error = error.as_database_error().expect("the server says why");
        let postgres = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
        assert_eq!((postgres.code(), postgres.column()), (code, Some(column)), "{statement}");
    }
}

/// The keys are the same, so that whoever comes second through the other door is told of the first.
#[tokio::test]
async fn one_door_knows_what_came_through_the_other() {
    let database = open(&SHELVES).await;
    let shelves = json!({"seller": "ä \"1\"\n", "since": "2026-01-01T01:00:00.5+01:00"});
    let keyed = Asked { key: Some("one".to_owned()), ..Asked::of("count_boxes", json!({})) };
    for asked in [Asked::of("count_shelves", shelves), Asked::of("count_boxes", json!({})), keyed] {
        for sql_first in [true, false] {
            let mut transaction = database.pool.begin().await.expect("a transaction");
            let later = Asked { due_in: Some(TimeDelta::hours(1)), ..asked.clone() };
            let sooner = Asked { due_in: Some(TimeDelta::minutes(10)), ..asked.clone() };
            let mut answers = Vec::new();
            for (n, wish) in [&later, &later, &sooner, &asked].into_iter().enumerate() {
                let by_sql = (n % 2 == 0) == sql_first;
                answers.push(if by_sql {
                    wish.by_sql(&mut transaction).await.expect("it fits")
                } else {
                    wish.by_rust(&mut transaction, &SHELVES).await.expect("it fits")
                });
                // What asks for no earlier moment changes nothing; what does goes through the outbox again.
                let stored = row(&mut transaction, answers[0].id()).await;
                let state = if n == 3 { "ready" } else { "delayed" };
                assert_eq!(
                    (&stored["state"], &stored["relayed"]),
                    (&json!(state), &json!(n != 1)),
                    "step {n} of {asked:?}, SQL first: {sql_first}"
                );
                run(&mut transaction, "delete from outbox").await.expect("it can be emptied");
            }
            assert!(matches!(answers[0], Enqueued::New(_)));
            let first = answers[0].id();
            assert_eq!(answers[1..], [Enqueued::Exists(first); 3], "{asked:?}");
        }
    }
}

/// Until done: of a job that has ended, another one may be born.
#[tokio::test]
async fn a_key_is_free_when_its_job_has_ended() {
    let database = open(&CATALOG).await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let asked = Asked::of("backfill_orders", json!({"seller": SELLER}));
    let first = asked.by_sql(&mut connection).await.expect("it fits");
    assert_eq!(asked.by_sql(&mut connection).await, Ok(Enqueued::Exists(first.id())));
    sqlx::query("update jobs set state = 'done', finished_at = now()")
        .execute(&mut *connection)
        .await
        .expect("it has ended");
    let second = asked.by_sql(&mut connection).await.expect("it fits");
    assert!(matches!(second, Enqueued::New(id) if id > first.id()), "{second:?}");
}

/// Each asks in a transaction that overlaps with the others': one job is born, and all are told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_ask_at_once_through_both_doors_one_is_born() {
    let database = open(&CATALOG).await;
    for round in 0..10 {
        let asked = Asked {
            key: (round % 2 == 0).then(|| format!("round {round}")),
            ..Asked::of("backfill_orders", json!({"seller": uuid::Uuid::from_u128(round)}))
        };
        let ask = async |by_sql| {
            let mut transaction = database.pool.begin().await.expect("a transaction");
            let answer = if by_sql {
                asked.by_sql(&mut transaction).await
            } else {
                asked.by_rust(&mut transaction, &CATALOG).await
            };
            tokio::task::yield_now().await;
            transaction.commit().await.expect("it commits");
            answer.expect("it fits")
        };
        let answers = futures::future::join_all((0..8).map(|n| ask(n % 2 == 0))).await;
        let born: Vec<_> = answers.iter().filter(|answer| matches!(answer, Enqueued::New(_))).collect();
        assert_eq!(born.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.id() == born[0].id()), "{answers:?}");
    }
}

#[tokio::test]
async fn no_job_without_the_transaction_of_its_cause() {
    let database = open(&CATALOG).await;
    let asked = Asked::of("sync_orders", json!({"seller": SELLER}));
    let mut transaction = database.pool.begin().await.expect("a transaction");
    asked.by_sql(&mut transaction).await.expect("it fits");
    transaction.rollback().await.expect("it can be undone");
    let left: i64 = sqlx::query_scalar("select (select count(*) from jobs) + (select count(*) from outbox)")
        .fetch_one(&database.pool)
        .await
        .expect("a count");
    assert_eq!(left, 0);
}
