//! The services of a checkout: shared by the commands that need them, kept when asked for by name, and never taken for somebody else's.
//!
//! Real Redis and Postgres processes; each test stands for a checkout of its own.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::fs;
use std::path::{Path, PathBuf};

use xtask::process::Interrupts;
use xtask::services::{Given, Service, Services};

/// A new folder for the services of a test's own checkout.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    folder
}

fn services(folder: &Path, given: Given) -> Services {
    Services::new(folder, folder, given, |line| println!("{line}"), Interrupts::default())
}

/// The services that run.
fn running(services: &Services) -> Vec<Service> {
    let status = services.status().expect("the status can be read");
    status.into_iter().filter(|(_, runs, _)| *runs).map(|(service, _, _)| service).collect()
}

#[test]
fn the_last_command_out_stops_them() {
    let folder = folder("services_lease");
    let (one, two) = (services(&folder, Given::default()), services(&folder, Given::default()));
    let first = one.lease().expect("the services start");
    let second = two.lease().expect("the services are shared");
    assert_eq!(first.urls(), second.urls());

    first.give_back().expect("given back");
    assert_eq!(running(&one), Service::ALL, "the second command still needs them");
    second.give_back().expect("given back");
    assert_eq!(running(&one), []);
}

#[test]
fn services_started_by_name_stay_until_stopped_by_name() {
    let folder = folder("services_start");
    let services = services(&folder, Given::default());
    let urls = services.start().expect("the services start");
    assert_eq!(services.start().expect("starting twice is starting once"), urls);

    let lease = services.lease().expect("a command uses what runs");
    assert_eq!(lease.urls(), &urls);
    lease.give_back().expect("given back");
    assert_eq!(running(&services), Service::ALL, "they were asked for by name");
    assert_eq!(services.urls().expect("both run"), urls);

    let lease = services.lease().expect("a command uses what runs");
    assert!(!services.stop().expect("stopping is put off"), "a command uses them");
    assert_eq!(running(&services), Service::ALL);
    lease.give_back().expect("given back");
    assert_eq!(running(&services), []);
    assert!(services.urls().is_err(), "nothing runs");
}

#[test]
fn what_is_given_is_not_started() {
    let folder = folder("services_given");
    let given = Given { redis: None, postgres: Some("postgres://me@db.internal/dev".to_owned()) };
    let services = services(&folder, given);
    let lease = services.lease().expect("Redis starts");
    assert_eq!(lease.urls().postgres, "postgres://me@db.internal/dev");
    assert!(lease.urls().redis.starts_with("redis://127.0.0.1:"), "{}", lease.urls().redis);
    assert!(!folder.join("postgres").exists(), "nothing is started for what is given");
    lease.give_back().expect("given back");
}

#[test]
fn a_pid_file_that_names_a_stranger_is_seen_through() {
    let folder = folder("services_stale");
    let services = services(&folder, Given::default());
    let urls = services.start().expect("the services start");
    assert!(services.stop().expect("the services stop"));

    // After a power cut: pid files that were not removed, whose numbers a living process has got since.
    let stranger = std::process::id();
    fs::write(folder.join("redis/redis.pid"), format!("{stranger}\n")).expect("written");
    let cluster = fs::canonicalize(folder.join("postgres")).expect("the cluster is there").join("data");
    fs::write(cluster.join("postmaster.pid"), format!("{stranger}\n{}\n1700000000\n", cluster.display()))
        .expect("written");

    assert_eq!(running(&services), []);
    assert_eq!(
        services.start().expect("they start all the same"),
        urls,
        "on the ports and with the password of before"
    );
    assert_eq!(running(&services), Service::ALL);
    assert!(services.stop().expect("the services stop"));
}
