//! Deciding about dead letters: each act has a name, a reason and a row in the audit log.

use serde_json::json;

use crate::amzigo::Amzigo;

#[tokio::test]
async fn a_requeued_letter_is_ready_again_and_the_act_is_recorded() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "connection reset", None).await;
    let id = dead.to_string();
    let listed = amzigo.run(&["dead", "list", "--json"]).json();
    assert_eq!(
        (&listed["dead"][0]["id"], &listed["dead"][0]["error"]),
        (&json!(id), &json!("connection reset"))
    );

    let requeue = ["dead", "requeue", &id, "--reason", "the network is back", "--as", "ann", "--json"];
    let done = amzigo.run(&requeue);
    assert_eq!((done.code, done.json()), (0, json!({ "changed": [id], "refused": [] })));
    assert_eq!(amzigo.states(&[dead]).await, ["ready"]);
    let shown = amzigo.run(&["dead", "show", &id, "--json"]).json();
    assert_eq!((&shown["attempts"], &shown["in_outbox"]), (&json!(0), &json!(true)));
    assert_eq!(shown["failures"][0]["error"], "connection reset", "its past stays");

    let again = amzigo.run(&requeue);
    assert_eq!((again.code, &again.json()["changed"]), (3, &json!([])));
    assert!(again.err.contains("is ready, not dead"), "{}", again.err);
    let recorded = ["ann", "dead.requeue", &id, "the network is back"].map(str::to_owned);
    assert_eq!(amzigo.audit().await, [recorded.into()], "a refusal is no act");
}

#[tokio::test]
async fn a_discarded_letter_is_cancelled_and_its_errors_stay() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "no such seller", None).await;
    let id = dead.to_string();
    let done = amzigo.run(&["dead", "discard", &id, "--reason", "a test seller", "--as", "ann"]);
    assert_eq!((done.code, done.out.as_str()), (0, "1 dead letter discarded.\n"), "{}", done.err);
    assert_eq!(amzigo.states(&[dead]).await, ["cancelled"]);
    assert_eq!(amzigo.run(&["job", &id, "--json"]).json()["last_error"], "no such seller");
}

#[tokio::test]
async fn nothing_is_changed_without_a_name_and_a_reason() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let id = dead.to_string();
    let nameless = amzigo.run(&["dead", "requeue", &id, "--reason", "because"]);
    assert!(nameless.error(2).contains("pass --as NAME, or set USER"), "{}", nameless.err);
    let pointless = amzigo.run(&["dead", "requeue", &id, "--as", "ann"]);
    assert!(pointless.error(2).contains("--reason"), "{}", pointless.err);
    let blank = amzigo.run(&["dead", "discard", &id, "--as", "ann", "--reason", " "]);
    assert!(blank.error(2).contains("needs a reason"), "{}", blank.err);
    assert_eq!(amzigo.states(&[dead]).await, ["dead"]);

    let mut by_user = amzigo.command(&["dead", "requeue", &id, "--reason", "because"]);
    assert!(by_user.env("USER", "ann").status().expect("the binary starts").success());
    assert_eq!(amzigo.audit().await[0].0, "ann");
}

#[tokio::test]
async fn a_bulk_change_takes_what_the_filters_let_through_and_nothing_else() {
    let amzigo = Amzigo::new().await;
    let reset = amzigo.dead_letter("sync_orders", "100% of it: connection reset", None).await;
    let other = amzigo.dead_letter("sync_orders", "1000 of it: connection reset", None).await;
    let kind = amzigo.dead_letter("plan_review_requests", "100% of it: connection reset", None).await;
    let bulk = ["dead", "requeue", "--kind", "sync_orders", "--error", "100% of"];
    let dry = amzigo.run(&[&bulk[..], &["--dry-run", "--json"]].concat());
    let (code, shown) = (dry.code, dry.json());
    assert_eq!((code, &shown["would_change"], &shown["some"][0]["id"]), (0, &json!(1), &json!(reset)));
    assert_eq!(shown["some"].as_array().map(Vec::len), Some(1));
    assert_eq!(amzigo.states(&[reset, other, kind]).await, ["dead"; 3]);
    assert_eq!(amzigo.audit().await, [], "a dry run is no act");

    let done = amzigo.run(&[&bulk[..], &["--reason", "back", "--as", "ann", "--json"]].concat());
    assert_eq!(done.json()["changed"], json!([reset]), "{}", done.err);
    assert_eq!(amzigo.states(&[reset, other, kind]).await, ["ready", "dead", "dead"]);
    let filter = r#"{"kind":"sync_orders","error_contains":"100% of"}"#;
    let recorded = ["ann", "dead.requeue", filter, "back"].map(str::to_owned);
    assert_eq!(amzigo.audit().await, [recorded.into()], "one act, with its filter");
}

