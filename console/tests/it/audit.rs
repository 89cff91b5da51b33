//! The audit log only grows, and whoever gets past the database's rules is found out.

use std::io::Write;

use console::auth::Role;
use queue::JobId;
use serde_json::{Value, json};

use crate::amzigo::{Amzigo, Serving, bare};

impl Amzigo {
    /// Discards so many dead letters, each in a command of its own; they are what is in the log.
    async fn acts(&self, count: usize) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for n in 0..count {
            let dead = self.dead_letter("sync_orders", "boom", None).await;
            let reason = format!("reason {n}");
            let id = dead.to_string();
            let done = self.run(&["dead", "discard", &id, "--reason", &reason, "--as", "ann", "--json"]);
            assert_eq!(done.code, 0, "{}", done.err);
            jobs.push(dead);
        }
        jobs
    }

    /// As somebody who owns the server and bends its rules.
    async fn behind_its_back(&self, statement: &str) {
        let mut connection = self.database.pool.acquire().await.expect("Postgres answers");
        let bent =
            format!("set session_replication_role = replica; {statement}; reset session_replication_role");
        sqlx::raw_sql(sqlx::AssertSqlSafe(bent)).execute(&mut *connection).await.expect("rules are bent");
    }

    /// What `amzigo audit verify` finds, and that its exit code says the same.
    fn findings(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["audit", "verify", "--json"];
        all.extend_from_slice(arguments);
        verdict(&self.run(&all))
    }
}

fn verdict(answer: &crate::amzigo::Answer) -> Value {
    let verdict = answer.json();
    assert_eq!(answer.code == 0, verdict["intact"] == json!(true), "{} {}", answer.out, answer.err);
    assert!(answer.code <= 1, "{}", answer.err);
    verdict["findings"].clone()
}

#[tokio::test]
async fn the_log_refuses_to_change() {
    let amzigo = Amzigo::new().await;
    amzigo.acts(1).await;
    for table in ["audit_log", "audit_chain"] {
        for statement in [
            format!("delete from {table}"),
            format!("update {table} set {} = default", if table == "audit_log" { "via" } else { "hash" }),
            format!("truncate {table} cascade"),
        ] {
            let refused =
                sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&amzigo.database.pool).await;
            let error = refused.expect_err(&statement).to_string();
            assert!(error.contains("only grows"), "{statement}: {error}");
        }
    }
    assert_eq!(amzigo.findings(&[]), json!([]));
}

#[tokio::test]
async fn what_was_changed_or_taken_out_behind_its_back_is_named() {
    let amzigo = Amzigo::new().await;
    amzigo.acts(6).await;
    assert_eq!(amzigo.findings(&[]), json!([]));
    let head = amzigo.run(&["audit", "verify", "--json"]).json()["head"].clone();
    assert_eq!(head["position"], 6);
    let hash = head["hash"].as_str().expect("a hash").to_owned();

    amzigo.behind_its_back("update audit_log set reason = 'another' where reason = 'reason 1'").await;
    assert_eq!(amzigo.findings(&[]), json!([{ "wrong": "changed", "position": 2, "id": 2 }]));
    amzigo.behind_its_back("update audit_log set reason = 'reason 1' where reason = 'another'").await;
    assert_eq!(amzigo.findings(&["--head", &hash]), json!([]), "it is as it was");

    // Taken out of the log; then also out of the chain.
    amzigo.behind_its_back("delete from audit_log where id = 3").await;
    let missing = json!([{ "wrong": "missing", "position": 3, "until": 3 }]);
    assert_eq!(amzigo.findings(&[]), missing);
    amzigo.behind_its_back("delete from audit_chain where audit_id = 3").await;
    assert_eq!(amzigo.findings(&[]), missing);
    let said = amzigo.run(&["audit", "verify"]);
    assert!(said.out.contains("entry 3 is missing"), "{}", said.out);
    assert!(said.err.contains("not as it was written"), "{}", said.err);

    // An act that nobody chained, and an end that was cut off.
    amzigo
        .behind_its_back(
            "insert into audit_log (at, actor, action, target, reason) values (now(), 'eve', 'x', 'y', 'z')",
        )
        .await;
    amzigo
        .behind_its_back(
            "delete from audit_chain where position > 4; delete from audit_log where id in (5, 6)",
        )
        .await;
    assert_eq!(
        amzigo.findings(&["--head", &hash]),
        json!([
            { "wrong": "missing", "position": 3, "until": 3 },
            { "wrong": "unchained", "id": 7 },
            { "wrong": "head_not_found", "head": hash },
        ])
    );
}

