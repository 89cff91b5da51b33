//! A short measurement of how much of Amazon's usage plans is used, through its command line.

use anyhow::{Context, ensure};
use runtime::env::{DATABASE_URL, Environment as _, ProcessEnvironment, REDIS_URL};
use serde_json::Value;
use tests::process::{self, Environment};

/// Six minutes of quota in 36 seconds: a call may be late by 100 ms before it meets an empty bucket.
const SHORT: &str = "--hours 0.1 --speed 10 --orders 2000";

#[test]
fn four_workers_use_up_the_plans_and_no_call_is_one_too_many() -> anyhow::Result<()> {
    let mut environment = Environment::new();
    for variable in [DATABASE_URL, REDIS_URL] {
        let value =
            ProcessEnvironment.get(variable.name).with_context(|| format!("{} is not set", variable.name))?;
        environment.insert(variable.name.to_owned(), value);
    }
    let output = process::run("usage", &SHORT.split(' ').collect::<Vec<_>>(), &environment, "")?;
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).context("it prints a line of JSON")?;
    ensure!(said["duplicate_requests"] == 0, "{said:#}");
    for contended in ["searchOrders", "getSolicitationActionsForOrder"] {
        ensure!(said["operations"][contended]["contended"] == true, "{contended}: {said:#}");
    }
    if said["host_kept_up"] == false {
        eprintln!("NOT CHECKED: this host had no processor left to make the calls in time: {said:#}");
        return Ok(());
    }
    ensure!(output.status.success() && said["ok"] == true && said["throttled"] == 0, "{said:#}");
    Ok(())
}
