//! Pausing, resuming and limiting: Redis obeys at once, and the audit log knows who wanted it.

use serde_json::{Value, json};

use crate::deployment::{Deployment, OTHER_SELLER, SELLER};

fn act(action: &str, target: &str) -> (String, String, String, String) {
    ("tests".to_owned(), action.to_owned(), target.to_owned(), "Amazon is ill".to_owned())
}

fn with_reason<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--reason", "Amazon is ill"]].concat()
}

#[tokio::test]
async fn a_paused_queue_gives_nothing_until_it_is_resumed_and_twice_says_so() {
    let deployment = Deployment::new().await;
    let id = deployment.ready(SELLER).await;
    assert_eq!(deployment.takes().await, [id]);

    let paused = deployment.does(&with_reason(&["pause", "sync"]));
    assert!(paused.starts_with("Paused queue sync."), "{paused}");
    assert_eq!(deployment.takes().await, []);
    let again = deployment.does(&with_reason(&["pause", "sync"]));
    assert_eq!(again, "Nothing new: queue sync is paused already.\n");

    let resumed = deployment.run(&with_reason(&["resume", "sync", "--json"])).json();
    assert_eq!(resumed, json!({ "queue": "sync", "scope": "queue", "changed": true, "told_redis": true }));
    assert_eq!(deployment.takes().await, [id]);
    let again = deployment.does(&with_reason(&["resume", "sync"]));
    assert_eq!(again, "Nothing new: queue sync is not paused.\n");

    let acts = [act("controls.pause", "sync"), act("controls.resume", "sync")];
    assert_eq!(deployment.amzigo.audit().await, acts, "what changes nothing is no act");
}

#[tokio::test]
async fn a_kind_and_a_group_are_paused_by_themselves() {
    let deployment = Deployment::new().await;
    let (first, second) = (deployment.ready(SELLER).await, deployment.ready(OTHER_SELLER).await);
    let paused = deployment.does(&with_reason(&["pause", "sync", "--group", SELLER]));
    assert!(!paused.contains("check its name"), "{paused}");
    assert_eq!(deployment.takes().await, [second]);
    deployment.does(&with_reason(&["pause", "sync", "--kind", "sync_orders"]));
    assert_eq!(deployment.takes().await, []);
    deployment.does(&with_reason(&["resume", "sync", "--group", SELLER]));
    deployment.does(&with_reason(&["resume", "sync", "--kind", "sync_orders"]));
    let mut taken = deployment.takes().await;
    taken.sort();
    assert_eq!(taken, [first, second]);
    let acts: Vec<_> = deployment.amzigo.audit().await;
    assert_eq!(acts[0], act("controls.pause", &format!("sync group {SELLER}")));
    assert_eq!(acts[1], act("controls.pause", "sync kind sync_orders"));

    let nobody = deployment.does(&with_reason(&["pause", "sync", "--group", "nobody"]));
    assert!(nobody.contains("check its name"), "{nobody}");
}

#[tokio::test]
async fn limits_hold_for_each_group_a_kind_and_a_group_until_they_are_taken_away() {
    let deployment = Deployment::new().await;
    let mut jobs = vec![deployment.ready(SELLER).await, deployment.ready(OTHER_SELLER).await];
    jobs.sort();
    deployment.does(&with_reason(&["limit", "sync", "--kind", "sync_orders", "1"]));
    assert_eq!(deployment.takes().await.len(), 1);
    let again = deployment.does(&with_reason(&["limit", "sync", "--kind", "sync_orders", "1"]));
    assert!(again.starts_with("Nothing new: at most 1 at once of kind sync_orders on sync"), "{again}");
    deployment.does(&with_reason(&["limit", "sync", "--kind", "sync_orders", "2"]));
    let mut taken = deployment.takes().await;
    taken.sort();
    assert_eq!(taken, jobs);
    let gone = deployment.does(&with_reason(&["limit", "sync", "--kind", "sync_orders", "none"]));
    assert!(gone.starts_with("Took the limit of kind sync_orders on sync away"), "{gone}");
    let again = deployment.does(&with_reason(&["limit", "sync", "--kind", "sync_orders", "none"]));
    assert!(again.starts_with("Nothing new: nobody has limited"), "{again}");
    deployment.does(&with_reason(&["limit", "sync", "3"]));
    let targets: Vec<_> =
        deployment.amzigo.audit().await.into_iter().map(|(_, _, target, _)| target).collect();
    assert_eq!(
        targets,
        [
            "sync kind sync_orders: at most 1",
            "sync kind sync_orders: at most 2",
            "sync kind sync_orders: no limit",
            "sync: at most 3",
        ]
    );
}

