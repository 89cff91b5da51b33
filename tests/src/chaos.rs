//! Everything goes wrong, and no work is lost: schedulers and workers, as real processes on servers of the run's own, are
//! killed and stopped, their servers are restarted, killed and flushed, and the ways to them are cut and slow, while work
//! keeps coming. Then the system comes to rest, and all sides are compared.
//!
//! The faults follow from a number, to the moment (`plan`); what the processes do in between does not, so a run that found
//! something may have to be repeated. It does not try hosts that vanish, clocks that jump, or full disks.

mod faults;
mod load;
mod plan;
mod stage;
mod verdict;
mod witness;

use std::{io::Write, ops::RangeInclusive, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use runtime::clock::{Clock, SystemClock};
use sandbox::{Fault as AmazonFault, FaultScript, Region, Seed};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use uuid::Uuid;

use self::{
    faults::{Record, Scene},
    load::Load,
    plan::{Cast, Server, Step},
    stage::{Crew, Servers, blocking},
    verdict::{Ending, Verdict},
};
use crate::{
    ledger,
    process::interrupted,
    quiet::start_quiet,
    system::{ConnectedSeller, Plan, System, until},
};

/// Breaks everything for a while, on servers of its own, and checks that no work is lost and none done twice.
///
/// Says on stderr what happens. Prints one line of JSON for each seed; exit code 0 only if `lost`, `finished_twice` and
/// `effects_twice` are 0, all sides agree, and the system came to rest.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  cargo xtask chaos --minutes 2 --seed 7\n  cargo xtask chaos --minutes 1 --seeds 1..10\n  cargo xtask chaos --minutes 2 --seed 7 --plan"
)]
pub struct Options {
    /// How long things go wrong; coming to rest takes longer.
    #[arg(long, default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// What goes wrong when, at whom, for how long: the same number, the same plan.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Several seeds, one run after the other: 1..10 is all ten.
    #[arg(long, value_name = "FIRST..LAST")]
    seeds: Option<Seeds>,
    /// How many sellers.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    sellers: u32,
    /// How many orders there are before the run; others come while it goes on.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    orders: u32,
    /// How many workers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    workers: u8,
    /// How many schedulers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    schedulers: u8,
    /// Seconds from one fault to the next, on the average.
    #[arg(long, default_value_t = EVERY_SECONDS, value_parser = seconds)]
    every: f64,
    /// Longest time for coming to rest, in seconds.
    #[arg(long, default_value_t = 300)]
    rest: u64,
    /// Print the plan, and do nothing.
    #[arg(long)]
    plan: bool,
}

/// The first and the last of several seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ends =
            text.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match ends {
            Some((first, last)) if first <= last => Ok(Self(first..=last)),
            _ => Err("write the first and the last seed, as 1..10".to_owned()),
        }
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    within(text, 0.05, 600.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.2, 600.0)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("it must be a number from {least} to {most}")),
    }
}

