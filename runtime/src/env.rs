//! Environment variables: each declared once, with what it means and its unit.
//!
//! `deploy/env.example` and `--help` are made from these declarations. An error names the variable, what is wrong with
//! its value (never a secret's value) and what would be right.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use thiserror::Error;

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// As it is spelled in the environment.
    pub name: &'static str,
    /// What it is for, in a sentence, with the unit of its value.
    pub doc: &'static str,
    /// What holds when it is not set; `None` where it must be set.
    pub default: Option<&'static str>,
    /// A value that is accepted, for `deploy/env.example`.
    pub example: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// The variables that every process reads.
pub const VARIABLES: &[Variable] = &[
    DATABASE_URL,
    DATABASE_CONNECTIONS,
    REDIS_URL,
    REDIS_CA_FILE,
    REDIS_CERT_FILE,
    REDIS_KEY_FILE,
    PREFIX,
    LOG,
    LOG_FORMAT,
    HEALTH_LISTEN,
];

/// Where Postgres is.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    doc: "Postgres, as postgres://user:password@host:port/database (add ?sslmode=verify-full&sslrootcert=FILE outside of one host).",
    default: None,
    example: "postgres://amzigo:change-me@127.0.0.1:5432/amzigo",
    secret: true,
};
/// How many connections a process may hold.
pub const DATABASE_CONNECTIONS: Variable = Variable {
    name: "DATABASE_CONNECTIONS",
    doc: "Most connections to Postgres a process holds at once.",
    default: Some("20"),
    example: "20",
    secret: false,
};
/// Where Redis is.
pub const REDIS_URL: Variable = Variable {
    name: "REDIS_URL",
    doc: "Redis 7 or Valkey: redis://user:password@host:port for one server, redis+cluster://user:password@host:port,host:port for a Redis Cluster, redis+sentinel://user:password@host:port,host:port/service for the primary that Sentinels watch (?sentinel_username=…&sentinel_password=… if they want a login); rediss for TLS. See docs/REDIS.md.",
    default: None,
    example: "redis://127.0.0.1:6379",
    secret: true,
};
/// Whom to trust where Redis speaks TLS.
pub const REDIS_CA_FILE: Variable = Variable {
    name: "REDIS_CA_FILE",
    doc: "Certificates (PEM) of the authority that signed those of Redis; `system` trusts whom the host trusts.",
    default: Some("system"),
    example: "/etc/amzigo/redis-ca.pem",
    secret: false,
};
/// Who we are where Redis asks for a certificate.
pub const REDIS_CERT_FILE: Variable = Variable {
    name: "REDIS_CERT_FILE",
    doc: "Our own certificate (PEM) for a Redis that asks for one (tls-auth-clients); `none` shows none.",
    default: Some("none"),
    example: "/etc/amzigo/redis-client.pem",
    secret: false,
};
/// The key to it.
pub const REDIS_KEY_FILE: Variable = Variable {
    name: "REDIS_KEY_FILE",
    doc: "The private key (PEM) of REDIS_CERT_FILE.",
    default: Some("none"),
    example: "/etc/amzigo/redis-client.key",
    secret: false,
};
/// What keeps deployments that share a Redis apart.
pub const PREFIX: Variable = Variable {
    name: "AMZIGO_PREFIX",
    doc: "Prefix of every key in Redis; two deployments on one Redis need two of them.",
    default: Some("amzigo"),
    example: "amzigo",
    secret: false,
};
/// What is logged.
pub const LOG: Variable = Variable {
    name: "AMZIGO_LOG",
    doc: "What to log, as in the filter `info,queue=debug`.",
    default: Some("info"),
    example: "info",
    secret: false,
};
/// How it is logged.
pub const LOG_FORMAT: Variable = Variable {
    name: "AMZIGO_LOG_FORMAT",
    doc: "`json` (one object a line, for production) or `text` (for people).",
    default: Some("json"),
    example: "json",
    secret: false,
};

/// Where a worker or scheduler answers.
pub const HEALTH_LISTEN: Variable = Variable {
    name: "AMZIGO_HEALTH_LISTEN",
    doc: "Address on which a worker or scheduler answers /livez, /readyz and /metrics; port 0 picks a free one.",
    default: Some("127.0.0.1:0"),
    example: "127.0.0.1:9464",
    secret: false,
};

/// Where values come from: the process, or a map in tests.
pub trait Environment: Send + Sync {
    /// The raw value, if set and not empty.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the process' environment")]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

impl Environment for HashMap<&str, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned().filter(|value| !value.is_empty())
    }
}

/// Why a variable could not be used.
#[derive(Debug, Error)]
pub enum EnvError {
    /// It has no default and is not set.
    #[error("{name} is not set: {doc} For example: {name}={example}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it is for.
        doc: &'static str,
        /// What would be right.
        example: &'static str,
    },
    /// Its value does not parse.
    #[error("{name}={shown} is not valid: {why}. {doc} For example: {name}={example}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// The value, or a placeholder for a secret's.
        shown: String,
        /// What the parser said.
        why: String,
        /// What it is for.
        doc: &'static str,
        /// What would be right.
        example: &'static str,
    },
}

impl Variable {
    /// The value, its default, or an error that says how to set it.
    ///
    /// # Errors
    /// [`EnvError::Missing`] when it is not set and has no default.
    pub fn read(&self, environment: &dyn Environment) -> Result<String, EnvError> {
        environment.get(self.name).or_else(|| self.default.map(str::to_owned)).ok_or(EnvError::Missing {
            name: self.name,
            doc: self.doc,
            example: self.example,
        })
    }

    /// The value, parsed.
    ///
    /// # Errors
    /// As [`Variable::read`], and [`EnvError::Invalid`] when it does not parse.
    pub fn parse<T: FromStr<Err: Display>>(&self, environment: &dyn Environment) -> Result<T, EnvError> {
        let raw = self.read(environment)?;
        raw.parse().map_err(|error: T::Err| self.invalid(&raw, error))
    }

    /// The error for a value that a caller found wrong.
    pub fn invalid(&self, raw: &str, why: impl Display) -> EnvError {
        EnvError::Invalid {
            name: self.name,
            shown: if self.secret { "(hidden)".to_owned() } else { raw.to_owned() },
            why: why.to_string(),
            doc: self.doc,
            example: self.example,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named_with_what_would_be_right() {
        let nothing = HashMap::<&str, String>::new();
        let error = DATABASE_URL.read(&nothing).expect_err("it has no default").to_string();
        assert!(error.starts_with("DATABASE_URL is not set"), "{error}");
        assert!(error.contains("postgres://"), "{error}");
    }

    #[test]
    fn a_default_holds_and_an_empty_value_is_no_value() {
        let empty = HashMap::from([("AMZIGO_PREFIX", String::new())]);
        assert_eq!(PREFIX.read(&empty).expect("has a default"), "amzigo");
    }

    #[test]
    fn a_wrong_value_is_shown_but_never_a_secret_one() {
        let wrong = HashMap::from([("DATABASE_CONNECTIONS", "many".to_owned())]);
        let error = DATABASE_CONNECTIONS.parse::<u32>(&wrong).expect_err("not a number").to_string();
        assert!(error.starts_with("DATABASE_CONNECTIONS=many is not valid"), "{error}");

        let error = DATABASE_URL.invalid("postgres://u:hunter2@h/d", "no such scheme").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn every_default_and_example_is_readable() {
        for variable in VARIABLES {
            assert!(variable.doc.ends_with('.'), "{} needs a sentence", variable.name);
            assert!(!variable.example.is_empty(), "{} needs an example", variable.name);
        }
    }
}
