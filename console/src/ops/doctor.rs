//! Looks at everything that the system stands on, and says what to do about what is wrong.
//!
//! It changes nothing but a budget of its own in Redis, by which it tries the rights, and goes on where a part does not answer: that
//! is when people ask. It sees what this host sees, with this host's settings; what lies in the memory of other processes (circuits
//! to Amazon, loops) is judged by what it leaves in Postgres and Redis.

mod postgres;
mod redis;
mod settings;
mod work;

use runtime::env::Environment;
use serde::Serialize;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Works, and will not for long, or not as it should.
    Warn,
    /// Does not work.
    Fail,
    /// Could not be looked at, or there is nothing to look at.
    Skip,
}

/// One line of the doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, as in `redis memory`.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub says: String,
    /// What to do about it; there for everything that is not well.
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, says: says.into(), advice: None }
    }

    fn warn(name: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, says: says.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, says: says.into(), advice: Some(advice.into()) }
    }

    fn skip(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Skip, says: says.into(), advice: None }
    }

    /// What an operation that should have worked failed with.
    fn failed(name: &'static str, error: &(dyn std::error::Error + 'static), advice: &str) -> Self {
        Self::fail(name, queue::failure::chain(error), advice)
    }
}

/// Looks at everything, with the settings of `environment`.
pub async fn examine(environment: &dyn Environment) -> Vec<Check> {
    let mut checks = Vec::new();
    let redis = redis::examine(environment, &mut checks).await;
    let pool = postgres::examine(environment, &mut checks).await;
    work::clocks(redis.as_ref(), pool.as_ref(), &mut checks).await;
    match pool {
        Some(pool) => {
            if let Err(error) = work::examine(&pool, redis.as_ref(), &mut checks).await {
                checks.push(Check::failed("work", &error, "see what Postgres logs, and ask again"));
            }
            settings::examine(environment, Some(&pool), &mut checks).await;
        }
        None => {
            checks.push(Check::skip("work", "not looked at: the database cannot be read"));
            settings::examine(environment, None, &mut checks).await;
        }
    }
    checks.push(Check::skip("mail", "no mail is sent by this release, so there is nothing to look at"));
    checks
}
