//! Looking for jobs: every qualifier, by page and by command the same; where nothing helps, so many are looked at and no more.

use console::{auth::Role, ops::jobs::LOOK};
use queue::JobId;
use serde_json::json;

use crate::amzigo::{Amzigo, Serving};

/// Writes a job; columns that are not named have a usual value.
async fn job(amzigo: &Amzigo, columns: &str) -> JobId {
    let id = JobId::new();
    let mut set: Vec<(String, String)> = [
        ("kind", "'sync_orders'"),
        ("queue", "'sync'"),
        ("group_name", "'a'"),
        ("payload", "'{}'"),
        ("state", "'ready'"),
        ("cause", "'cli'"),
        ("created_at", "now()"),
        ("touched_at", "now()"),
        ("due_at", "now()"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for one in columns.split(';').filter(|one| !one.is_empty()) {
        let (name, value) = one.split_once('=').expect("a column and its value");
        set.retain(|(known, _)| known != name);
        set.push((name.to_owned(), value.to_owned()));
    }
    let (names, values): (Vec<_>, Vec<_>) = set.into_iter().unzip();
    let statement =
        format!("insert into jobs (id, {}) values ('{id}', {})", names.join(", "), values.join(", "));
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&amzigo.database.pool).await.expect("the row fits");
    id
}

#[tokio::test]
async fn each_qualifier_finds_what_it_names_by_page_and_by_command() {
    let amzigo = Amzigo::new().await;
    let parent = job(&amzigo, "").await;
    let batch = "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2b00";
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "insert into batches (id, created_at) values ('{batch}', now())"
    )))
    .execute(&amzigo.database.pool)
    .await
    .expect("the row fits");
    let ended = "finished_at=now();state='done'";
    let found = [
        ("kind:sync_listings", job(&amzigo, "kind='sync_listings'").await),
        ("state:delayed", job(&amzigo, "state='delayed'").await),
        ("queue:mail", job(&amzigo, "queue='mail'").await),
        ("seller:b", job(&amzigo, "group_name='b'").await),
        ("error:\"timed out\"", job(&amzigo, "last_error='it timed out'").await),
        (
            "state:dead error:50%",
            job(&amzigo, "state='dead';finished_at=now();last_error='at 50% of it'").await,
        ),
        ("until:2d", job(&amzigo, "created_at=now() - interval '3 days'").await),
        ("cause:schedule", job(&amzigo, "cause='schedule'").await),
        ("ended_since:1h", job(&amzigo, ended).await),
        ("ended_until:2d", job(&amzigo, "finished_at=now() - interval '3 days';state='done'").await),
    ];
    let of_batch = job(&amzigo, &format!("batch_id='{batch}'")).await;
    let follows = job(&amzigo, &format!("caused_by='{parent}'")).await;
    let console = Serving::start(&amzigo).await;
    // One that was enqueued long ago has an id of now: it is found by its time only where ids are looked at whatever their time.
    let (batch_line, caused_line) = (format!("batch:{batch}"), format!("caused_by:{parent}"));
    let more = [(batch_line.as_str(), of_batch), (caused_line.as_str(), follows)];
    for (line, expected) in found.into_iter().filter(|(line, _)| *line != "until:2d").chain(more) {
        let listed = amzigo.run(&["jobs", "--json", "--search", line]);
        let ids: Vec<_> = match listed.json()["jobs"].as_array() {
            Some(jobs) => jobs.iter().map(|job| job["id"].clone()).collect(),
            None => panic!("{line}: {}", listed.err),
        };
        // What has ended since an hour ago is the dead one too.
        let ids: Vec<_> =
            ids.into_iter().filter(|id| line != "ended_since:1h" || *id == json!(expected)).collect();
        assert_eq!(ids, [json!(expected)], "{line}");
        let query = url(line);
        let led = console.get(&format!("/jobs?q={query}")).await;
        assert_eq!(led.status, 303, "{line}");
        let to = led.headers["location"].to_str().expect("an address").to_owned();
        let page = console.get(&to).await;
        assert_eq!(page.status, 200, "{to}: {}", page.text);
        assert!(page.text.contains(&format!("/jobs/{expected}\"")), "{to}: {}", page.text);
    }
    let by_id = console.get(&format!("/jobs?q={parent}")).await;
    assert_eq!(by_id.headers["location"], format!("/jobs/{parent}").as_str());
    for (wrong, says) in [("colour%3Ared", "look by kind"), ("state%3Asleepy", "the states are ready")] {
        let mut page = console.get(&format!("/jobs?q={wrong}")).await;
        if page.status == 303 {
            page = console.get(page.headers["location"].to_str().expect("an address")).await;
        }
        assert_eq!(page.status, 400, "{wrong}");
        assert!(page.text.contains(says), "{}", page.text);
    }
}

