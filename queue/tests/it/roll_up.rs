//! What ended is counted once, whoever is killed in between and whatever commits late.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    JobId, WorkerId,
    ledger::Settled,
    outbox::NewJob,
    retry::Verdict,
    roll_up::{self, Counts, LATE, Row, Stretch},
};
use serde_json::json;

use crate::deployment::{Deployment, QUEUE, job, seconds, start};

/// A full hour.
fn hour() -> DateTime<Utc> {
    Stretch::Hour.begin(start()) + Stretch::Hour.length()
}

impl Deployment {
    /// A job that could begin at `due`, began after `waited`, and ended so after it `took`.
    async fn ran(&self, due: DateTime<Utc>, waited: TimeDelta, took: TimeDelta, verdict: Verdict) -> JobId {
        let job = NewJob { due_at: Some(due), ..job("a") };
        self.queues.clock.set(due);
        self.enqueue(std::slice::from_ref(&job)).await;
        self.ledger.begin(WorkerId::new(), 1, &[job.id], due + waited).await.unwrap();
        let settled = Settled { id: job.id, fence: 1, verdict };
        self.ledger.settle(&[settled], due + waited + took).await.unwrap();
        job.id
    }

    async fn counted(&self, stretch: Stretch) -> Vec<Row> {
        let mut connection = self.pool.acquire().await.unwrap();
        roll_up::read(&mut connection, stretch, DateTime::UNIX_EPOCH, hour() + TimeDelta::days(99))
            .await
            .unwrap()
    }

    async fn caught_up(&self, now: DateTime<Utc>) {
        while roll_up::pass(&self.pool, true, now).await.unwrap().moved {}
    }
}

fn done() -> Verdict {
    Verdict::Done { report: json!(1) }
}

fn dead() -> Verdict {
    Verdict::Dead { error: "no".to_owned() }
}

fn told(rows: &[Row]) -> Vec<(i64, i64, i64, i64)> {
    let minutes = |at: DateTime<Utc>| (at - hour()).num_minutes();
    rows.iter()
        .map(|Row { at, counts, .. }| (minutes(*at), counts.done, counts.dead, counts.failed))
        .collect()
}

#[tokio::test]
async fn each_minute_has_what_ended_in_it_and_longer_stretches_their_sums() {
    let deployment = Deployment::new().await;
    let second = seconds(1);
    deployment.ran(hour() - second * 3, second, second, done()).await;
    deployment.ran(hour(), second, second, done()).await;
    deployment.ran(hour() + second * 10, second, second * 4, done()).await;
    deployment.ran(hour() + seconds(100), second * 30, second, dead()).await;
    let again = Verdict::Retry { due_at: hour() + TimeDelta::days(1), error: "later".to_owned() };
    deployment.ran(hour() + seconds(110), second, second, again).await;
    deployment
        .ran(hour() + seconds(16 * 60), second, second, Verdict::Cancelled { reason: "no".to_owned() })
        .await;
    deployment.caught_up(hour() + TimeDelta::minutes(30)).await;

    let minutes = deployment.counted(Stretch::Minute).await;
    assert_eq!(told(&minutes), [(-1, 1, 0, 0), (0, 2, 0, 0), (1, 0, 0, 1), (2, 0, 1, 1), (16, 0, 0, 0)]);
    assert!(minutes.iter().all(|row| row.queue == QUEUE.name() && row.kind == "count_stock"));
    assert_eq!(minutes[4].counts, Counts { cancelled: 1, ..Counts::default() }, "it waited for nothing");
    assert_eq!(minutes[1].counts.runs.total(), 2);
    let near = |share, wanted: f64| {
        let told = minutes[1].counts.runs.percentile(share).unwrap().as_secs_f64();
        assert!((told / wanted - 1.0).abs() < 0.5, "{told} is not about {wanted}");
    };
    near(0.25, 1.0);
    near(1.0, 4.0);
    assert!(minutes[3].counts.waits.percentile(0.5) > Some(Duration::from_secs(20)));
    assert_eq!(
        told(&deployment.counted(Stretch::Quarter).await),
        [(-15, 1, 0, 0), (0, 2, 1, 2), (15, 0, 0, 0)]
    );
    let hours = deployment.counted(Stretch::Hour).await;
    assert_eq!(told(&hours), [(-60, 1, 0, 0), (0, 2, 1, 2)]);
    assert_eq!((hours[1].counts.waits.total(), hours[1].counts.cancelled), (3, 1));
}

