//! Installs missing server programs, and says what to do by hand where that cannot be.

use super::Service;
use crate::error::Result;
use crate::packages::{self, Package};

/// Installs the programs of these services.
pub(super) fn install(missing: &[Service], say: fn(&str)) -> Result<()> {
    let wanted: Vec<_> = missing
        .iter()
        .map(|service| match service {
            Service::Redis => Package::Redis,
            Service::Postgres => Package::Postgres,
        })
        .collect();
    let because = "not on this machine, and no Docker engine answers (the packages' own daemons stay off)";
    packages::install(&wanted, because, say, |why| advice(missing, why))
}

/// What to do by hand.
pub(super) fn advice(missing: &[Service], why: &str) -> String {
    let mut advice = format!("{why}. Then one of these is needed:\n");
    for service in missing {
        let (program, variable, example) = match service {
            Service::Redis => (
                "Redis 7 or Valkey (the program redis-server or valkey-server)",
                "REDIS_URL",
                "redis://127.0.0.1:6379/0",
            ),
            Service::Postgres => (
                "Postgres 15 or newer (the programs postgres and initdb)",
                "DATABASE_URL",
                "postgres://user:password@127.0.0.1/database",
            ),
        };
        advice.push_str(&format!("  install {program}, or set {variable}={example}\n"));
    }
    advice.push_str("  or start a Docker engine that has `docker compose`");
    advice
}
