//! Postgres: whether it answers, which it is, its schema, and the room that is left.

use std::time::Duration;

use runtime::{
    env::Environment,
    postgres::{self, MIGRATOR, PostgresError},
};
use sqlx::PgPool;

use super::Check;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// The oldest that the tests run with.
const OLDEST: i32 = 150_000;
/// How many of its connections may be taken, in percent, before somebody should look.
const TAKEN: i64 = 80;
/// Postgres stops at two thousand million transactions without a vacuum; half of that is time to look.
const OLD_TRANSACTIONS: i64 = 1_000_000_000;

/// Adds what is found; the pool, if the database can be worked with.
pub(super) async fn examine(environment: &dyn Environment, checks: &mut Vec<Check>) -> Option<PgPool> {
    let pool = match tokio::time::timeout(PATIENCE, postgres::connect(environment, "doctor")).await {
        Ok(Ok(pool)) => pool,
        Ok(Err(error)) => {
            checks.push(Check::failed("postgres", &error, "nothing works without it: see to it first"));
            return None;
        }
        Err(_) => {
            let says = format!("no answer within {} s", PATIENCE.as_secs());
            let advice = "check DATABASE_URL, the network, and that the server is up";
            checks.push(Check::fail("postgres", says, advice));
            return None;
        }
    };
    if let Err(error) = server(&pool, checks).await {
        checks.push(Check::failed("postgres", &error, "see what Postgres logs, and ask again"));
        return None;
    }
    let migrated = migrations(&pool).await;
    let usable = migrated.verdict != super::Verdict::Fail;
    checks.push(migrated);
    usable.then_some(pool)
}

async fn server(pool: &PgPool, checks: &mut Vec<Check>) -> Result<(), sqlx::Error> {
    let seen = sqlx::query!(
        r#"
        select current_setting('server_version') as "version!", current_setting('server_version_num')::int as "number!",
            pg_is_in_recovery() as "replica!", pg_database_size(current_database()) as "bytes!",
            current_setting('max_connections')::bigint as "most!",
            (select count(*) from pg_stat_activity where backend_type = 'client backend') as "connections!",
            (select age(datfrozenxid)::bigint from pg_database where datname = current_database()) as "age!",
            exists (select from pg_extension where extname = 'btree_gist') as "extension!"
        "#
    )
    .fetch_one(pool)
    .await?;
    let says = format!("answers: Postgres {}", seen.version);
    checks.push(if seen.replica {
        let advice = "DATABASE_URL must name the primary";
        Check::fail("postgres", format!("{says}, a replica that takes no writes"), advice)
    } else if seen.number < OLDEST {
        Check::fail("postgres", says, "use Postgres 15 or newer")
    } else {
        Check::ok("postgres", says)
    });
    checks.push(if seen.extension {
        Check::ok("postgres extension", "btree_gist is there")
    } else {
        let advice =
            "let the database's owner run `amzigo migrate`; the extension is part of Postgres' contrib";
        Check::fail("postgres extension", "btree_gist is missing", advice)
    });
    let taken = seen.connections * 100 / seen.most.max(1);
    let says =
        format!("{} of {} connections, {} MiB", seen.connections, seen.most, seen.bytes.div_euclid(1 << 20));
    checks.push(if taken >= TAKEN {
        let advice = "raise max_connections, lower DATABASE_CONNECTIONS of the processes, or find who holds them (pg_stat_activity)";
        Check::warn("postgres room", says, advice)
    } else if seen.age > OLD_TRANSACTIONS {
        let advice = "autovacuum does not keep up: look for old transactions in pg_stat_activity, and run VACUUM";
        Check::warn("postgres room", format!("{says}; {} transactions without a vacuum", seen.age), advice)
    } else {
        Check::ok("postgres room", says)
    });
    Ok(())
}

async fn migrations(pool: &PgPool) -> Check {
    let name = "migrations";
    match postgres::check_migrated(pool).await {
        Ok(()) => {}
        Err(error @ PostgresError::Behind { .. }) => {
            return Check::failed(name, &error, "run `amzigo migrate`, then start the processes");
        }
        Err(error) => return Check::failed(name, &error, "see what Postgres logs, and ask again"),
    }
    match sqlx::query_scalar::<_, i64>("select version from _sqlx_migrations order by version")
        .fetch_all(pool)
        .await
    {
        Ok(applied) => {
            let unknown =
                applied.iter().filter(|version| !MIGRATOR.iter().any(|known| known.version == **version));
            match unknown.count() {
                0 => Check::ok(name, format!("all {} are applied", applied.len())),
                newer => Check::warn(
                    name,
                    format!("the database has {newer} that this program does not know"),
                    "a newer release works on it: bring this program up to date",
                ),
            }
        }
        Err(error) => Check::failed(name, &error, "see what Postgres logs, and ask again"),
    }
}