#[tokio::test]
async fn what_is_counted_again_after_a_kill_is_the_same() {
    let deployment = Deployment::new().await;
    for minute in 0..90 {
        deployment.ran(hour() + TimeDelta::minutes(minute), seconds(1), seconds(1), done()).await;
    }
    let now = hour() + TimeDelta::minutes(92);
    // Killed in the middle of a pass: its connection ends, and with it the transaction.
    let mut killed = deployment.pool.begin().await.unwrap();
    sqlx::query("insert into roll_up_progress (counted_until) values ($1)")
        .bind(now)
        .execute(&mut *killed)
        .await
        .unwrap();
    drop(killed);
    let first = roll_up::pass(&deployment.pool, false, now).await.unwrap();
    assert_eq!(
        (first.counted_until, first.more),
        (hour() + Stretch::Hour.length(), true),
        "an hour at a time"
    );
    deployment.caught_up(now).await;
    let once = deployment.counted(Stretch::Minute).await;
    assert_eq!(once.len(), 90);
    assert!(once.iter().all(|row| row.counts.done == 1));
    // A second leader, and the passing minutes counted over and over.
    let (one, other) =
        tokio::join!(roll_up::pass(&deployment.pool, true, now), roll_up::pass(&deployment.pool, true, now));
    assert_eq!((one.unwrap().moved, other.unwrap().moved), (false, false));
    assert_eq!(deployment.counted(Stretch::Minute).await, once);
    // As if nothing had been noted of how far it was.
    let hours = deployment.counted(Stretch::Hour).await;
    sqlx::query("delete from roll_up_progress").execute(&deployment.pool).await.unwrap();
    deployment.caught_up(now).await;
    assert_eq!(deployment.counted(Stretch::Minute).await, once);
    assert_eq!(deployment.counted(Stretch::Hour).await, hours);
    assert_eq!(told(&hours), [(0, 60, 0, 0), (60, 30, 0, 0)]);
}

#[tokio::test]
async fn what_commits_late_is_counted_and_what_is_taken_back_is_not() {
    let deployment = Deployment::new().await;
    let letter = deployment.ran(hour(), seconds(1), seconds(1), dead()).await;
    deployment.caught_up(hour() + seconds(30)).await;
    assert_eq!(told(&deployment.counted(Stretch::Minute).await), [(0, 0, 1, 1)], "a minute that passes");
    let mut connection = deployment.pool.acquire().await.unwrap();
    queue::dead::requeue(&mut connection, letter, hour() + seconds(40)).await.unwrap();
    // Written for this minute, and seen only after it is over.
    deployment.ran(hour() + seconds(50), seconds(1), seconds(1), done()).await;
    let later = hour() + TimeDelta::minutes(3);
    roll_up::pass(&deployment.pool, false, later).await.unwrap();
    assert_eq!(
        told(&deployment.counted(Stretch::Minute).await),
        [(0, 0, 1, 1)],
        "it is not looked at again yet"
    );
    deployment.caught_up(hour() + TimeDelta::minutes(1) + LATE).await;
    let counted = deployment.counted(Stretch::Minute).await;
    assert_eq!(told(&counted), [(0, 1, 0, 1)]);
    assert_eq!(told(&deployment.counted(Stretch::Hour).await), [(0, 1, 0, 1)]);
    deployment.ran(hour() + seconds(1), seconds(1), seconds(1), done()).await;
    deployment.caught_up(hour() + TimeDelta::minutes(20)).await;
    assert_eq!(deployment.counted(Stretch::Minute).await, counted, "counted for good");
}

#[tokio::test]
async fn old_minutes_go_and_their_hours_stay() {
    let deployment = Deployment::new().await;
    deployment.ran(hour(), seconds(1), seconds(1), done()).await;
    deployment.ran(hour() + TimeDelta::days(3), seconds(1), seconds(1), done()).await;
    let now = hour() + TimeDelta::days(3) + TimeDelta::minutes(10);
    deployment.caught_up(now).await;
    assert_eq!(deployment.counted(Stretch::Minute).await.len(), 2);
    let hours = deployment.counted(Stretch::Hour).await;
    assert_eq!(roll_up::prune(&deployment.pool, now).await.unwrap(), 1);
    assert_eq!(told(&deployment.counted(Stretch::Minute).await), [(3 * 24 * 60, 1, 0, 0)]);
    assert_eq!(deployment.counted(Stretch::Hour).await, hours);
    assert_eq!(deployment.counted(Stretch::Quarter).await.len(), 2);
}
