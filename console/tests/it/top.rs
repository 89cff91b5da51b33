//! `amzigo top`: one frame for programs and pipes, and a terminal that is given back.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use runtime::testing::TestRedis;
use serde_json::json;

use crate::amzigo::{Amzigo, answer};

#[tokio::test]
async fn one_frame_says_what_is_wrong_first_and_counts_the_last_minute() {
    let amzigo = Amzigo::new().await;
    let redis = TestRedis::new().await;
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let now = "update jobs set finished_at = now() where id = $1";
    sqlx::query(now).bind(dead.0).execute(&amzigo.database.pool).await.expect("the row fits");
    let frame = |arguments: &[&str]| {
        let mut command = amzigo.command(arguments);
        command.env("REDIS_URL", &redis.url).env("AMZIGO_PREFIX", redis.redis.prefix());
        let answer = answer(command.output().expect("the binary starts"));
        assert_eq!(answer.code, 0, "{}", answer.err);
        answer
    };

    let said = frame(&["top", "--json"]).json();
    let problems = said["problems"].as_array().expect("it lists problems");
    assert!(problems[0].as_str().expect("words").starts_with("No scheduler leads"), "{said:#}");
    let sync =
        said["queues"].as_array().and_then(|queues| queues.iter().find(|queue| queue["queue"] == "sync"));
    let sync = sync.expect("the queue is there");
    assert_eq!(
        (&sync["dead"], &sync["died_per_minute"], &sync["workers"]),
        (&json!(1), &json!(1), &json!(0))
    );

    let text = frame(&["top"]).out;
    assert!(
        text.contains("✗ No scheduler leads") && !text.contains('\u{1b}'),
        "no colours in a pipe: {text}"
    );
    assert_eq!(text.matches("QUEUE").count(), 1, "one frame: {text}");
}

/// Ends with the test, and with it the terminal.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// On a terminal of its own, which `script` makes.
#[tokio::test]
async fn a_terminal_is_drawn_on_and_given_back() {
    let amzigo = Amzigo::new().await;
    let redis = TestRedis::new().await;
    let mut command = Command::new("script");
    let top = format!("{} top --every 1", env!("CARGO_BIN_EXE_amzigo"));
    command.args(["--quiet", "--return", "--command", &top, "/dev/null"]);
    command.env("DATABASE_URL", &amzigo.database.url).env("REDIS_URL", &redis.url);
    command.env("AMZIGO_PREFIX", redis.redis.prefix()).env("NO_COLOR", "1");
    let mut script = Script(
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program `script` (package bsdutils or util-linux) makes a terminal"),
    );
    let mut keys = script.0.stdin.take().expect("it is piped");
    let mut out = script.0.stdout.take().expect("it is piped");
    let (sender, drawn) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut some = [0_u8; 4096];
        while let Ok(count @ 1..) = out.read(&mut some) {
            if sender.send(String::from_utf8_lossy(&some[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut screen = String::new();
    let mut wait_for = |what: &str| {
        let end = Instant::now() + Duration::from_secs(30);
        while !screen.contains(what) {
            assert!(Instant::now() < end, "`{what}` was not drawn: {screen:?}");
            if let Ok(more) = drawn.recv_timeout(Duration::from_millis(100)) {
                screen.push_str(&more);
            }
        }
    };
    wait_for("\u{1b}[?1049h");
    wait_for("No scheduler leads");
    keys.write_all(b"p").expect("the terminal takes keys");
    wait_for("PAUSED");
    keys.write_all(b"q").expect("the terminal takes keys");
    wait_for("\u{1b}[?1049l");
    let ended = script.0.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
    assert!(!screen.contains("\u{1b}[38;5;9m"), "NO_COLOR leaves colours out");
}
