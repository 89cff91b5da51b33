//! The clocks, and whether work goes its way: who leads, who works, what lies where it should not.
//!
//! A loop of the scheduler is judged by what it would leave behind: the relay by the outbox, the promotion by jobs that are long due,
//! the ticks by schedules that are late.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{catalog::CATALOG, store::sellers::SellerId};
use queue::{Engine, limit::Budgets};
use runtime::{
    clock::{Clock, RedisClock, SystemClock},
    redis::Redis,
};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::Check;
use crate::ops::{budgets, counts, sellers};

/// Longest wait for an answer of Redis.
const PATIENCE: Duration = Duration::from_secs(8);
/// How far two clocks may be apart before it confuses people, and before budgets are wrong.
const APART: (TimeDelta, TimeDelta) = (TimeDelta::seconds(2), TimeDelta::seconds(60));
/// The relay empties the outbox within milliseconds.
const RELAYED_WITHIN: TimeDelta = TimeDelta::seconds(30);
/// What is due becomes ready within a second.
const PROMOTED_WITHIN: TimeDelta = TimeDelta::minutes(1);
/// A tick fires within a second.
const FIRED_WITHIN: TimeDelta = TimeDelta::minutes(2);
/// Most sellers whose budgets are looked at.
const MOST_SELLERS: usize = 100;
/// Most names in a line.
const MOST_NAMED: usize = 5;

/// The host's clock against the servers'. A leader's lease goes by Postgres', what is due by Redis'.
pub(super) async fn clocks(redis: Option<&Redis>, pool: Option<&PgPool>, checks: &mut Vec<Check>) {
    let mut against = Vec::new();
    if let Some(redis) = redis {
        let read = RedisClock::follow(redis, CancellationToken::new());
        if let Ok(Ok(clock)) = tokio::time::timeout(PATIENCE, read).await {
            against.push(("Redis", clock.now() - SystemClock.now()));
        }
    }
    if let Some(pool) = pool {
        let before = SystemClock.now();
        let read = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await;
        let after = SystemClock.now();
        if let Ok(now) = read {
            against.push(("Postgres", now - (before + (after - before) / 2)));
        }
    }
    checks.push(compared(&against));
}

fn compared(against: &[(&'static str, TimeDelta)]) -> Check {
    let name = "clocks";
    let Some(furthest) = against.iter().map(|(_, by)| by.abs()).max() else {
        return Check::skip(name, "not compared: no server answers");
    };
    let between = match against {
        [(_, one), (_, other)] => (*one - *other).abs(),
        _ => TimeDelta::zero(),
    };
    let says = against
        .iter()
        .map(|(server, by)| format!("{server} {:+.1} s", by.as_seconds_f64()))
        .collect::<Vec<_>>()
        .join(", ");
    let says = format!("against this host: {says}");
    let advice = "let NTP set the clocks of all hosts (timedatectl, chronyc tracking)";
    match furthest.max(between) {
        apart if apart > APART.1 => Check::fail(name, says, advice),
        apart if apart > APART.0 => Check::warn(name, says, advice),
        _ => Check::ok(name, says),
    }
}

/// Adds what is found.
pub(super) async fn examine(
    pool: &PgPool,
    redis: Option<&Redis>,
    checks: &mut Vec<Check>,
) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let now =
        sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *connection).await?;
    checks.push(scheduler(&mut connection).await?);
    checks.push(outbox(&mut connection, now).await?);
    checks.push(overdue(&mut connection, now).await?);
    schedules(&mut connection, now, checks).await?;
    let waiting = counts::by_queue(&mut connection).await?;
    let connected = sellers::list(&mut connection).await?;
    let clock = match redis {
        Some(redis) => RedisClock::follow(redis, CancellationToken::new()).await.ok(),
        None => None,
    };
    match (redis, clock) {
        (Some(redis), Some(clock)) => {
            let clock: Arc<dyn Clock> = Arc::new(clock);
            workers(&Engine::new(redis.clone(), Arc::clone(&clock)), &waiting, checks).await;
            let active: Vec<_> =
                connected.iter().filter(|seller| seller.state == "active").map(|seller| seller.id).collect();
            checks.push(rates(&Budgets::new(redis.clone(), clock), &active).await);
        }
        _ => {
            checks.push(Check::skip("workers", "not looked at: Redis does not answer"));
            checks.push(Check::skip("budgets", "not looked at: Redis does not answer"));
        }
    }
    checks.push(dead(&waiting));
    checks.push(authorisations(&connected));
    Ok(())
}

