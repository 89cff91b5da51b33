//! The servers that tests get of their own: they come back after a crash with their data and port, and end with their owner.
//!
//! Real Redis and Postgres processes; each test has a folder of its own.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use xtask::process::{is_alive, on_path, output, wait_until};
use xtask::services::{PostgresServer, RedisServer, postgres_program};

const SOON: Duration = Duration::from_secs(10);

/// A folder of the test's own, new each time.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    folder
}

/// What Redis answers to one command, up to the end of the first line.
fn ask_redis(server: &RedisServer, command: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("the server listens");
    stream.set_read_timeout(Some(SOON)).expect("a time limit can be set");
    writeln!(stream, "{command}\r").expect("the server reads");
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().expect("the server answers").expect("in text");
    if first.starts_with('$') { lines.next().expect("a value follows").expect("in text") } else { first }
}

/// What psql prints for one statement.
fn ask_postgres(server: &PostgresServer, statement: &str) -> String {
    let psql = postgres_program("psql").or_else(|| on_path("psql")).expect("psql is installed with Postgres");
    output(Command::new(psql).args(["-X", "-A", "-t", "-q", "-d", &server.url(), "-c", statement]))
        .expect("the statement succeeds")
}

#[test]
fn redis_keeps_its_data_and_port_through_a_stop() {
    let mut server = RedisServer::start_in(&folder("redis_stop")).expect("Redis starts");
    let (url, pid) = (server.url(), server.pid());
    assert_eq!(ask_redis(&server, "SET seller A1"), "+OK");

    server.stop().expect("it stops");
    assert_eq!(server.pid(), None);
    assert!(
        TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_err(),
        "nobody listens while it is down"
    );

    server.start_again().expect("it starts again");
    assert_eq!(ask_redis(&server, "GET seller"), "A1");
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
}

#[test]
fn redis_comes_back_after_a_crash() {
    let options = ["--appendfsync", "always"];
    let mut server = RedisServer::start_with(&folder("redis_crash"), &options).expect("Redis starts");
    assert_eq!(ask_redis(&server, "SET seller A1"), "+OK");
    server.kill_hard().expect("it can be killed");
    server.start_again().expect("it starts again");
    assert_eq!(ask_redis(&server, "GET seller"), "A1", "the append-only file was synced with every write");
    assert!(
        ask_redis(&server, "INFO memory").starts_with("# Memory"),
        "the server answers other commands too"
    );
}

#[test]
fn postgres_keeps_its_data_and_port_through_a_crash_and_a_stop() {
    let mut server = PostgresServer::start_in(&folder("postgres_crash")).expect("Postgres starts");
    let url = server.url();
    ask_postgres(&server, "create table sellers (id text); insert into sellers values ('A1')");

    server.kill_hard().expect("it can be killed");
    assert_eq!(server.pid(), None);
    server.start_again().expect("it starts again after a crash");
    assert_eq!(ask_postgres(&server, "select id from sellers"), "A1");

    server.stop().expect("it stops");
    server.start_again().expect("it starts again after a stop");
    assert_eq!(ask_postgres(&server, "select id from sellers"), "A1");
    assert_eq!(server.url(), url);
}

#[test]
fn postgres_takes_settings_of_the_tests_own() {
    let server =
        PostgresServer::start_with(&folder("postgres_settings"), &["fsync=off"]).expect("Postgres starts");
    assert_eq!(ask_postgres(&server, "show fsync"), "off");
    assert_eq!(ask_postgres(&server, "select current_user || ' ' || current_database()"), "amzigo amzigo");
    assert_eq!(ask_postgres(&server, "show server_encoding"), "UTF8");
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let error = RedisServer::start_with(&folder("redis_bad"), &["--no-such-option", "1"])
        .expect_err("Redis refuses the option");
    let message = error.to_string();
    assert!(message.contains("no-such-option") && message.contains("redis.log"), "{message}");
}

#[test]
fn dropped_servers_are_gone() {
    let redis = RedisServer::start_in(&folder("redis_drop")).expect("Redis starts");
    let postgres = PostgresServer::start_in(&folder("postgres_drop")).expect("Postgres starts");
    let pids = [redis.pid().expect("Redis runs"), postgres.pid().expect("Postgres runs")];
    drop((redis, postgres));
    for pid in pids {
        assert!(!is_alive(pid), "process {pid} is still there");
    }
}

/// The owner that the next test kills: starts two servers, says where they are, and waits for its end.
#[test]
#[ignore = "is started by killed_owners_take_their_servers_along"]
fn an_owner_to_be_killed() {
    let redis = RedisServer::start_in(&folder("redis_owner")).expect("Redis starts");
    let postgres = PostgresServer::start_in(&folder("postgres_owner")).expect("Postgres starts");
    println!("\nports {} {}", redis.port(), postgres.port());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the end of the input is read");
}

#[test]
fn killed_owners_take_their_servers_along() {
    let mut owner = Command::new(env::current_exe().expect("this program has a path"))
        .args(["--exact", "an_owner_to_be_killed", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the owner starts");
    let mut lines =
        BufReader::new(owner.stdout.take().expect("its output is piped")).lines().map_while(Result::ok);
    let ports = lines
        .find_map(|line| line.strip_prefix("ports ").map(str::to_owned))
        .expect("it says where its servers are");
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().expect("a port is a number")).collect();
    let listens = |port: &u16| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
    assert!(ports.iter().all(listens), "both servers listen");

    owner.kill().expect("the owner can be killed");
    owner.wait().expect("the owner ends");
    assert!(wait_until(SOON, || !ports.iter().any(listens)), "a server outlives its owner");
}