#[tokio::test]
async fn what_is_said_is_shown_with_who_said_it_and_why() {
    let deployment = Deployment::new().await;
    assert_eq!(deployment.run(&["controls", "mail", "--json"]).json(), json!({ "controls": [] }));
    deployment.does(&with_reason(&["pause", "sync"]));
    deployment.does(&with_reason(&["limit", "sync", "3"]));
    deployment.does(&with_reason(&["limit", "sync", "--group", SELLER, "2"]));
    deployment.does(&["pause", "sync", "--group", SELLER, "--reason", "they asked for it", "--as", "Ann"]);
    let shown = deployment.run(&["controls", "sync", "--json"]).json();
    let brief: Vec<Value> = shown["controls"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|control| !control["decided"].is_null())
        .map(|control| {
            let decided = &control["decided"];
            let since = decided["since"].as_str().expect("a moment").parse::<chrono::DateTime<chrono::Utc>>();
            assert!(since.is_ok(), "{control}");
            json!([control["scope"], control["control"], control["most"], decided["by"], decided["reason"]])
        })
        .collect();
    assert_eq!(
        brief,
        [
            json!(["queue", "paused", null, "tests", "Amazon is ill"]),
            json!(["queue", "limit", 3, "tests", "Amazon is ill"]),
            json!(["group", "paused", null, "Ann", "they asked for it"]),
            json!(["group", "limit", 2, "tests", "Amazon is ill"]),
        ]
    );
    let table = deployment.does(&["controls"]);
    assert!(table.contains("at most 3 at once for each group") && table.contains("Ann"), "{table}");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_nothing_is_written() {
    let deployment = Deployment::new().await;
    for (arguments, code, says) in [
        (&["pause", "sync", "--kind", "sync_order"][..], 3, "did you mean `sync_orders`?"),
        (&["resume", "sync", "--kind", "sync_order"], 3, "did you mean `sync_orders`?"),
        (&["limit", "sync", "--kind", "nothing", "none"], 3, "there is no kind"),
        (&["pause", "mail", "--kind", "sync_orders"], 3, "wait on queue sync, not on mail"),
        (&["pause", "snyc"], 2, "the queues are urgent"),
        (&["pause", "sync", "--group", ""], 2, "a value is required"),
        (&["pause", "sync", "--group", "a", "--kind", "sync_orders"], 2, "cannot be used with"),
        (&["limit", "sync", "0"], 2, "is `amzigo pause`"),
        (&["limit", "sync", "few"], 2, "a whole number from 1 on, or `none`"),
    ] {
        let refused = deployment.run(&with_reason(arguments));
        assert!(refused.error(code).contains(says), "{arguments:?}: {}", refused.err);
    }
    let silent = deployment.run(&["pause", "sync", "--reason", " "]);
    assert!(silent.error(2).contains("the audit log needs a reason"), "{}", silent.err);
    assert_eq!(deployment.amzigo.audit().await, []);
    let rows: i64 = sqlx::query_scalar("select count(*) from controls")
        .fetch_one(&deployment.amzigo.database.pool)
        .await
        .expect("the table can be read");
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn what_was_said_of_a_kind_of_old_can_be_taken_back() {
    let deployment = Deployment::new().await;
    sqlx::query("insert into controls values ('sync', 'kind', 'a_kind_of_old', true, 2, now())")
        .execute(&deployment.amzigo.database.pool)
        .await
        .expect("the row fits");
    assert!(deployment.does(&["controls"]).contains("kind a_kind_of_old"));
    deployment.does(&with_reason(&["resume", "sync", "--kind", "a_kind_of_old"]));
    deployment.does(&with_reason(&["limit", "sync", "--kind", "a_kind_of_old", "none"]));
    let refused = deployment.run(&with_reason(&["resume", "sync", "--kind", "a_kind_of_old"]));
    assert!(refused.error(3).contains("there is no kind"), "{}", refused.err);
}

#[tokio::test]
async fn of_many_who_change_something_at_once_none_is_forgotten() {
    let deployment = Deployment::new().await;
    let sellers: Vec<_> = (10..18).map(|n| format!("0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a{n}")).collect();
    for seller in &sellers {
        deployment.ready(seller).await;
    }
    let all_at_once = |change: &'static str| {
        std::thread::scope(|scope| {
            for seller in &sellers {
                let deployment = &deployment;
                scope.spawn(move || deployment.does(&with_reason(&[change, "sync", "--group", seller])));
            }
        });
    };
    all_at_once("pause");
    assert_eq!(deployment.takes().await, []);
    all_at_once("resume");
    assert_eq!(deployment.takes().await.len(), sellers.len());
}

#[tokio::test]
async fn without_redis_a_change_is_written_and_says_so() {
    let deployment = Deployment::new().await;
    let paused = deployment.run_without_redis(&with_reason(&["pause", "sync"]));
    assert_eq!(paused.code, 0, "{}", paused.err);
    assert!(paused.out.contains("Redis could not be told"), "{}", paused.out);
    let again = deployment.run_without_redis(&with_reason(&["pause", "sync", "--json"])).json();
    assert_eq!((&again["changed"], &again["told_redis"]), (&json!(false), &json!(false)));
    assert_eq!(deployment.amzigo.audit().await, [act("controls.pause", "sync")]);
    // Saying it again when Redis is back tells it, without waiting for the scheduler.
    deployment.ready(SELLER).await;
    assert_eq!(deployment.takes().await.len(), 1);
    deployment.does(&with_reason(&["pause", "sync"]));
    assert_eq!(deployment.takes().await, []);

    let unset = deployment.amzigo.run(&with_reason(&["resume", "sync", "--as", "tests"]));
    assert!(unset.error(2).contains("REDIS_URL"), "{}", unset.err);
    assert_eq!(deployment.amzigo.audit().await.len(), 1, "a missing setting is said before the change");
}
