//! A signal reaches a command that runs exactly once, and what a command leaves behind does not stay.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use xtask::process::{Forward, Interrupts, run, signal, wait_until, works_in};

const SOON: Duration = Duration::from_secs(10);

/// Counts its signals, leaves a process behind, and ends after the first.
const COMMAND: &str = r#"
count=0
trap 'count=$((count + 1))' TERM INT
tail -f /dev/null &
echo "left behind $!"
while [ "$count" = 0 ]; do wait; done
echo "signals $count"
exit 7
"#;

/// What the next test signals: runs a command as xtask runs the demo.
#[test]
#[ignore = "is started by a_signal_is_passed_on_once"]
fn runs_a_command() {
    let interrupts = Interrupts::listen().expect("signals can be heard");
    println!();
    let status = run(Command::new("sh").args(["-c", COMMAND]), &interrupts, Forward::ToLeader)
        .expect("the command runs");
    println!("code {:?} interrupted {}", status.code(), interrupts.check().is_err());
}

#[test]
fn a_signal_is_passed_on_once() {
    let mut runner = Command::new(env::current_exe().expect("this program has a path"))
        .args(["--exact", "runs_a_command", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut lines =
        BufReader::new(runner.stdout.take().expect("its output is piped")).lines().map_while(Result::ok);
    let left_behind: u32 = lines
        .find_map(|line| line.strip_prefix("left behind ").map(str::to_owned))
        .expect("the command says what it leaves behind")
        .parse()
        .expect("a process id");

    assert!(signal(&runner.id().to_string(), "TERM"), "the runner is there");
    let said: Vec<String> =
        lines.filter(|line| line.starts_with("signals ") || line.starts_with("code ")).collect();
    assert_eq!(said, ["signals 1", "code Some(7) interrupted true"]);
    assert!(runner.wait().expect("the runner ends").success());
    // Not "does not exist": an init that is slow to wait for orphans keeps their numbers for a while.
    let here = env::current_dir().expect("there is a working directory");
    assert!(wait_until(SOON, || !works_in(left_behind, &here)), "process {left_behind} stays behind");
}
