//! Bulk operations: by page and command the same, carried out slice by slice, with a line in the audit log for each job. The
//! slices are called here as the leading scheduler calls them.

use console::auth::Role;
use queue::{
    JobId,
    bulk::{self, Slice, Stage},
};
use runtime::clock::{Clock, SystemClock};
use serde_json::json;

use crate::amzigo::{Amzigo, Serving};

/// Carries operations on until none has anything left.
async fn carry_out(amzigo: &Amzigo) -> Vec<Slice> {
    let mut slices = Vec::new();
    while let Some(slice) =
        bulk::slice(&amzigo.database.pool, SystemClock.now()).await.expect("Postgres answers")
    {
        slices.push(slice);
        assert!(slices.len() < 20, "it does not end: {slices:?}");
    }
    slices
}

async fn flood(amzigo: &Amzigo, letters: i32) {
    sqlx::query(
        "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, finished_at, last_error)
        select gen_random_uuid(), 'sync_orders', 'sync', 'seller-' || n % 7, '{\"seller\": \"0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\"}',
            'dead', 'cli', now(), now(), now(), now(), 'timed out after ' || n || ' ms'
        from generate_series(1, $1) as n",
    )
    .bind(letters)
    .execute(&amzigo.database.pool)
    .await
    .expect("the rows fit");
}

#[tokio::test]
async fn a_group_of_dead_letters_is_requeued_by_a_page() {
    let amzigo = Amzigo::new().await;
    let one = amzigo.dead_letter("sync_orders", "getOrders: timed out after 12 ms", None).await;
    let two = amzigo.dead_letter("sync_orders", "getOrders: timed out after 907 ms", None).await;
    let other = amzigo.dead_letter("sync_orders", "getOrders answered 503", None).await;
    let groups = amzigo.run(&["dead", "groups", "--json"]).json();
    let group = &groups["groups"][0];
    assert_eq!(
        (&group["letters"], &group["pattern"]),
        (&json!(2), &json!("getOrders: timed out after # ms"))
    );
    let key = group["key"].as_str().expect("a key");

    let mut console = Serving::start(&amzigo).await;
    let page = console.get("/dead").await.text;
    assert!(
        page.contains("getOrders: timed out after # ms") && page.contains("getOrders answered 503"),
        "{page}"
    );
    assert!(!page.contains("Requeue all"), "a viewer has no buttons");
    let new = format!("/bulk/new?change=requeue&pattern={key}");
    let start = [("change", "requeue"), ("pattern", key), ("reason", "Amazon is back")];
    assert_eq!(console.post("/bulk/start", &start).await.status, 403, "a viewer starts nothing");
    console.sign_in(&amzigo, &[Role::Operator]).await;
    assert!(console.get("/dead").await.text.contains("Requeue all"));
    let dry = console.get(&new).await.text;
    assert!(dry.contains("2 jobs") && dry.contains("searchOrders"), "{dry}");
    assert_eq!(amzigo.audit().await, [], "a dry run is no act");
    assert_eq!(console.post("/bulk/start", &start[..2]).await.status, 400, "not without a reason");

    let started = console.post("/bulk/start", &start).await;
    assert_eq!(started.status, 303, "{}", started.text);
    let at = started.headers["location"].to_str().expect("an address").to_owned();
    assert!(console.get(&at).await.text.contains("planned"));
    assert_eq!(amzigo.states(&[one, two, other]).await, ["dead"; 3], "a scheduler does it");
    let slices = carry_out(&amzigo).await;
    assert_eq!(slices.iter().map(|slice| slice.changed).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(amzigo.states(&[one, two, other]).await, ["ready", "ready", "dead"]);
    assert!(console.get(&at).await.text.contains("finished"));
    assert!(console.get("/bulk").await.text.contains("Amazon is back"));

    let id = at.trim_start_matches("/bulk/");
    let reason = format!("Amazon is back (bulk operation {id})");
    let acts: Vec<_> =
        amzigo.audit().await.into_iter().map(|(_, action, target, why)| (action, target, why)).collect();
    let row = |action: &str, target: String, why: &str| (action.to_owned(), target, why.to_owned());
    let mut expected = vec![row("bulk.start", id.to_owned(), "Amazon is back")];
    let mut letters = [one, two];
    letters.sort_unstable_by_key(|id| id.0);
    expected.extend(letters.iter().map(|letter| row("dead.requeue", letter.to_string(), &reason)));
    assert_eq!(acts, expected);
    let again = console.post("/bulk/start", &start).await;
    assert_eq!(again.status, 409, "nothing is left to do: {}", again.text);
    let stop = console.post(&format!("{at}/stop"), &[("reason", "late")]).await;
    assert_eq!(stop.status, 409, "it has ended: {}", stop.text);
}

#[tokio::test]
async fn a_factor_given_long_ago_starts_nothing() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let mut console = Serving::start(&amzigo).await;
    console.sign_in(&amzigo, &[Role::Operator]).await;
    sqlx::query("update sessions set stepped_up_at = now() - interval '11 minutes'")
        .execute(&amzigo.database.pool)
        .await
        .expect("sessions can be changed");
    let start = [("change", "discard"), ("reason", "old")];
    assert_eq!(console.post("/bulk/start", &start).await.status, 403);
    assert_eq!(amzigo.states(&[dead]).await, ["dead"]);
    assert!(carry_out(&amzigo).await.is_empty());
}

