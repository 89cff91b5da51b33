//! Secrets and keys: whether they are set, well written, and decrypt what is stored. None of them is shown.

use jobs::{
    config::{AmazonSettings, KEYS},
    keyring::Keyring,
};
use runtime::env::Environment;
use sqlx::PgPool;

use super::Check;

/// Adds what is found.
pub(super) async fn examine(environment: &dyn Environment, pool: Option<&PgPool>, checks: &mut Vec<Check>) {
    checks.push(keys(environment, pool).await);
    let name = "amazon";
    checks.push(match AmazonSettings::from_env(environment) {
        Ok(_) => Check::ok(name, "our application's id and secret are set"),
        Err(error) => Check::warn(
            name,
            queue::failure::chain(&error),
            "workers cannot call Amazon without it; where this command runs it may be missing",
        ),
    });
}

async fn keys(environment: &dyn Environment, pool: Option<&PgPool>) -> Check {
    let name = "keys";
    let Some(text) = environment.get(KEYS.name) else {
        return Check::warn(
            name,
            format!("{} is not set here", KEYS.name),
            "workers and the console need it: `amzigo new-key` makes one, where none was ever made",
        );
    };
    let ring: Keyring = match text.parse() {
        Ok(ring) => ring,
        Err(error) => return Check::failed(name, &error, "write it as `amzigo new-key` prints it"),
    };
    let Some(pool) = pool else {
        return Check::ok(name, "the key ring is well written");
    };
    let used = sqlx::query_scalar!(
        r#"
        select refresh_token_key as "key!" from sellers where refresh_token_key <> ''
        union select seed_key from authenticators order by 1
        "#
    )
    .fetch_all(pool)
    .await;
    match used {
        Ok(used) => {
            let missing: Vec<_> = used.iter().filter(|id| !ring.ids().any(|known| known == *id)).collect();
            if missing.is_empty() {
                return Check::ok(
                    name,
                    format!("the key ring has {} and every key in use", ring.ids().count()),
                );
            }
            Check::fail(
                name,
                format!(
                    "authorisations or authenticators were encrypted with keys that are not in {}: {missing:?}",
                    KEYS.name
                ),
                "put those keys back behind the first one; without them sellers must authorise again, and staff be invited again",
            )
        }
        Err(error) => Check::failed(name, &error, "see what Postgres logs, and ask again"),
    }
}
