//! The binary: says where it is, serves, and goes when told to.

use crate::client::{http, read};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Ends the process even when an assertion fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, which is what the test wants.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(arguments: &[&str]) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    let stdout = child.stdout.take().expect("stdout is piped");
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
    let announced: Value = serde_json::from_str(&line).expect("the line is JSON");
    (running, format!("http://{}", announced["address"].as_str().expect("it names its address")))
}

#[tokio::test]
async fn it_announces_its_address_serves_and_stops_at_sigterm() {
    let (mut running, base_url) = start(&["--speed", "600"]);
    let seed = http().post(format!("{base_url}/control/seed")).json(&json!({"sellers": 1, "orders": 1}));
    let seeded = read(seed).await.expect("it serves").json();
    let seller = &seeded["sellers"][0];
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", seller["refresh_token"].as_str().unwrap()),
        ("client_id", seeded["client_id"].as_str().unwrap()),
        ("client_secret", seeded["client_secret"].as_str().unwrap()),
    ];
    let signed_in = read(http().post(format!("{base_url}/auth/o2/token")).form(&form)).await.unwrap();
    assert_eq!(signed_in.json()["expires_in"], 6, "the speed arrived");

    let kill = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status();
    assert!(kill.expect("there is a kill command").success());
    assert!(running.0.wait().expect("it can be waited for").success());
}

#[test]
fn it_says_what_is_wrong_with_an_address_that_is_not_loopback() {
    let refused =
        Command::new(env!("CARGO_BIN_EXE_sandbox")).args(["--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("listens on loopback only"), "{error}");
}
