//! What cannot be run: refused at the door with a clear answer, or, where it came around the door, a dead letter that says
//! why. A person requeues or discards it.

use std::process::Output;

use sandbox::PLANTED;
use serde_json::json;

use crate::scene::Scene;

/// Exit codes of `amzigo`: the command cannot be understood; or it was, and is refused.
const WRONG_USAGE: i32 = 2;
const REFUSED: i32 = 3;

/// Asserts that a command failed with this code and said all of this, and that nothing was enqueued.
async fn refused(scene: &Scene, output: &Output, code: i32, says: &[&str]) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for words in says {
        assert!(said.contains(words), "it was to say `{words}`: {said}");
    }
    for planted in PLANTED {
        assert!(!said.contains(planted), "it quotes what it was given: {said}");
    }
    let jobs: i64 = sqlx::query_scalar("select count(*) from jobs").fetch_one(&scene.system.pool).await?;
    assert_eq!(jobs, 0, "a refused job was enqueued");
    Ok(())
}

#[tokio::test]
async fn the_command_line_refuses_what_no_worker_could_run() -> anyhow::Result<()> {
    let scene = Scene::with("refused_at_the_door", 1, 0).await?;
    let amzigo = |arguments: &[&str], input: &str| scene.system.try_amzigo(arguments, input);

    let unknown = amzigo(&["enqueue", "sync_order", "--payload", "{}"], "")?;
    refused(&scene, &unknown, REFUSED, &["sync_order", "did you mean `sync_orders`?"]).await?;

    let not_json = amzigo(&["enqueue", "sync_orders", "--payload", "{seller"], "")?;
    refused(&scene, &not_json, WRONG_USAGE, &["the payload is not JSON"]).await?;

    for strange in [json!({}), json!({ "seller": PLANTED[0] }), json!({ "seller": 5 }), json!([PLANTED[1]])] {
        let misfit = amzigo(&["enqueue", "sync_orders", "--payload", &strange.to_string()], "")?;
        refused(&scene, &misfit, REFUSED, &["sync_orders"]).await?;
    }
    let unknown_field = json!({ "seller": scene.sellers[0].id, PLANTED[0]: true });
    let misfit = amzigo(&["enqueue", "sync_orders", "--payload", &unknown_field.to_string()], "")?;
    refused(&scene, &misfit, REFUSED, &["sync_orders"]).await?;

    let large = json!({ "seller": scene.sellers[0].id, "note": "x".repeat(70_000) }).to_string();
    let too_large = amzigo(&["enqueue", "sync_orders", "--payload-file", "-"], &large)?;
    refused(&scene, &too_large, REFUSED, &["65536", "store the data in a table"]).await?;
    scene.end([]).await
}

#[tokio::test]
async fn a_job_that_cannot_run_is_a_dead_letter_with_its_reason() -> anyhow::Result<()> {
    let mut scene = Scene::with("dead_letters", 1, 0).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;

    let too_large = scene.insert("sync_orders", &json!({ "note": "x".repeat(70_000) })).await;
    let constraint = too_large.expect_err("the ledger takes no such payload");
    assert!(constraint.to_string().contains("payload_is_small"), "{constraint}");

    let unknown_kind = scene.insert("polish_the_silver", &json!({})).await?;
    let unreadable = scene.insert("sync_orders", &json!({ "seller": PLANTED[0] })).await?;
    let nobody = scene.insert("sync_orders", &json!({ "seller": uuid::Uuid::new_v4() })).await?;
    scene.until_job(&unreadable, "dead").await?;
    let (_, error) = scene.job(&unreadable).await?;
    let error = error.unwrap_or_default();
    assert!(error.contains("sync_orders"), "{error}");
    assert!(!error.contains(PLANTED[0]), "the error quotes the payload: {error}");
    assert_eq!(scene.failures().await?[&unreadable], [error], "the dead letter keeps its error");
    // A seller that is gone is nothing to fail about: there is nothing left to do.
    scene.until_job(&nobody, "done").await?;

    let listed = scene.system.amzigo(&["dead", "list", "--json"])?;
    let listed: std::collections::BTreeSet<_> =
        listed["dead"].as_array().into_iter().flatten().filter_map(|letter| letter["id"].as_str()).collect();
    assert_eq!(listed, [unreadable.as_str()].into());
    // It may belong to a release that is being rolled out: it waits for a worker that knows it, and is told of.
    let told = async || {
        let logs = scene.system.logs()?;
        Ok(logs.contains("jobs wait for a worker that knows their kind")
            && logs.contains("polish_the_silver"))
    };
    tests::system::until(crate::scene::STEP, "the unknown kind is told of", told).await?;
    assert_eq!(scene.job(&unknown_kind).await?.0, "ready");
    scene.end([scheduler, worker]).await
}

#[tokio::test]
async fn a_person_requeues_or_discards_a_dead_letter_and_says_why() -> anyhow::Result<()> {
    let mut scene = Scene::with("requeue_and_discard", 1, 0).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let requeued = scene.insert("sync_orders", &json!({})).await?;
    let discarded = scene.insert("sync_orders", &json!({})).await?;
    for id in [&requeued, &discarded] {
        scene.until_job(id, "dead").await?;
    }

    let without_a_reason = scene.system.try_amzigo(&["dead", "requeue", &requeued], "")?;
    assert_eq!(without_a_reason.status.code(), Some(WRONG_USAGE));
    scene.system.amzigo(&["dead", "requeue", &requeued, "--reason", "the seller is known now", "--json"])?;
    scene.system.amzigo(&["dead", "discard", &discarded, "--reason", "there is no such seller", "--json"])?;

    // It runs again, and its payload still does not fit.
    let failed_twice = async || Ok(scene.failures().await?[&requeued].len() == 2);
    tests::system::until(crate::scene::STEP, "the requeued job has run again", failed_twice).await?;
    scene.until_job(&requeued, "dead").await?;
    assert_eq!(scene.job(&discarded).await?.0, "cancelled");
    let not_dead = scene.system.try_amzigo(&["dead", "requeue", &discarded, "--reason", "why not"], "")?;
    assert_eq!(not_dead.status.code(), Some(REFUSED));

    let audit: Vec<(String, String, String, String)> = sqlx::query_as(
        "select actor, action, target, reason from audit_log where action like 'dead.%' order by id",
    )
    .fetch_all(&scene.system.pool)
    .await?;
    let row = |action: &str, target: &str, reason: &str| {
        ("system".to_owned(), action.to_owned(), target.to_owned(), reason.to_owned())
    };
    assert_eq!(
        audit,
        [
            row("dead.requeue", &requeued, "the seller is known now"),
            row("dead.discard", &discarded, "there is no such seller")
        ]
    );
    scene.end([scheduler, worker]).await
}
