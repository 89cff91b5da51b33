//! What the workspace really builds with: one TLS, and one of each client.

use std::{collections::BTreeSet, process::Command};

use super::{refuse, root};

/// A second TLS library, or one that needs a C library of the host.
const NEVER: [&str; 4] = ["ring", "openssl-sys", "native-tls", "async-std"];
/// Two versions of these would be two pools, two sets of time-outs, two TLS set-ups.
const ONCE: [&str; 5] = ["redis", "sqlx", "reqwest", "rustls", "tokio"];

#[test]
fn one_tls_and_one_of_each_client() {
    // Offline and from the lock file: only what is built here is looked at, and nothing is downloaded.
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--all-features",
            "--offline",
            "--locked",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    refuse(
        &faults(&tree),
        "`cargo tree --invert NAME` says who asks for it; turn the feature off, or take another crate.",
    );
}

fn faults(tree: &str) -> Vec<String> {
    let resolved: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    let never =
        resolved.iter().filter(|(name, _)| NEVER.contains(name)).map(|(name, _)| format!("{name} is built"));
    let twice = ONCE.into_iter().filter_map(|name| {
        let versions: Vec<_> =
            resolved.iter().filter(|(other, _)| *other == name).map(|(_, version)| *version).collect();
        (versions.len() != 1)
            .then(|| format!("{name} is built in {} versions: {}", versions.len(), versions.join(", ")))
    });
    never.chain(twice).collect()
}

#[test]
fn a_second_client_is_found() {
    let tree = "redis v1.8.1\nsqlx v0.9.0\nsqlx v0.9.0 (*)\nreqwest v0.13.5\nreqwest v0.12.1\nrustls v0.23.1\ntokio v1.54.0\nring v0.17.0\n";
    assert_eq!(faults(tree), ["ring is built", "reqwest is built in 2 versions: v0.12.1, v0.13.5"]);
}
