//! Secrets and personal data that were planted, or given out, turn up nowhere: not in logs, tables, Redis, metrics or
//! pages, even when every kind runs, every answer and every notice holds what it must not, everything is logged that can be
//! and everything fails that can.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use anyhow::{Context, ensure};
use jobs::{catalog::CATALOG, sp_api::Operation as Ours};
use redis::aio::MultiplexedConnection;
use sandbox::{Fault, Operation, OrderChanges, PLANTED, SettingsChange};
use tests::{console::Reader, process::Process, system::until};

use crate::scene::{STEP, Scene, WORK};

/// What may be found, by the place where it is looked for.
type Places = BTreeMap<String, String>;

/// What must be found nowhere: planted personal data, and every secret that this scene knows, as it is and as bytes are
/// shown by Postgres. Access tokens are never seen here, but all of them start alike.
fn forbidden(scene: &Scene) -> Vec<String> {
    let mut words: Vec<String> = PLANTED.iter().map(|word| (*word).to_owned()).collect();
    words.extend(scene.seeded.sellers.iter().map(|seller| seller.refresh_token.clone()));
    words.push(scene.seeded.client_secret.clone());
    words.extend(["Atza|", "Atzr|", "Atza%7C", "Atzr%7C"].map(str::to_owned));
    let as_bytes: Vec<_> = words.iter().map(|word| hexadecimal(word.as_bytes())).collect();
    words.extend(as_bytes);
    words
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn assert_clean(places: &Places, forbidden: &[String]) {
    let found: Vec<_> = places
        .iter()
        .flat_map(|(place, text)| {
            forbidden
                .iter()
                .filter(|word| text.contains(*word))
                .map(move |word| format!("{word:?} in {place}"))
        })
        .collect();
    assert!(found.is_empty(), "found {found:?}");
}

/// Every row of every table, as Postgres writes it.
async fn tables(scene: &Scene) -> anyhow::Result<Places> {
    let names: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables where table_schema = 'public'",
    )
    .fetch_all(&scene.system.pool)
    .await?;
    let mut places = Places::new();
    for name in names {
        let rows = format!("select coalesce(string_agg(t::text, e'\\n'), '') from {name} t");
        let text: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(&scene.system.pool).await?;
        places.insert(format!("table {name}"), text);
    }
    Ok(places)
}

/// Every key of the system in Redis with all that it holds.
async fn redis_contents(scene: &Scene) -> anyhow::Result<Places> {
    let mut connection = scene.redis().await?;
    let mut places = Places::new();
    for key in scene.keys().await? {
        let name = String::from_utf8_lossy(&key).into_owned();
        let values = values(&mut connection, &key).await.with_context(|| format!("reading {name}"))?;
        let text = values.iter().map(|value| String::from_utf8_lossy(value)).collect::<Vec<_>>().join("\n");
        places.insert(format!("Redis {name}"), format!("{name}\n{text}"));
    }
    Ok(places)
}

async fn values(connection: &mut MultiplexedConnection, key: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let sort: String = redis::cmd("TYPE").arg(key).query_async(connection).await?;
    let mut read = match sort.as_str() {
        "string" => redis::cmd("GET"),
        "hash" => redis::cmd("HGETALL"),
        "list" => redis::cmd("LRANGE"),
        "zset" => redis::cmd("ZRANGE"),
        "set" => redis::cmd("SMEMBERS"),
        // It went away between the scan and here.
        "none" => return Ok(Vec::new()),
        other => anyhow::bail!("a key of the sort {other} is not looked into"),
    };
    read.arg(key);
    if matches!(sort.as_str(), "list" | "zset") {
        read.arg(0).arg(-1);
    }
    if sort == "string" {
        let value: Option<Vec<u8>> = read.query_async(connection).await?;
        return Ok(value.into_iter().collect());
    }
    Ok(read.query_async(connection).await?)
}

/// What workers and schedulers count.
async fn metrics(processes: &[&Process]) -> anyhow::Result<Places> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let mut places = Places::new();
    for process in processes {
        let url = format!("http://{}/metrics", process.address("health")?);
        let response = http.get(&url).send().await?.error_for_status()?;
        places.insert(url, response.text().await?);
    }
    Ok(places)
}

/// The kinds that are asked for at the start, for each seller.
const SYNCS: [&str; 7] = [
    "subscribe_notifications",
    "sync_participations",
    "sync_orders",
    "backfill_orders",
    "sync_inventory",
    "sync_listings",
    "sync_performance",
];
/// Listens for most of a minute.
const LISTENS: &str = "receive_notifications";
/// Longest time for all kinds: while Amazon seems ill, calls rest for 15 seconds, then for 30.
const ALL_KINDS: Duration = Duration::from_secs(180);

