//! The door for SQL by itself: the rights it needs, the ids it makes, and the table of kinds that it reads.

use std::collections::BTreeSet;

use jobs::{catalog::CATALOG, kinds::sync_orders::SyncOrders};
use queue::{
    Catalog, Group, Job, JobId, Kind, Outcome, Policy, Run,
    kinds::{self, KindsError, Written},
    outbox::Enqueued,
    schema::WORDS,
};
use runtime::testing::TestDatabase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Acquire, PgConnection};

use crate::{
    doors::{Asked, SELLER, open, row, run},
    shelves::{CountBoxes, SHELVES},
};

#[tokio::test]
async fn a_role_needs_nothing_but_to_execute_it_and_can_do_nothing_else() {
    let database = open(&CATALOG).await;
    // Roles are the whole server's: this one is never committed.
    let mut transaction = database.pool.begin().await.expect("a transaction");
    let role = format!("platform_{}", uuid::Uuid::new_v4().simple());
    for statement in [
        format!("create role {role} nologin"),
        format!("grant temporary on database {} to {role}", database.url.rsplit('/').next().expect("a name")),
        format!("set local role {role}"),
        // What the function reads is not what the caller calls so.
        "create temporary table kinds as select 1 as name".to_owned(),
        "create temporary table jobs as select 1 as id".to_owned(),
    ] {
        run(&mut transaction, &statement).await.expect("a superuser may");
    }
    let asked = Asked::of("sync_orders", json!({"seller": SELLER}));
    let mut step = transaction.begin().await.expect("a savepoint");
    let refused = asked.by_sql(&mut step).await.expect_err("it has no right yet");
    assert!(refused.contains("permission denied for function enqueue_job"), "{refused}");
    step.rollback().await.expect("it can be undone");
    for statement in [
        "reset role".to_owned(),
        format!("grant execute on function enqueue_job to {role}"),
        format!("set local role {role}"),
    ] {
        run(&mut transaction, &statement).await.expect("a superuser may");
    }
    let first = asked.by_sql(&mut transaction).await.expect("it may now");
    assert!(matches!(first, Enqueued::New(_)));
    assert_eq!(asked.by_sql(&mut transaction).await, Ok(Enqueued::Exists(first.id())));
    for denied in [
        "select id from public.jobs",
        "insert into public.outbox select gen_random_uuid()",
        "update public.kinds set queue = 'urgent'",
        "select public.checked_payload('{}', '{}')",
        "select public.new_job_id()",
    ] {
        let mut step = transaction.begin().await.expect("a savepoint");
        let refused = run(&mut step, denied).await.expect_err(denied).to_string();
        assert!(refused.contains("permission denied"), "{denied}: {refused}");
        step.rollback().await.expect("it can be undone");
    }
    run(&mut transaction, "reset role").await.expect("it was one");
    assert_eq!(row(&mut transaction, first.id()).await["state"], "ready");
}

/// Ids of one transaction sort by birth, also within a millisecond, and as those made in Rust do.
#[tokio::test]
async fn ids_sort_by_birth() {
    let database = TestDatabase::new().await;
    let before = JobId::new();
    let ids: Vec<JobId> = sqlx::query_scalar("select new_job_id() from generate_series(1, 2000)")
        .fetch_all(&database.pool)
        .await
        .expect("ids");
    let after = JobId::new();
    assert!(ids.iter().all(|id| id.0.get_version_num() == 7 && *id > before && *id < after));
    // A microsecond may have several; hardly any are born in another order.
    let late = ids.windows(2).filter(|pair| pair[0].0.as_u128() >> 64 > pair[1].0.as_u128() >> 64).count();
    assert_eq!(late, 0, "the clock goes forwards");
}

#[tokio::test]
async fn the_table_of_kinds_goes_forwards_only() {
    let database = TestDatabase::new().await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let names = async |connection: &mut PgConnection| -> Vec<String> {
        sqlx::query_scalar("select name from kinds order by retired, place")
            .fetch_all(connection)
            .await
            .expect("names")
    };
    assert_eq!(kinds::written_by(&mut connection).await.expect("it can be read"), None);
    let all = ["count_shelves", "count_boxes", "count_bags"].map(str::to_owned);
    let write = kinds::write(&mut connection, &SHELVES, 7).await.expect("it can be written");
    assert_eq!(write, Written::Now { changed: all.to_vec() });
    let again = kinds::write(&mut connection, &SHELVES, 7).await.expect("it can be written");
    assert_eq!(again, Written::Now { changed: Vec::new() });
    assert_eq!(names(&mut connection).await, all);

    let next: Catalog<()> = Catalog::new(vec![Kind::of::<CountBoxes>()]);
    let newer = kinds::write(&mut connection, &next, 8).await.expect("it can be written");
    assert_eq!(newer, Written::Now { changed: vec!["count_boxes".to_owned()] }, "it has another place");
    assert_eq!(names(&mut connection).await, ["count_boxes"]);
    let older = kinds::write(&mut connection, &SHELVES, 7).await.expect("it can be asked");
    assert_eq!(older, Written::ByANewer { release: 8 });
    assert_eq!(names(&mut connection).await, ["count_boxes"]);
    assert_eq!(kinds::written_by(&mut connection).await.expect("it can be read"), Some(8));
}

/// A kind that SQL could not hold payloads to.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountBags {
    /// How many.
    bags: u32,
}

impl Job for CountBags {
    const KIND: &'static str = "count_bags";
    const SUMMARY: &'static str = "Counts.";
    const POLICY: Policy = Policy::sync();
    const GROUP: Group = Group::Field("bags");
    type Context = ();
    type Report = ();

    async fn run(&self, (): &(), _: &Run) -> Outcome<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_kind_that_sql_could_not_check_is_refused_when_the_table_is_written() {
    let database = TestDatabase::new().await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let catalog = Catalog::new(vec![Kind::of::<CountBags>()]);
    let refused = kinds::write(&mut connection, &catalog, 7).await.expect_err("nobody checks numbers");
    assert!(
        matches!(&refused, KindsError::Schema { kind: "count_bags", why } if why.contains("checked by nobody")),
        "{refused}"
    );
}

/// What both doors check is exactly what schemas say: no word unchecked, none checked in vain. The catalog's kinds have no
/// field with a default yet; the next one that is added to an old kind has.
#[test]
fn the_words_that_are_checked_are_those_of_the_catalog() {
    let words = |schema: &Value| schema.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let (mut whole, mut field) = (BTreeSet::new(), BTreeSet::new());
    let shelves = SHELVES.iter().map(|kind| (kind.schema(), kind.payload_schema()));
    for (schema, read) in CATALOG.iter().map(|kind| (kind.schema(), kind.payload_schema())).chain(shelves) {
        assert_eq!(read.err(), None, "{schema}");
        whole.extend(words(schema));
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        field.extend(fields.flat_map(|(_, schema)| words(schema)));
    }
    let known = |n: usize| WORDS[n].iter().map(|word| (*word).to_owned()).collect();
    assert_eq!((whole, field), (known(0), known(1)));
    assert_eq!(CATALOG.get("sync_orders").map(|kind| kind.group), Some(SyncOrders::GROUP));
}
