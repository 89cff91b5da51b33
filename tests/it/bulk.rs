//! A bulk operation survives whoever carries it out: the leading scheduler is killed in the middle of it, again and again, and
//! each job is changed once, with one line in the audit log. And a paused schedule fires not at all.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::catalog::CATALOG;
use queue::stepping::Stepper;
use scheduler::services::cron::fire_due;
use tests::system::until;

use crate::scene::{STEP, Scene};

const LETTERS: i64 = 4_000;

#[tokio::test]
async fn leaders_are_killed_in_the_middle_and_every_job_is_changed_once() -> anyhow::Result<()> {
    let mut scene = Scene::with("bulk_killed", 1, 60).await?;
    let pool = scene.system.pool.clone();
    sqlx::query(
        "insert into jobs (id, kind, queue, group_name, payload, state, cause, created_at, touched_at, due_at, finished_at, last_error)
         select gen_random_uuid(), 'sync_orders', 'sync', 'g' || n % 50, '{}', 'dead', 'cli', now(), now(), now(), now(), 'boom'
         from generate_series(1, $1) as n",
    )
    .bind(LETTERS)
    .execute(&pool)
    .await?;
    let count = LETTERS.to_string();
    let started = scene.system.amzigo(&[
        "bulk", "start", "discard", "--error", "boom", "--count", &count, "--reason", "a flood", "--as",
        "ann", "--json",
    ])?;
    let id = started["id"].as_str().expect("an id").to_owned();
    let changed = async || -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("select changed from bulk_operations where id = $1::text::uuid")
            .bind(&id)
            .fetch_one(&pool)
            .await?)
    };
    let mut kills = 0;
    while changed().await? < LETTERS {
        let before = changed().await?;
        let leader = scene.system.scheduler()?;
        until(STEP, "a slice is done", async || Ok(changed().await? > before)).await?;
        leader.kill()?;
        kills += 1;
    }
    assert!(kills >= 2, "it was over before anybody was killed in the middle of it: {kills}");
    let last = scene.system.scheduler()?;
    until(STEP, "the operation has finished", async || {
        Ok(sqlx::query_scalar("select state = 'finished' from bulk_operations where id = $1::text::uuid")
            .bind(&id)
            .fetch_one(&pool)
            .await?)
    })
    .await?;
    assert_eq!(changed().await?, LETTERS);
    let (dead, acts, jobs): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from jobs where state = 'dead'),
            (select count(*) from audit_log where action = 'dead.discard' and reason like 'a flood (bulk operation %'),
            (select count(distinct target) from audit_log where action = 'dead.discard')",
    )
    .fetch_one(&pool)
    .await?;
    assert_eq!((dead, acts, jobs), (0, LETTERS, LETTERS), "each job once, with one act");
    scene.end([last]).await
}

#[tokio::test]
async fn a_paused_schedule_fires_not_at_all_and_makes_up_for_it_as_its_policy_says() -> anyhow::Result<()> {
    let scene = Scene::with("paused_schedule", 1, 60).await?;
    let pool = scene.system.pool.clone();
    let now: DateTime<Utc> =
        sqlx::query_scalar("select date_trunc('second', now())").fetch_one(&pool).await?;
    // Every schedule is known, with its next tick ahead.
    fire_due(&pool, &CATALOG, now).await?;
    scene.system.amzigo(&[
        "schedules",
        "pause",
        "sync_orders",
        "--reason",
        "Amazon is ill",
        "--as",
        "ann",
        "--json",
    ])?;
    let schedule = CATALOG.get("sync_orders").and_then(|kind| kind.schedule).expect("it has one");
    let stepper = Stepper::new(&schedule)?;
    let tick = stepper.next_after(now).expect("there is one");
    let made = async || -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from jobs where cause = 'schedule' and kind = 'sync_orders'")
            .fetch_one(&pool)
            .await?)
    };
    let later = tick + TimeDelta::hours(3);
    fire_due(&pool, &CATALOG, later).await?;
    assert_eq!(made().await?, 0, "it is paused");
    scene.system.amzigo(&[
        "schedules",
        "resume",
        "sync_orders",
        "--reason",
        "well again",
        "--as",
        "ann",
        "--json",
    ])?;
    fire_due(&pool, &CATALOG, later).await?;
    fire_due(&pool, &CATALOG, later).await?;
    assert_eq!(made().await?, 1, "once for all that were missed");
    let (last, count): (DateTime<Utc>, i32) =
        sqlx::query_as("select last_fire_at, last_made from schedules where kind = 'sync_orders'")
            .fetch_one(&pool)
            .await?;
    assert_eq!((last, count), (tick, 1), "the tick that was missed, and what it made");
    scene.end([]).await
}