#[tokio::test]
async fn many_want_their_count_and_a_stop_ends_it_after_a_slice() {
    let amzigo = Amzigo::new().await;
    flood(&amzigo, 1_300).await;
    let filters = ["--kind", "sync_orders", "--error", "timed out"];
    let plan = amzigo.run(&[&["bulk", "plan", "requeue"], &filters[..], &["--json"]].concat()).json();
    assert_eq!(
        (&plan["jobs"], &plan["groups"], &plan["second_look"]),
        (&json!(1300), &json!(7), &json!(true))
    );
    assert!(plan["eta_seconds"].as_u64().is_some_and(|seconds| seconds > 0), "{plan}");
    assert!(plan["budgets"][0]["budget"].as_str().is_some_and(|name| name.contains("rders")), "{plan}");

    let start =
        [&["bulk", "start", "discard"], &filters[..], &["--reason", "a flood", "--as", "ann", "--json"]]
            .concat();
    let refused = amzigo.run(&start);
    assert!(refused.error(3).contains("the count 1300"), "{}", refused.err);
    let wrong = amzigo.run(&[&start[..], &["--count", "13"]].concat());
    wrong.error(3);
    let started = amzigo.run(&[&start[..], &["--count", "1300"]].concat()).json();
    let id = started["id"].as_str().expect("an id").to_owned();
    assert_eq!((&started["stage"], &started["matched"]), (&json!("planned"), &json!(1300)));

    let first = bulk::slice(&amzigo.database.pool, SystemClock.now())
        .await
        .expect("Postgres answers")
        .expect("one is open");
    assert_eq!((first.changed, first.stage), (500, Stage::Running));
    let stop = ["bulk", "stop", &id, "--reason", "the wrong ones", "--as", "bob", "--json"];
    assert_eq!(amzigo.run(&stop).json()["new"], true);
    assert_eq!(amzigo.run(&stop).json()["new"], false, "twice is once");
    let last = carry_out(&amzigo).await;
    assert_eq!(
        last.iter().map(|slice| (slice.changed, slice.stage)).collect::<Vec<_>>(),
        [(0, Stage::Stopped)]
    );
    let shown = amzigo.run(&["bulk", "show", &id, "--json"]).json();
    assert_eq!((&shown["stage"], &shown["changed"]), (&json!("stopped"), &json!(500)));
    let listed = amzigo.run(&["bulk", "list", "--json"]).json();
    assert_eq!(listed["operations"][0]["id"], json!(id));
    amzigo.run(&stop).error(3);
    let acts = amzigo.audit().await;
    let count = |action: &str| acts.iter().filter(|(_, done, ..)| done == action).count();
    assert_eq!((count("bulk.start"), count("bulk.stop"), count("dead.discard")), (1, 1, 500));
}

