//! The pages, health and metrics, asked over HTTP.

use console::auth::Role;

use crate::amzigo::{Amzigo, Serving, answer};

#[tokio::test]
async fn an_empty_system_says_what_to_do() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let overview = console.get("/").await;
    assert_eq!(overview.status, 200);
    for expected in
        ["No scheduler leads.", "Nothing runs.", "No job has ended yet.", "None. A job that ends in failure"]
    {
        assert!(overview.text.contains(expected), "{expected}: {}", overview.text);
    }
    assert!(console.get("/jobs").await.text.contains("amzigo enqueue --help"));
    assert!(console.get("/jobs?state=dead").await.text.contains("No dead letters"));
    assert!(console.get("/jobs?state=dead&kind=sync_orders").await.text.contains("No such jobs"));
}

#[tokio::test]
async fn hostile_text_is_shown_and_never_run() {
    let amzigo = Amzigo::new().await;
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let dead = amzigo.dead_letter("sync_orders", hostile, None).await;
    let console = Serving::start(&amzigo).await;
    let query = "/jobs?seller=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for path in ["/".to_owned(), format!("/jobs/{dead}"), "/jobs?state=dead".to_owned(), query.to_owned()] {
        let page = console.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img"), "{path}: {}", page.text);
        let policy = page.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert!(
            !page.text.contains(" style=")
                && !page.text.contains("http://")
                && !page.text.contains("https://")
        );
    }
    assert!(
        console.get(&format!("/jobs/{dead}")).await.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;")
    );
    assert!(console.get("/").await.text.contains("1 dead letter</a>"));
}

#[tokio::test]
async fn a_job_that_is_not_there_and_an_address_that_is_none_have_their_pages() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    for (path, status, says) in [
        ("/jobs/0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10", 404, "There is no job 0193cf5e"),
        ("/jobs/seven", 400, "`seven` is not an id"),
        ("/jobs?state=sleepy", 400, "the states are ready"),
        ("/nowhere", 404, "There is no such page."),
    ] {
        let page = console.get(path).await;
        assert_eq!(page.status, status, "{path}");
        assert!(page.text.contains(says), "{path}: {}", page.text);
        assert!(page.headers.contains_key("content-security-policy"), "{path}");
    }
    for file in ["/console.css", "/console.js", "/icon.svg"] {
        assert_eq!(console.get(file).await.status, 200, "{file}");
    }
}

#[tokio::test]
async fn a_name_that_is_made_to_point_here_is_not_answered() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    for path in ["/", "/metrics", "/readyz", "/console.js"] {
        assert_eq!(console.get_as(path, "evil.example").await.status, 421, "{path}");
        assert_eq!(console.get_as(path, "localhost").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn metrics_show_what_is_and_zero_where_nothing_is() {
    let amzigo = Amzigo::new().await;
    amzigo.seller();
    amzigo.forget_first_syncs().await;
    amzigo.dead_letter("sync_orders", "boom", None).await;
    amzigo.dead_letter("a_kind_of_old", "boom", None).await;
    let job = amzigo.run(&["enqueue", "sync_orders", "--seller", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a99"]);
    assert_eq!(job.code, 0, "{}", job.err);
    // One authorisation ends in 29 days, another one in 31.
    sqlx::raw_sql(
        "update sellers set connected_at = now() - interval '336 days';
         insert into sellers (id, selling_partner_id, region, marketplace_ids, refresh_token, refresh_token_key, connected_at)
         select gen_random_uuid(), 'A2LATER', region, marketplace_ids, refresh_token, refresh_token_key,
             now() - interval '334 days' from sellers",
    )
    .execute(&amzigo.database.pool)
    .await
    .expect("sellers can be changed");
    let console = Serving::start(&amzigo).await;
    let metrics = console.get("/metrics").await.text;
    for line in [
        "jobs{queue=\"sync\",state=\"dead\"} 2",
        "jobs{queue=\"sync\",state=\"ready\"} 1",
        "jobs{queue=\"urgent\",state=\"ready\"} 0",
        "outbox_depth 1",
        "authorisations_ending_soon 1",
        "dead_letters{kind=\"sync_orders\"} 1",
        "dead_letters{kind=\"a_kind_of_old\"} 1",
        "dead_letters{kind=\"send_review_request\"} 0",
        "oldest_ready_seconds{queue=\"mail\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert_eq!(console.get("/livez").await.status, 200);
    assert_eq!(console.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn an_old_schema_is_not_ready_and_says_so() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    sqlx::query("delete from _sqlx_migrations where version = 20261123100200")
        .execute(&amzigo.database.pool)
        .await
        .expect("the list can be changed");
    let ready = console.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("run `amzigo migrate`"), "{}", ready.text);
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let amzigo = Amzigo::new().await;
    let refused = amzigo.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(refused.error(3).contains("others could read what passes"), "{}", refused.err);
    let mut by_setting = amzigo.command(&["serve"]);
    let refused =
        answer(by_setting.env("AMZIGO_CONSOLE_LISTEN", "[::]:0").output().expect("the binary starts"));
    assert!(refused.error(3).contains("SSH tunnel"), "{}", refused.err);
}

#[tokio::test]
async fn a_dead_letter_is_requeued_by_who_may_with_a_reason() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let mut console = Serving::start(&amzigo).await;
    let (page, requeue) = (format!("/jobs/{dead}"), format!("/jobs/{dead}/requeue"));
    assert!(!console.get(&page).await.text.contains("Requeue"), "a viewer has no buttons");
    assert_eq!(console.post(&requeue, &[("reason", "Amazon is back")]).await.status, 403);
    console.sign_in(&amzigo, &[Role::Operator]).await;
    assert!(console.get(&page).await.text.contains("Requeue"));
    assert_eq!(console.post(&requeue, &[("reason", " ")]).await.status, 400);
    assert_eq!(amzigo.states(&[dead]).await, ["dead"]);
    let done = console.post(&requeue, &[("reason", "Amazon is back")]).await;
    assert_eq!(done.status, 303);
    assert_eq!(done.headers["location"], page.as_str());
    assert_eq!(amzigo.states(&[dead]).await, ["ready"]);
    let again = console.post(&requeue, &[("reason", "Amazon is back")]).await;
    assert_eq!(again.status, 409, "{}", again.text);
}