/// Amazon, sign-in and SQS, that tell what they must not, and fail in every way at times.
async fn be_careless(scene: &Scene) -> anyhow::Result<()> {
    let leak = SettingsChange { leak_buyer_data: Some(true), ..SettingsChange::default() };
    scene.system.amazon.change_settings(&leak).await?;
    for operation in [Operation::Token, Operation::SearchOrders, Operation::GetSolicitationActionsForOrder] {
        for fault in [Fault::Internal, Fault::Garbage, Fault::Cut, Fault::Hang] {
            scene.fault(operation, fault, 1).await?;
        }
    }
    for (operation, fault) in [
        (Operation::CreateProductReviewAndSellerFeedbackSolicitation, Fault::CutAfter),
        (Operation::GetMarketplaceParticipations, Fault::Garbage),
        (Operation::GetInventorySummaries, Fault::Internal),
        (Operation::SearchListingsItems, Fault::Cut),
        (Operation::SearchCatalogItems, Fault::Garbage),
        (Operation::GetOrderMetrics, Fault::Internal),
        (Operation::CreateReport, Fault::Cut),
        (Operation::GetReport, Fault::Garbage),
        (Operation::GetReportDocument, Fault::Internal),
        (Operation::DownloadDocument, Fault::Truncated),
        (Operation::GetDestinations, Fault::Garbage),
        (Operation::GetSubscription, Fault::Internal),
        (Operation::CreateSubscription, Fault::CutAfter),
        (Operation::ReceiveMessage, Fault::Internal),
    ] {
        scene.fault(operation, fault, 1).await?;
    }
    Ok(())
}

/// Orders change, so that notices come; others say what nobody asked for.
async fn send_notices(scene: &Scene) -> anyhow::Result<()> {
    for seller in &scene.sellers {
        let changes = OrderChanges {
            seller: seller.selling_partner_id.clone(),
            count: 2,
            touch: 3,
            seconds_ago: 130,
            seed: 5,
        };
        scene.system.amazon.change_orders(&changes).await?;
    }
    let strange =
        [format!("{{\"NotificationType\": \"{}\"}}", PLANTED[0]), format!("{} was here", PLANTED[3])];
    for body in strange {
        scene.system.amazon.push_message(&body).await?;
    }
    Ok(())
}

/// Waits until every job of these kinds has ended.
async fn until_ended(scene: &Scene, kinds: &[&str]) -> anyhow::Result<()> {
    let kinds: Vec<_> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    until(ALL_KINDS, &format!("all jobs of {kinds:?} have ended"), async || {
        let open: i64 =
            sqlx::query_scalar("select count(*) from jobs where finished_at is null and kind = any($1)")
                .bind(&kinds)
                .fetch_one(&scene.system.pool)
                .await?;
        Ok(open == 0)
    })
    .await
}

/// Each kind has run and each operation was called, or what was looked at was not all there is.
async fn assert_all_took_part(scene: &Scene) -> anyhow::Result<()> {
    let ran: BTreeSet<String> =
        sqlx::query_scalar("select distinct kind from jobs where started_at is not null")
            .fetch_all(&scene.system.pool)
            .await?
            .into_iter()
            .collect();
    let kinds: BTreeSet<_> = CATALOG.iter().map(|kind| kind.name.to_owned()).collect();
    ensure!(kinds.is_subset(&ran), "these have not run: {:?}", kinds.difference(&ran));
    let called = scene.system.amazon.summary().await?.calls;
    for ours in Ours::ALL {
        let theirs: Operation = serde_json::from_value(ours.entry().name.into())?;
        ensure!(called.contains_key(&theirs), "{} was not called", ours.entry().name);
    }
    Ok(())
}

