//! The console as people use it: a headless Chromium, driven by `tests/browser/console.mjs`, on a stage of real processes.
//!
//! The program in node does what people do and judges what it sees: every page that somebody can come to, light and dark, at a
//! desk and on a phone. Its pictures go to `target/screens/`. What only the stage can do it asks for, a line at a time.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};
use xtask::tools::Tool;

use crate::{
    scene::{Scene, WORK},
    tools::found,
};

/// Longest time for all that people do.
const LIMIT: Duration = Duration::from_secs(480);
/// What the navigation must lead to, whoever looks.
const PAGES: [&str; 15] = [
    "Overview",
    "Queues",
    "Kinds",
    "Workers",
    "Jobs",
    "Dead letters",
    "Schedules",
    "Deadlines",
    "Sellers",
    "Amazon",
    "Bulk",
    "Reliability",
    "Audit",
    "Keys",
    "People",
];
/// Fewer pictures than this would mean that pages were left out.
const LEAST_SCREENS: usize = 90;

/// A line of the program's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Say(Seen),
    #[serde(untagged)]
    Ask(Ask),
}

/// What the stage is asked to do.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Ask {
    /// Invite somebody by the command line.
    Invite { name: String, roles: Vec<String> },
    /// Let a job die that cannot be read.
    Dead,
    /// Make its payload one that can.
    Mend { job: String },
    /// Let it be long ago that somebody proved who they are.
    ForgetStepUp { name: String },
}

/// What the program has seen.
#[derive(Debug, Default, Deserialize)]
struct Seen {
    pages: Vec<String>,
    screens: Vec<String>,
    violations: Vec<String>,
    troubles: Vec<String>,
}

#[tokio::test]
async fn people_sign_in_and_mend_what_is_broken() -> anyhow::Result<()> {
    let wanted = [Tool::Chromium, Tool::Node, Tool::NodePackages];
    let Some([chromium, node, packages]) = found("the console in a browser", wanted) else { return Ok(()) };
    let mut scene = Scene::with("browser", 3, 60).await?;
    let scheduler = scene.system.scheduler()?;
    let worker = scene.system.worker()?;
    let console = scene.system.console("127.0.0.1:0")?;
    let origin = console.address("open")?.to_owned();
    something_to_see(&scene).await?;

    let screens = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screens");
    if screens.exists() {
        std::fs::remove_dir_all(&screens).with_context(|| format!("emptying {}", screens.display()))?;
    }
    let mut people = Command::new(node);
    people
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/console.mjs"))
        .env("CONSOLE_ORIGIN", &origin)
        .env("API_ORIGIN", console.address("api")?)
        .env("SCREENS", &screens)
        .env(Tool::Chromium.variable(), chromium)
        .env(Tool::NodePackages.variable(), packages);
    let seen = tokio::time::timeout(LIMIT, play(people, &scene, &origin))
        .await
        .with_context(|| format!("people were not done within {} s", LIMIT.as_secs()))??;

    ensure!(seen.troubles.is_empty(), "pages are in trouble:\n  {}", seen.troubles.join("\n  "));
    ensure!(
        seen.violations.is_empty(),
        "pages are hard to use for some people:\n  {}",
        seen.violations.join("\n  ")
    );
    for page in PAGES {
        ensure!(seen.pages.iter().any(|name| name == page), "nobody came to {page}: {:?}", seen.pages);
    }
    let lost: Vec<PathBuf> = seen
        .screens
        .iter()
        .map(|name| screens.join(format!("{name}.png")))
        .filter(|picture| !picture.is_file())
        .collect();
    ensure!(
        lost.is_empty() && seen.screens.len() >= LEAST_SCREENS,
        "{} pictures, lost: {lost:?}",
        seen.screens.len()
    );
    let reasons: Vec<String> =
        sqlx::query_scalar("select reason from audit_log order by id").fetch_all(&scene.system.pool).await?;
    for reason in ["its payload is mended", "the new release can read them", "for the platform's orders"] {
        ensure!(reasons.iter().any(|said| said == reason), "the audit log lacks `{reason}`: {reasons:?}");
    }
    scene.end([console, worker, scheduler]).await
}

/// Work that was done, waits and failed, so that pages have something to show.
async fn something_to_see(scene: &Scene) -> anyhow::Result<()> {
    scene.sync_all()?;
    let seller = scene.sellers[0].id.clone();
    scene.system.until_quiet(WORK).await?;
    scene.system.amzigo(&["enqueue", "sync_inventory", "--seller", &seller, "--delay", "2h", "--json"])?;
    let deadline =
        ["enqueue", "sync_listings", "--seller", &seller, "--delay", "3h", "--deadline", "5h", "--json"];
    scene.system.amzigo(&deadline)?;
    scene.system.amzigo(&["pause", "mail", "--reason", "the provider is being changed", "--json"])?;
    for _ in 0..2 {
        let job = scene.insert("sync_orders", &json!({})).await?;
        scene.until_job(&job, "dead").await?;
    }
    Ok(())
}

/// Lets the program play, and does what it asks for.
async fn play(mut program: Command, scene: &Scene, origin: &str) -> anyhow::Result<Seen> {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting node")?;
    let mut answers = child.stdin.take().context("it is piped")?;
    let mut lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
    let complaints = child.stderr.take().context("it is piped")?;
    let complaints = tokio::spawn(async move {
        let (mut lines, mut all) = (BufReader::new(complaints).lines(), String::new());
        while let Ok(Some(line)) = lines.next_line().await {
            all.push_str(&line);
            all.push('\n');
        }
        all
    });
    let mut seen = Seen::default();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).with_context(|| format!("the program says `{line}`"))? {
            Line::Say(said) => seen = said,
            Line::Ask(ask) => {
                let mut answer = done(ask, scene, origin).await?.to_string();
                answer.push('\n');
                answers.write_all(answer.as_bytes()).await?;
            }
        }
    }
    let ended = child.wait().await?;
    if !ended.success() {
        let found = seen.troubles.iter().chain(&seen.violations).cloned().collect::<Vec<_>>().join("\n  ");
        bail!("the program ended with {ended}:\n{}\nbefore it found:\n  {found}", complaints.await?);
    }
    Ok(seen)
}

async fn done(ask: Ask, scene: &Scene, origin: &str) -> anyhow::Result<Value> {
    match ask {
        Ask::Invite { name, roles } => {
            let mut arguments =
                vec!["staff", "invite", &name, "--origin", origin, "--reason", "joins us", "--json"];
            for role in &roles {
                arguments.extend(["--role", role]);
            }
            scene.system.amzigo(&arguments)
        }
        Ask::Dead => {
            let job = scene.insert("sync_orders", &json!({})).await?;
            scene.until_job(&job, "dead").await?;
            Ok(json!({ "job": job }))
        }
        Ask::Mend { job } => {
            sqlx::query("update jobs set payload = $2 where id = $1::uuid")
                .bind(&job)
                .bind(json!({ "seller": scene.sellers[0].id }))
                .execute(&scene.system.pool)
                .await?;
            Ok(json!({}))
        }
        Ask::ForgetStepUp { name } => {
            let ago = "update sessions set stepped_up_at = stepped_up_at - interval '11 minutes'
                where staff_id = (select id from staff where name = $1)";
            sqlx::query(ago).bind(&name).execute(&scene.system.pool).await?;
            Ok(json!({}))
        }
    }
}