#[tokio::test]
async fn each_filter_chooses_and_most_is_a_limit() {
    let amzigo = Amzigo::new().await;
    let mut letters = Vec::new();
    for (queue, group, died) in [
        ("sync", "a", "2026-11-23T10:00:00Z"),
        ("mail", "a", "2026-11-23T11:00:00Z"),
        ("sync", "b", "2026-11-23T12:00:00Z"),
    ] {
        let id = amzigo.dead_letter("sync_orders", "boom", None).await;
        sqlx::query(
            "update jobs set queue = $2, group_name = $3, finished_at = $4::text::timestamptz where id = $1",
        )
        .bind(id.0)
        .bind(queue)
        .bind(group)
        .bind(died)
        .execute(&amzigo.database.pool)
        .await
        .expect("the row fits");
        letters.push(id);
    }
    for (filter, chosen) in [
        (vec!["--queue", "mail"], vec![1]),
        (vec!["--seller", "a"], vec![1, 0]),
        (vec!["--seller", "a", "--queue", "sync"], vec![0]),
        (vec!["--died-after", "2026-11-23T11:00:00Z"], vec![2, 1]),
        (vec!["--died-before", "2026-11-23T11:00:00Z"], vec![0]),
        (vec!["--all"], vec![2, 1, 0]),
    ] {
        let dry = amzigo.run(&[&["dead", "discard", "--dry-run", "--json"], &filter[..]].concat()).json();
        let ids: Vec<_> =
            dry["some"].as_array().expect("a list").iter().map(|letter| &letter["id"]).collect();
        let expected: Vec<_> = chosen.iter().map(|n| json!(letters[*n])).collect();
        assert_eq!(ids, expected.iter().collect::<Vec<_>>(), "{filter:?}");
        assert_eq!(dry["would_change"], json!(expected.len()), "{filter:?}");
    }
    let most = ["dead", "discard", "--all", "--most", "2", "--reason", "old", "--as", "ann", "--json"];
    let done = amzigo.run(&most);
    assert_eq!(done.json()["changed"], json!(letters[..2]), "the first enqueued: {}", done.err);
    assert_eq!(amzigo.states(&letters).await, ["cancelled", "cancelled", "dead"]);
    assert_eq!(amzigo.audit().await[0].2, r#"{"most":2}"#);
}

#[tokio::test]
async fn ids_and_filters_do_not_mix_and_one_of_them_is_needed() {
    let amzigo = Amzigo::new().await;
    let id = amzigo.dead_letter("sync_orders", "boom", None).await.to_string();
    let reason = ["--reason", "x", "--as", "ann"];
    for wrong in [vec!["dead", "discard"], vec!["dead", "discard", &id, "--queue", "sync"]] {
        amzigo.run(&[&wrong[..], &reason].concat()).error(2);
    }
    let by_id =
        amzigo.run(&["dead", "discard", &id, "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10", "--dry-run", "--json"]);
    assert_eq!(by_id.json()["would_change"], 1, "only what is dead");
}

#[tokio::test]
async fn one_refusal_does_not_hold_up_the_others() {
    let amzigo = Amzigo::new().await;
    let replaced = amzigo.dead_letter("sync_orders", "boom", Some("same")).await;
    let twin = amzigo.dead_letter("sync_orders", "boom", Some("same")).await;
    let last = amzigo.dead_letter("sync_orders", "boom", None).await;
    let done = amzigo.run(&["dead", "requeue", "--all", "--reason", "back", "--as", "ann", "--json"]);
    assert_eq!(done.code, 3);
    assert_eq!(done.json()["changed"], json!([replaced, last]), "{}", done.err);
    assert_eq!(done.json()["refused"][0]["id"], json!(twin));
    assert!(done.err.contains("discard it, or wait"), "{}", done.err);
    assert_eq!(amzigo.states(&[replaced, twin, last]).await, ["ready", "dead", "ready"]);
}

#[tokio::test]
async fn more_than_a_slice_is_a_bulk_operation() {
    let amzigo = Amzigo::new().await;
    sqlx::query(
        "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, finished_at)
        select gen_random_uuid(), 'sync_orders', 'sync', 'somebody', '{}', 'dead', 'cli', now(), now(), now(), now()
        from generate_series(1, 501)",
    )
    .execute(&amzigo.database.pool)
    .await
    .expect("the rows fit");
    let discard = ["dead", "discard", "--all", "--reason", "a flood", "--as", "ann"];
    let refused = amzigo.run(&discard);
    assert!(refused.error(3).contains("`amzigo bulk plan discard`"), "{}", refused.err);
    assert_eq!(amzigo.audit().await, [], "a refusal is no act");
    let done = amzigo.run(&[&discard[..], &["--most", "500"]].concat());
    assert_eq!((done.code, done.out.as_str()), (0, "500 dead letters discarded.\n"), "{}", done.err);
    let rest = amzigo.run(&discard);
    assert_eq!((rest.code, rest.out.as_str()), (0, "1 dead letter discarded.\n"), "{}", rest.err);
}

#[tokio::test]
async fn an_error_cannot_steer_the_terminal() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "\u{1b}]0;owned\u{7}", None).await;
    for arguments in [vec!["dead", "list"], vec!["jobs"], vec!["job", &dead.to_string()]] {
        let shown = amzigo.run(&arguments);
        assert!(shown.out.contains("owned") && !shown.out.contains(['\u{1b}', '\u{7}']), "{:?}", shown.out);
    }
}