impl Options {
    fn seeds(&self) -> RangeInclusive<u64> {
        self.seeds.as_ref().map_or(self.seed..=self.seed, |seeds| seeds.0.clone())
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    fn cast(&self) -> Cast {
        Cast { workers: self.workers.into(), schedulers: self.schedulers.into() }
    }

    fn steps(&self, seed: u64) -> Vec<Step> {
        plan::plan(seed, self.length(), Duration::from_secs_f64(self.every), self.cast())
    }
}

/// From one fault to the next: hard, and work goes on.
const EVERY_SECONDS: f64 = 3.0;
/// How much faster than Amazon's the sandbox's quota refills.
const SPEED: f64 = 600.0;
/// This part of the calls to Amazon is answered late, so that whoever is killed is in mid-job.
const LATE_ANSWERS: f64 = 0.25;
const LATE_MS: u64 = 800;
/// Longest time to stop everything when a run was broken off.
const STOP: Duration = Duration::from_secs(90);
/// How often it is said how far the work is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Runs one seed after the other. True when all came out well; false also when a signal ended them.
///
/// # Errors
/// When something cannot be started, or does not stop.
pub async fn run(options: &Options) -> anyhow::Result<bool> {
    let mut failed = Vec::new();
    for seed in options.seeds() {
        let steps = options.steps(seed);
        if options.plan {
            let lines: Vec<_> = steps.iter().map(|step| line(step.at, &step.fault.to_string())).collect();
            print(&lines.join("\n"))?;
            continue;
        }
        let Some(verdict) = run_seed(options, seed, &steps).await? else { return Ok(false) };
        print(&serde_json::to_string(&verdict)?)?;
        if !verdict.ok {
            say(&format!("seed {seed} failed: {}", verdict.differences.join("; ")));
            failed.push(seed);
        }
    }
    Ok(failed.is_empty())
}

/// The verdict of one run; `None` when a signal ended it.
async fn run_seed(options: &Options, seed: u64, steps: &[Step]) -> anyhow::Result<Option<Verdict>> {
    let folder = PathBuf::from("target/chaos").join(format!("{seed}-{}", Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let mut signal = std::pin::pin!(interrupted());
    say(&format!(
        "seed {seed}: {} faults in {} minutes; logs are in {}",
        steps.len(),
        options.minutes,
        folder.display()
    ));
    let (system, scene, load) = tokio::select! {
        ready = set(options, seed, folder.clone()) => ready?,
        signal = &mut signal => return signal.map(|()| None),
    };
    let scene = Arc::new(scene);
    let outcome = tokio::select! {
        outcome = play(options, seed, steps, &system, &scene, &load) => outcome.map(Some),
        signal = &mut signal => signal.map(|()| None),
    };
    say("stopping everything that was started");
    let ended = tokio::time::timeout(STOP, stage::end(&scene.servers, &scene.crew)).await;
    let mut outcome = outcome?;
    if let Some(verdict) = &mut outcome
        && let Err(error) = ended.context("it did not stop").and_then(|ended| ended)
    {
        verdict.ok = false;
        verdict.differences.push(format!("{error:#}"));
    }
    scene.witness.close().await;
    // The servers end with the last who holds them.
    blocking(move || {
        drop((system, load, scene));
        Ok(())
    })
    .await?;
    if outcome.as_ref().is_none_or(|verdict| verdict.ok) {
        std::fs::remove_dir_all(&folder).context("removing the logs")?;
    }
    Ok(outcome)
}

/// Servers, a migrated database under watch, an Amazon with orders, sellers that are connected. Nobody works yet.
async fn set(options: &Options, seed: u64, folder: PathBuf) -> anyhow::Result<(System, Scene, Arc<Load>)> {
    let servers = Servers::start(folder.clone()).await?;
    let database_url = servers.url(Server::Postgres)?;
    let mut system = System::start(Plan {
        database_url: database_url.clone(),
        redis_url: servers.url(Server::Redis)?,
        folder: folder.clone(),
        speed: SPEED,
    })
    .await?;
    // Fewer slots than sellers, so that jobs wait as well.
    system.set("AMZIGO_WORKER_SLOTS", "sync=6");
    let orders = Seed {
        sellers: usize::try_from(options.sellers)?,
        orders: usize::try_from(options.orders)?,
        seed,
        region: Region::default(),
    };
    let seeded = system.amazon.seed(&orders).await?;
    let (system, sellers) = blocking(move || {
        system.amzigo(&["migrate", "--json"])?;
        let sellers: Vec<ConnectedSeller> = system.connect(&seeded)?;
        Ok((system, sellers))
    })
    .await?;
    let mut late = FaultScript::new(None, AmazonFault::Slow, u32::MAX);
    late.probability = LATE_ANSWERS;
    late.delay_ms = LATE_MS;
    system.amazon.script_fault(&late).await?;

    let witness = PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy(servers.direct_url(Server::Postgres))?;
    start_quiet(&witness).await?;
    witness::watch(&witness).await?;
    let load = Load::new(&database_url, system.amazon.clone(), system.environment().clone(), sellers)?;
    let scene = Scene {
        servers,
        crew: Crew::new(options.cast(), system.environment().clone(), folder),
        witness,
        prefix: system.prefix().to_owned(),
        record: Record::default(),
    };
    Ok((system, scene, Arc::new(load)))
}

async fn play(
    options: &Options,
    seed: u64,
    steps: &[Step],
    system: &System,
    scene: &Arc<Scene>,
    load: &Arc<Load>,
) -> anyhow::Result<Verdict> {
    scene.crew.start_all().await;
    let (started, started_at) = (Instant::now(), SystemClock.now());
    let mut beside = JoinSet::new();
    let watched = Arc::clone(scene);
    beside.spawn(async move { watched.crew.mind().await });
    beside.spawn(tell(scene.witness.clone(), started));

    let (stop, stopped) = watch::channel(false);
    let coming = Arc::clone(load);
    let mut work = JoinSet::new();
    work.spawn(async move { coming.keep_coming(stopped).await });
    let mut happening = JoinSet::new();
    for step in steps {
        tokio::time::sleep_until(started + step.at).await;
        say_at(started.elapsed(), &step.fault.to_string());
        happening.spawn(faults::happen(Arc::clone(scene), *step));
    }
    tokio::time::sleep_until(started + options.length()).await;

    say_at(started.elapsed(), "no more faults; the last work comes in");
    let calm = Instant::now();
    let limit = Duration::from_secs(options.rest);
    stop.send_replace(true);
    let rest = tokio::time::timeout(limit, async {
        ended_well(&mut happening).await.context("a fault could not be carried out")?;
        ended_well(&mut work).await.context("the work")?;
        load.one_of_each().await?;
        come_to_rest(&scene.witness, calm + limit).await
    })
    .await;
    let mut rest = match rest {
        Ok(rested) => rested?.then(|| calm.elapsed()),
        Err(_) => None,
    };
    let dead_letters = u64::try_from(ledger::jobs(&scene.witness).await?.dead)?;
    if dead_letters > 0 {
        for (error, count) in dead_letters_by_error(&scene.witness).await? {
            say_at(started.elapsed(), &format!("{count} dead letters are requeued that say: {error}"));
        }
        requeue_dead(system)?;
        if !come_to_rest(&scene.witness, Instant::now() + limit).await? {
            rest = None;
        }
    }
    let ending = Ending {
        seed,
        minutes: options.minutes,
        noted: scene.record.read(),
        rest,
        dead_letters,
        ended_unasked: scene.crew.ended_unasked(),
        started_at,
        seconds: started.elapsed().as_secs_f64(),
        load,
        witness: &scene.witness,
        amazon: &system.amazon,
    };
    ending.judge().await
}

async fn ended_well(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Waits until no job is unfinished. False when that takes too long.
async fn come_to_rest(witness: &PgPool, end: Instant) -> anyhow::Result<bool> {
    let limit = end.saturating_duration_since(Instant::now());
    let rested =
        until(limit, "no job is unfinished", async || Ok(ledger::jobs(witness).await?.unfinished == 0));
    Ok(rested.await.is_ok())
}

async fn dead_letters_by_error(witness: &PgPool) -> anyhow::Result<Vec<(String, i64)>> {
    let errors =
        "select coalesce(last_error, ''), count(*) from jobs where state = 'dead' group by 1 order by 2 desc";
    Ok(sqlx::query_as(errors).fetch_all(witness).await?)
}

/// As a person would when the trouble is over.
fn requeue_dead(system: &System) -> anyhow::Result<()> {
    let words = ["dead", "requeue", "--all", "--reason", "the trouble is over", "--json"];
    let output = system.try_amzigo(&words, "")?;
    ensure!(output.status.success(), "dead requeue failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Says now and then how far the work is.
async fn tell(witness: PgPool, started: Instant) {
    loop {
        tokio::time::sleep(SAY_EVERY).await;
        // Postgres may be away.
        if let Ok(jobs) = ledger::jobs(&witness).await {
            let how_far =
                format!("jobs: {} unfinished, {} done, {} dead", jobs.unfinished, jobs.done, jobs.dead);
            say_at(started.elapsed(), &how_far);
        }
    }
}

/// Whoever has read enough, as `head` does, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("printing"),
    }
}

fn line(at: Duration, what: &str) -> String {
    format!("{:>6.1}s {what}", at.as_secs_f64())
}

fn say_at(at: Duration, what: &str) {
    say(&line(at, what));
}

fn say(what: &str) {
    eprintln!("chaos: {what}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chaos::plan::Sort;

    #[test]
    fn seeds_are_a_first_and_a_last_one() {
        assert_eq!("3..3".parse(), Ok(Seeds(3..=3)));
        assert_eq!("1..10".parse(), Ok(Seeds(1..=10)));
        for wrong in ["", "3", "3..", "5..1", "a..b"] {
            wrong.parse::<Seeds>().expect_err(wrong);
        }
    }

    #[test]
    fn every_sort_of_fault_is_in_an_ordinary_run() {
        let options = Options::parse_from(["chaos"]);
        for seed in 0..500 {
            let sorts: BTreeSet<_> = options.steps(seed).into_iter().map(|step| step.sort).collect();
            assert_eq!(sorts, Sort::ALL.into(), "seed {seed}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