#[tokio::test]
async fn what_is_refused_is_named_and_later_deaths_are_left_alone() {
    let amzigo = Amzigo::new().await;
    let replaced = amzigo.dead_letter("sync_orders", "boom", Some("same")).await;
    let twin = amzigo.dead_letter("sync_orders", "boom", Some("same")).await;
    let started = amzigo
        .run(&["bulk", "start", "requeue", "--all", "--reason", "back", "--as", "ann", "--json"])
        .json();
    let later = amzigo.dead_letter("sync_orders", "boom", None).await;
    sqlx::query("update jobs set finished_at = now() + interval '1 second' where id = $1")
        .bind(later.0)
        .execute(&amzigo.database.pool)
        .await
        .expect("the row fits");
    carry_out(&amzigo).await;
    let mut pair = [replaced, twin];
    pair.sort_unstable_by_key(|id| id.0);
    assert_eq!(amzigo.states(&pair).await, ["ready", "dead"]);
    assert_eq!(amzigo.states(&[later]).await, ["dead"]);
    let id = started["id"].as_str().expect("an id");
    let shown = amzigo.run(&["bulk", "show", id, "--json"]).json();
    assert_eq!(
        (&shown["changed"], &shown["refused"], &shown["stage"]),
        (&json!(1), &json!(1), &json!("finished"))
    );
    assert_eq!(shown["refusals"][0]["id"], json!(pair[1]));
}

#[tokio::test]
async fn unfinished_jobs_are_cancelled_and_others_are_not() {
    let amzigo = Amzigo::new().await;
    let enqueue = |seller: &str| {
        let answer = amzigo.run(&["enqueue", "sync_orders", "--seller", seller, "--json"]);
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        id.parse::<JobId>().expect("an id")
    };
    let one = enqueue("0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10");
    let other = enqueue("0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a99");
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let start = ["bulk", "start", "cancel", "--seller", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10"];
    let started = amzigo.run(&[&start[..], &["--reason", "by mistake", "--as", "ann"]].concat());
    assert_eq!(started.code, 0, "{}", started.err);
    carry_out(&amzigo).await;
    assert_eq!(amzigo.states(&[one, other, dead]).await, ["cancelled", "ready", "dead"]);
}

#[tokio::test]
async fn chosen_jobs_are_changed_at_once() {
    let amzigo = Amzigo::new().await;
    let one = amzigo.dead_letter("sync_orders", "boom", None).await;
    let two = amzigo.dead_letter("sync_orders", "boom", None).await;
    let (first, second) = (one.to_string(), two.to_string());
    let mut console = Serving::start(&amzigo).await;
    let form = [
        ("id", first.as_str()),
        ("id", second.as_str()),
        ("change", "discard"),
        ("reason", "test sellers"),
        ("back", "/jobs?state=dead"),
    ];
    assert_eq!(console.post("/jobs/change", &form).await.status, 403, "a viewer changes nothing");
    console.sign_in(&amzigo, &[Role::Operator]).await;
    assert!(console.get("/jobs?state=dead").await.text.contains("type=\"checkbox\""));
    let done = console.post("/jobs/change", &form).await;
    assert_eq!((done.status, done.headers["location"].to_str().ok()), (303, Some("/jobs?state=dead")));
    assert_eq!(amzigo.states(&[one, two]).await, ["cancelled", "cancelled"]);
    assert_eq!(amzigo.audit().await.len(), 2, "an act for each");
    let elsewhere =
        [("id", first.as_str()), ("change", "requeue"), ("reason", "x"), ("back", "https://evil.example")];
    assert_eq!(console.post("/jobs/change", &elsewhere).await.status, 409, "it is not dead any more");
    assert_eq!(console.post("/jobs/change", &[("change", "requeue"), ("reason", "x")]).await.status, 400);
}
