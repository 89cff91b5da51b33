//! A short run of chaos, through its command line: a fixed plan with every kind of target, and a verdict that adds up.

use anyhow::{Context, ensure};
use runtime::env::{Environment as _, ProcessEnvironment};
use serde_json::Value;
use tests::process::{self, Environment};

/// Half a minute in which workers and schedulers are killed and stopped, both servers go, Redis is flushed, and connections
/// are cut.
const SHORT: &str = "--minutes 0.5 --every 1.8 --seed 1 --sellers 12 --orders 120 --rest 150";

fn chaos(arguments: &str) -> anyhow::Result<(bool, String)> {
    // The servers that it starts are looked for on the path.
    let path = ProcessEnvironment.get("PATH").context("PATH is not set")?;
    let environment = Environment::from([("PATH".to_owned(), path)]);
    let output = process::run("chaos", &arguments.split(' ').collect::<Vec<_>>(), &environment, "")?;
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), String::from_utf8(output.stdout)?))
}

#[test]
fn no_work_is_lost_or_done_twice_when_everything_goes_wrong() -> anyhow::Result<()> {
    let (well, said) = chaos(SHORT)?;
    let last: Value = serde_json::from_str(said.lines().last().context("it says a line")?)?;
    ensure!(well, "{last:#}");
    for nothing in ["lost", "finished_twice", "effects_twice", "ended_unasked"] {
        assert_eq!(last[nothing], 0, "{nothing}: {last:#}");
    }
    for something in ["kills", "restarts", "flushes", "cuts", "redis_backs"] {
        assert!(last[something].as_u64() >= Some(1), "{something}: {last:#}");
    }
    assert!(last["jobs"].as_u64() >= Some(40), "work kept coming: {last:#}");
    Ok(())
}

#[test]
fn the_plan_is_told_beforehand_and_the_same_each_time() -> anyhow::Result<()> {
    let arguments = format!("{SHORT} --plan");
    let (well, plan) = chaos(&arguments)?;
    assert!(well);
    for fault in ["kill -9 worker", "kill -9 scheduler", "SIGSTOP", "Redis", "Postgres", "FLUSHALL"] {
        assert!(plan.contains(fault), "{fault}: {plan}");
    }
    assert_eq!(chaos(&arguments)?, (true, plan));
    Ok(())
}