#[tokio::test]
async fn an_export_is_checked_without_a_database() {
    let amzigo = Amzigo::new().await;
    amzigo.acts(4).await;
    let export = amzigo.run(&["audit", "export"]);
    assert_eq!(export.code, 0, "{}", export.err);
    let lines: Vec<_> = export.out.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4);
    let head: Value = serde_json::from_str(&lines[3]).expect("a line is JSON");
    let head = head["hash"].as_str().expect("a hash").to_owned();
    let check = |lines: &[String], arguments: &[&str]| {
        let mut all = vec!["audit", "verify", "-", "--json"];
        all.extend_from_slice(arguments);
        let mut command = bare(&all);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
        verdict(&crate::amzigo::answer(child.wait_with_output().expect("it ends")))
    };
    assert_eq!(check(&lines, &["--head", &head]), json!([]));

    let mut changed = lines.clone();
    changed[1] = changed[1].replace("reason 1", "reason 9");
    assert_eq!(check(&changed, &[]), json!([{ "wrong": "changed", "position": 2, "id": 2 }]));
    let mut missing = lines.clone();
    missing.remove(2);
    assert_eq!(check(&missing, &[]), json!([{ "wrong": "missing", "position": 3, "until": 3 }]));
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    assert_eq!(
        check(&swapped, &[]),
        json!([
            { "wrong": "missing", "position": 2, "until": 2 },
            { "wrong": "out_of_order", "position": 2, "id": 2, "after": 3 },
        ])
    );
    let cut = &lines[..3];
    assert_eq!(check(cut, &[]), json!([]), "the chain alone does not know its end");
    assert_eq!(check(cut, &["--head", &head]), json!([{ "wrong": "head_not_found", "head": head }]));
    let mut torn = lines;
    torn[0].truncate(20);
    assert_eq!(
        check(&torn, &[]),
        json!([{ "wrong": "unreadable", "line": 1 }, { "wrong": "missing", "position": 1, "until": 1 }])
    );
}

#[tokio::test]
async fn acts_at_the_same_time_make_one_chain_and_do_not_wait_for_a_slow_one() {
    let amzigo = Amzigo::new().await;
    let insert =
        "insert into audit_log (at, actor, action, target, reason) values (now(), 'ann', 'x', 'y', $1)";
    // It has written its act, and is not done.
    let mut slow = amzigo.database.pool.begin().await.expect("Postgres answers");
    sqlx::query(insert).bind("slow").execute(&mut *slow).await.expect("it is written");
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..20 {
        let pool = amzigo.database.pool.clone();
        writers.spawn(async move {
            for m in 0..5 {
                let mut quick = pool.begin().await.expect("Postgres answers");
                sqlx::query(insert)
                    .bind(format!("{n} {m}"))
                    .execute(&mut *quick)
                    .await
                    .expect("it is written");
                quick.commit().await.expect("it is committed");
            }
        });
    }
    // Were they waiting for the slow one, they would wait for ever.
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer ends");
    }
    slow.commit().await.expect("it is committed");
    assert_eq!(amzigo.findings(&[]), json!([]));
    let last: (i64, String) = sqlx::query_as(
        "select position, reason from audit_chain join audit_log on audit_log.id = audit_id order by position desc limit 1",
    )
    .fetch_one(&amzigo.database.pool)
    .await
    .expect("there is an end");
    assert_eq!(last, (101, "slow".to_owned()), "its place is that of its commit");
}

#[tokio::test]
async fn auditors_read_the_log_and_operators_do_not() {
    let amzigo = Amzigo::new().await;
    let jobs = amzigo.acts(3).await;
    let mut console = Serving::start(&amzigo).await;
    assert_eq!(console.get("/audit").await.status, 403, "a viewer may not");
    assert!(!console.get("/").await.text.contains("/audit"));
    console.sign_in(&amzigo, &[Role::Operator]).await;
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let requeue = format!("/jobs/{dead}/requeue");
    assert_eq!(console.post(&requeue, &[("reason", "by a button")]).await.status, 303);
    assert_eq!(console.get("/audit").await.status, 403);
    console.sign_in(&amzigo, &[Role::Auditor]).await;
    let page = console.get("/audit").await.text;
    for expected in [
        "by a button",
        "reason 2",
        "dead.discard",
        "dead.requeue",
        "<td>cli</td>",
        "<td>console</td>",
        "all 4 entries",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(page.find("by a button") < page.find("reason 0"), "the newest comes first");
    assert!(page.contains(&format!("href=\"/jobs/{}\"", jobs[0])), "{page}");
    for (query, shows, hides) in [
        ("actor=ann", "reason 0", "by a button"),
        ("action=dead.requeue", "by a button", "reason 0"),
        ("action=dead", "reason 0", "No such acts."),
        (&format!("target={}", jobs[1]), "reason 1", "reason 2"),
        ("before=2", "reason 0", "reason 1"),
        ("since=2100-01-01", "No such acts.", "reason 0"),
    ] {
        let page = console.get(&format!("/audit?{query}")).await.text;
        assert!(page.contains(shows) && !page.contains(hides), "{query}: {page}");
    }
    assert_eq!(console.get("/audit?since=yesterday").await.status, 400);
    amzigo.behind_its_back("update audit_log set reason = 'another' where reason = 'reason 1'").await;
    assert!(console.get("/audit").await.text.contains("Entry 2 was changed"));
    let listed = amzigo.run(&["audit", "list", "--actor", "ann", "--limit", "2", "--json"]).json();
    let reasons: Vec<_> =
        listed["acts"].as_array().expect("acts").iter().map(|act| act["reason"].clone()).collect();
    assert_eq!(reasons, ["reason 2", "another"]);
}