fn url(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn pages_follow_each_other_and_only_so_many_jobs_are_looked_at() {
    let amzigo = Amzigo::new().await;
    let rare = job(&amzigo, "last_error='a needle'").await;
    sqlx::query(
        "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, finished_at)
        select ('ffffffff-' || substr(gen_random_uuid()::text, 10))::uuid, 'sync_orders', 'sync', 'hay', '{}', 'done', 'cli',
            now(), now(), now(), now()
        from generate_series(1, $1)",
    )
    .bind(LOOK + 10)
    .execute(&amzigo.database.pool)
    .await
    .expect("the rows fit");
    let first = amzigo.run(&["jobs", "--json", "--error", "a needle"]).json();
    assert_eq!((&first["jobs"], &first["looked_at"]), (&json!([]), &json!(LOOK)));
    let next = first["next"].as_str().expect("where to look further").to_owned();
    let second = amzigo.run(&["jobs", "--json", "--error", "a needle", "--before", &next]).json();
    assert_eq!(second["jobs"][0]["id"], json!(rare));
    assert_eq!((&second["next"], &second["looked_at"]), (&json!(null), &json!(null)));

    let console = Serving::start(&amzigo).await;
    let page = console.get("/jobs?error=a+needle").await.text;
    assert!(page.contains("None among the last 20000 jobs") && page.contains("Look further back"), "{page}");
    let all = console.get("/jobs").await.text;
    assert!(all.contains("Older") && all.contains("1000+"), "{all}");
}

#[tokio::test]
async fn a_job_tells_its_story_and_what_may_be_done_is_done() {
    let amzigo = Amzigo::new().await;
    let parent = job(&amzigo, "state='done';finished_at=now();report='{}'").await;
    let delayed = job(&amzigo, &format!("state='delayed';due_at=now() + interval '1 hour';waits_for='the next attempt';caused_by='{parent}'")).await;
    let child = job(&amzigo, &format!("kind='plan_review_requests';caused_by='{delayed}'")).await;
    sqlx::query("insert into failures (job_id, at, fence, decision, error, worker) values ($1, now(), 1, 'retry', 'Amazon is ill', $1)")
        .bind(delayed.0)
        .execute(&amzigo.database.pool)
        .await
        .expect("the row fits");
    let mut console = Serving::start(&amzigo).await;
    let at = format!("/jobs/{delayed}");
    let page = console.get(&at).await.text;
    for expected in [
        "What happened",
        "enqueued by cli",
        "run 1 failed, and counted as an attempt",
        "Amazon is ill",
        "for the next attempt, until",
        &format!("/jobs/{parent}\""),
        &format!("/jobs/{child}\""),
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("Run now"), "a viewer has no buttons");
    let run_now = format!("{at}/run-now");
    assert_eq!(console.post(&run_now, &[("reason", "Amazon is well")]).await.status, 403);
    console.sign_in(&amzigo, &[Role::Operator]).await;
    assert!(console.get(&at).await.text.contains("Run now"));
    assert_eq!(console.post(&run_now, &[("reason", "Amazon is well")]).await.status, 303);
    assert_eq!(amzigo.states(&[delayed]).await, ["ready"]);
    assert_eq!(console.post(&run_now, &[("reason", "Amazon is well")]).await.status, 409);
    assert!(console.get(&at).await.text.contains("jobs.run_now"));
    let cancel = format!("{at}/cancel");
    assert_eq!(console.post(&cancel, &[("reason", "not wanted")]).await.status, 303);
    assert_eq!(amzigo.states(&[delayed]).await, ["cancelled"]);
    assert_eq!(console.post(&cancel, &[("reason", "not wanted")]).await.status, 409);

    let other = job(&amzigo, "state='delayed';due_at=now() + interval '1 hour'").await.to_string();
    let command = ["jobs", "run-now", &other, "--reason", "now", "--as", "ann"];
    assert_eq!(amzigo.run(&command).code, 0);
    amzigo.run(&command).error(3);
    let in_outbox: bool =
        sqlx::query_scalar("select exists (select from outbox where job_id = $1::text::uuid)")
            .bind(&other)
            .fetch_one(&amzigo.database.pool)
            .await
            .expect("the outbox can be read");
    assert!(in_outbox, "Redis is told");
    let acts: Vec<_> =
        amzigo.audit().await.into_iter().map(|(_, action, target, _)| (action, target)).collect();
    let act = |action: &str, target: String| (action.to_owned(), target);
    assert_eq!(
        acts,
        [
            act("jobs.run_now", delayed.to_string()),
            act("jobs.cancel", delayed.to_string()),
            act("jobs.run_now", other)
        ]
    );
}