async fn scheduler(connection: &mut PgConnection) -> Result<Check, sqlx::Error> {
    let name = "scheduler";
    let leader = sqlx::query!(
        r#"select term, expires_at, expires_at > clock_timestamp() as "leads!" from leaders where role = 'scheduler'"#
    )
    .fetch_optional(connection)
    .await?;
    let advice =
        "start `scheduler`, two of them on different hosts; until then nothing is relayed, promoted or fired";
    Ok(match leader {
        Some(leader) if leader.leads => Check::ok(name, format!("one leads, in term {}", leader.term)),
        Some(leader) => {
            let since = leader.expires_at.format("%F %T");
            Check::fail(name, format!("none leads since {since} UTC"), advice)
        }
        None => Check::fail(name, "none has ever led", advice),
    })
}

async fn outbox(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Check, sqlx::Error> {
    let name = "outbox";
    let outbox = counts::outbox(connection).await?;
    Ok(match outbox.oldest_since {
        Some(since) if now - since > RELAYED_WITHIN => Check::fail(
            name,
            format!(
                "{} jobs wait to be told to Redis, the first for {} s",
                outbox.depth,
                (now - since).num_seconds()
            ),
            "the relay does not run or Redis takes nothing: look at the scheduler's log and at Redis",
        ),
        _ => Check::ok(name, format!("{} jobs on their way to Redis", outbox.depth)),
    })
}

async fn overdue(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Check, sqlx::Error> {
    let name = "promotion";
    let late = sqlx::query_scalar!(
        r#"select count(*) as "late!" from jobs where state = 'delayed' and finished_at is null and due_at < $1"#,
        now - PROMOTED_WITHIN,
    )
    .fetch_one(connection)
    .await?;
    Ok(match late {
        0 => Check::ok(name, "what is due becomes ready"),
        late => Check::fail(
            name,
            format!("{late} jobs have been due for more than a minute and are still delayed"),
            "look at the scheduler's log for the service `promote`, and at Redis",
        ),
    })
}

async fn schedules(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    checks: &mut Vec<Check>,
) -> Result<(), sqlx::Error> {
    let name = "schedules";
    let rows = sqlx::query!("select kind, next_fire_at, paused_at from schedules order by kind")
        .fetch_all(connection)
        .await?;
    let late: Vec<_> = rows
        .iter()
        .filter(|row| row.paused_at.is_none() && now - row.next_fire_at > FIRED_WITHIN)
        .map(|row| row.kind.as_str())
        .collect();
    let paused: Vec<_> =
        rows.iter().filter(|row| row.paused_at.is_some()).map(|row| row.kind.as_str()).collect();
    let unknown: Vec<_> = CATALOG
        .iter()
        .filter(|kind| kind.schedule.is_some() && !rows.iter().any(|row| row.kind == kind.name))
        .map(|kind| kind.name)
        .collect();
    let before = checks.len();
    if !late.is_empty() {
        checks.push(Check::fail(
            name,
            format!("late: {}", named(&late)),
            "look at the scheduler's log for the service `cron`",
        ));
    }
    if !unknown.is_empty() {
        checks.push(Check::warn(
            name,
            format!("never fired, unknown to the database: {}", named(&unknown)),
            "a scheduler of this release adds them when it leads",
        ));
    }
    if !paused.is_empty() {
        checks.push(Check::warn(
            name,
            format!("paused by somebody: {}", named(&paused)),
            "the audit log says why; resume them when that is over",
        ));
    }
    if checks.len() == before {
        checks.push(Check::ok(name, format!("all {} fire in time", rows.len())));
    }
    Ok(())
}

async fn workers(engine: &Engine, waiting: &[counts::QueueCounts], checks: &mut Vec<Check>) {
    let mut manned = Vec::new();
    let before = checks.len();
    for counts in waiting {
        let queue = counts.queue;
        let used = CATALOG.iter().any(|kind| kind.policy.queue == queue);
        match tokio::time::timeout(PATIENCE, engine.depth(queue)).await {
            Ok(Ok(depth)) if depth.workers > 0 => manned.push(format!("{queue} {}", depth.workers)),
            Ok(Ok(_)) if counts.ready > 0 => checks.push(Check::fail(
                "workers",
                format!("none is on {queue}, with {} jobs ready", counts.ready),
                "start `worker`, and look at the log of those that should be there",
            )),
            Ok(Ok(_)) if used => checks.push(Check::warn(
                "workers",
                format!("none is on {queue}; nothing is ready there now"),
                "start `worker` before something is",
            )),
            // No kind of this release is put there.
            Ok(Ok(_)) => {}
            Ok(Err(error)) => checks.push(Check::failed("workers", &error, "see docs/REDIS.md")),
            Err(_) => {
                checks.push(Check::fail(
                    "workers",
                    format!("Redis does not say who is on {queue}"),
                    "ask again",
                ));
            }
        }
    }
    if checks.len() == before {
        checks.push(Check::ok("workers", manned.join(", ")));
    }
}

async fn rates(all: &Budgets, active: &[SellerId]) -> Check {
    let name = "budgets";
    let looked = &active[..active.len().min(MOST_SELLERS)];
    let levels = match tokio::time::timeout(PATIENCE, budgets::of_sellers(all, looked)).await {
        Ok(Ok(levels)) => levels,
        Ok(Err(error)) => return Check::failed(name, &error, "see docs/REDIS.md"),
        Err(_) => return Check::fail(name, "Redis does not say how full they are", "ask again"),
    };
    let mut shared: Vec<_> = levels
        .iter()
        .filter(|budget| budget.level.shared_until.is_some())
        .map(|budget| format!("{} of {}", budget.operation, budget.seller))
        .collect();
    shared.sort();
    let of = if looked.len() < active.len() {
        format!("{} of {} sellers", looked.len(), active.len())
    } else {
        format!("{} sellers", active.len())
    };
    let where_else = "circuits that a worker has opened are in its metrics (amazon_circuits_open)";
    if shared.is_empty() {
        return Check::ok(name, format!("Amazon has refused none of {of} lately; {where_else}"));
    }
    let names: Vec<_> = shared.iter().map(String::as_str).collect();
    Check::warn(
        name,
        format!("somebody else uses the quota too: {}", named(&names)),
        "only a part of the rate is used for an hour; `amzigo budgets --seller ID` shows how much",
    )
}

fn dead(waiting: &[counts::QueueCounts]) -> Check {
    match waiting.iter().map(|counts| counts.dead).sum::<i64>() {
        0 => Check::ok("dead letters", "none"),
        letters => Check::warn(
            "dead letters",
            format!("{letters} wait for a decision"),
            "`amzigo dead list` names them; requeue or discard them, with a reason",
        ),
    }
}

fn authorisations(connected: &[sellers::Seller]) -> Check {
    let name = "sellers";
    let waiting = connected.iter().filter(|seller| seller.state == "needs_reauthorisation").count();
    let active = connected.iter().filter(|seller| seller.state == "active").count();
    if waiting > 0 {
        return Check::warn(
            name,
            format!("{active} active, {waiting} must authorise us again"),
            "`amzigo sellers list` names them; nothing is synced for them until they do",
        );
    }
    Check::ok(name, format!("{active} active"))
}

/// The first few names of a list.
fn named(names: &[&str]) -> String {
    let shown = names.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Verdict;

    #[test]
    fn clocks_are_compared_with_each_other_too() {
        let by = TimeDelta::seconds;
        assert_eq!(compared(&[]).verdict, Verdict::Skip);
        assert_eq!(compared(&[("Redis", by(1)), ("Postgres", by(0))]).verdict, Verdict::Ok);
        assert_eq!(compared(&[("Redis", by(-3)), ("Postgres", by(0))]).verdict, Verdict::Warn);
        assert_eq!(compared(&[("Redis", by(40)), ("Postgres", by(-40))]).verdict, Verdict::Fail);
    }

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(named(&["a", "b"]), "a, b");
        assert_eq!(named(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