#[tokio::test]
async fn what_was_planted_turns_up_nowhere() -> anyhow::Result<()> {
    let mut scene = Scene::with("canaries", 3, 90).await?;
    scene.system.set("AMZIGO_LOG", "trace");
    scene.system.set("SP_API_TIMEOUT_SECONDS", "1");
    be_careless(&scene).await?;
    let mut forbidden = forbidden(&scene);

    // While jobs wait: Redis holds them.
    let scheduler = scene.system.scheduler()?;
    let console = scene.system.console("127.0.0.1:0")?;
    for seller in &scene.sellers {
        for kind in SYNCS {
            scene.system.enqueue(kind, &seller.id)?;
        }
    }
    until(STEP, "the jobs wait in Redis", async || {
        Ok(redis_contents(&scene).await?.values().any(|text| text.contains("sync_orders")))
    })
    .await?;
    let waiting = redis_contents(&scene).await?;
    let seller = &scene.sellers[0].id;
    assert!(waiting.values().any(|text| text.contains(seller)), "a payload was to be seen in Redis");
    assert_clean(&waiting, &forbidden);

    let worker = scene.system.worker()?;
    until(ALL_KINDS, "buyers are asked", async || {
        let calls = scene.system.amazon.summary().await?.calls;
        let asked = calls.get(&Operation::CreateProductReviewAndSellerFeedbackSolicitation);
        Ok(asked.is_some_and(|calls| *calls >= 3))
    })
    .await?;
    assert_clean(&redis_contents(&scene).await?, &forbidden);
    until_ended(&scene, &["subscribe_notifications"]).await?;
    scene.system.enqueue_for_all(LISTENS)?;
    send_notices(&scene).await?;
    until_ended(&scene, &[LISTENS]).await?;
    // What the notices let wait for some minutes is done now.
    scene.system.cancel_syncs_after_notices()?;
    for seller in &scene.sellers {
        scene.system.enqueue("sync_orders", &seller.id)?;
    }
    scene.system.until_quiet(ALL_KINDS).await?;

    // An authorisation that ended long ago, one that is refused now, and a role that is missing.
    let [denied, revoked, gone] = &scene.sellers.clone()[..] else { anyhow::bail!("three sellers") };
    sqlx::query(
        "update sellers set state = 'needs_reauthorisation', authorisation_ended_at = now() - interval '25 days'
         where id = $1::uuid",
    )
    .bind(&gone.id)
    .execute(&scene.system.pool)
    .await?;
    scene.system.enqueue_for_all("watch_authorisations")?;
    scene.system.until_quiet(WORK).await?;
    scene.system.amazon.revoke(&revoked.selling_partner_id).await?;
    scene.fault(Operation::SearchOrders, Fault::Denied, u32::MAX).await?;
    let waits = scene.system.enqueue("sync_orders", &denied.id)?;
    until(STEP, "the job waits for a role", async || {
        let waits_for: Option<String> = sqlx::query_scalar("select waits_for from jobs where id = $1::uuid")
            .bind(&waits)
            .fetch_one(&scene.system.pool)
            .await?;
        Ok(waits_for.is_some_and(|what| what.contains("a role that is missing")))
    })
    .await?;
    scene.system.amazon.clear_faults().await?;
    let counted = metrics(&[&scheduler, &worker]).await?;
    assert!(counted.values().any(|text| text.contains("amazon_calls_total")), "calls were to be counted");
    assert_clean(&counted, &forbidden);
    // A new worker must sign in, and is refused.
    worker.stop()?;
    let worker = scene.system.worker()?;
    let refused = scene.system.enqueue("sync_orders", &revoked.id)?;
    scene.until_job(&refused, "dead").await?;
    forbidden.push(scene.system.amazon.restore(&revoked.selling_partner_id).await?);

    assert_all_took_part(&scene).await?;
    assert_clean(&metrics(&[&scheduler, &worker]).await?, &forbidden);
    let link = console.address("sign_in")?.rsplit('/').next().context("the link has a token")?;
    let reader = Reader::sign_in(&console).await?;
    for secret in [link, reader.secret()] {
        forbidden.extend([secret.to_owned(), hexadecimal(secret.as_bytes())]);
    }
    look_everywhere(&scene, &reader, &forbidden).await?;
    scene.end([scheduler, worker, console]).await
}

/// Looks at all that the system keeps and shows, and makes sure that it sees what may be there.
async fn look_everywhere(scene: &Scene, reader: &Reader, forbidden: &[String]) -> anyhow::Result<()> {
    let jobs = scene.jobs_in(&["ready", "delayed", "running", "done", "dead", "cancelled"]).await?;
    let pages = ["/", "/jobs", "/metrics"].map(str::to_owned);
    let pages: Vec<_> = pages.into_iter().chain(jobs.iter().map(|id| format!("/jobs/{id}"))).collect();
    let mut shown = Places::new();
    for page in pages {
        shown.insert(format!("page {page}"), reader.read(&page).await?);
    }
    let logs = Places::from([("the logs".to_owned(), scene.system.logs()?)]);

    let tables = tables(scene).await?;
    let a_seller = |text: &String| scene.sellers.iter().any(|seller| text.contains(&seller.id));
    for (what, places) in [("tables", &tables), ("pages", &shown), ("logs", &logs)] {
        assert!(places.values().any(a_seller), "a seller's id was to be seen in the {what}");
    }
    for places in [&tables, &redis_contents(scene).await?, &shown, &logs] {
        assert_clean(places, forbidden);
    }
    Ok(())
}
