//! For tests: a database and a Redis prefix of a test's own, on the servers that `cargo xtask test` starts.
//!
//! A database is a copy of a template that is migrated once. Databases that earlier runs left behind are dropped when
//! they are over an hour old, some of them at each run.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    clock::{Clock, SystemClock},
    env::{self, Environment, ProcessEnvironment},
    postgres::{MIGRATOR, SESSION},
    redis::Redis,
};

/// An empty, migrated database.
#[derive(Debug)]
pub struct TestDatabase {
    /// Connections to it.
    pub pool: PgPool,
    /// How another process reaches it.
    pub url: String,
}

/// A Redis prefix that no other test uses. Its keys are deleted on drop.
#[derive(Debug)]
pub struct TestRedis {
    /// The connection with the prefix.
    pub redis: Redis,
    /// How another process reaches the server.
    pub url: String,
}

const HOW: &str = "run tests with `cargo xtask test`, or first `eval \"$(cargo xtask services env)\"`";

fn server_url(variable: &env::Variable) -> String {
    ProcessEnvironment.get(variable.name).unwrap_or_else(|| panic!("{} is not set: {HOW}", variable.name))
}

impl TestDatabase {
    /// Makes one. Panics when there is no server: a test that does not run must not look green.
    pub async fn new() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(make_template).await;
        let name = format!("test_{}_{}", SystemClock.now().timestamp(), Uuid::new_v4().simple());
        let mut admin = admin_connection().await;
        run(&mut admin, format!("create database {name} template {template}")).await;
        let url = with_database(&name);
        // Lazily, and none kept idle: hundreds of tests share one server.
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(|_| ()) })
            })
            .connect_lazy(&url)
            .expect("the URL is ours");
        Self { pool, url }
    }
}

impl TestRedis {
    /// Makes one. Panics when there is no server.
    pub async fn new() -> Self {
        let url = server_url(&env::REDIS_URL);
        let prefix = format!("test-{}", Uuid::new_v4().simple());
        let settings = HashMap::from([(env::REDIS_URL.name, url.clone()), (env::PREFIX.name, prefix)]);
        let redis = Redis::connect(&settings).await.unwrap_or_else(|error| panic!("{error}: {HOW}"));
        Self { redis, url }
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        let delete = || -> redis::RedisResult<()> {
            let mut connection = redis::Client::open(self.url.as_str())?.get_connection()?;
            let pattern = format!("{{{}*", self.redis.prefix());
            let mut cursor = 0_u64;
            loop {
                let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                    .arg(cursor)
                    .arg("MATCH")
                    .arg(&pattern)
                    .arg("COUNT")
                    .arg(1_000)
                    .query(&mut connection)?;
                if !keys.is_empty() {
                    redis::cmd("UNLINK").arg(keys).exec(&mut connection)?;
                }
                if next == 0 {
                    return Ok(());
                }
                cursor = next;
            }
        };
        if let Err(error) = delete() {
            // A test may have taken its Redis away on purpose.
            eprintln!("left keys of {} behind: {error}", self.redis.prefix());
        }
    }
}

async fn make_template() -> String {
    let fingerprint = MIGRATOR.iter().fold(0_u64, |sum, migration| {
        migration.checksum.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
    });
    let name = format!("template_{fingerprint:016x}");
    let mut admin = admin_connection().await;
    // Test binaries run at the same time: the first makes the template, the others wait.
    run(&mut admin, "select pg_advisory_lock(7263518)".to_owned()).await;
    drop_stale(&mut admin).await;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .expect("pg_database can be read");
    if !exists {
        let building = format!("{name}_building");
        run(&mut admin, format!("drop database if exists {building}")).await;
        run(&mut admin, format!("create database {building}")).await;
        let mut connection =
            PgConnection::connect(&with_database(&building)).await.expect("it was just made");
        MIGRATOR
            .run_direct(None, &mut connection, false)
            .await
            .expect("migrations apply to an empty database");
        connection.close().await.expect("the connection is idle");
        run(&mut admin, format!("alter database {building} rename to {name}")).await;
    }
    run(&mut admin, "select pg_advisory_unlock(7263518)".to_owned()).await;
    name
}

async fn drop_stale(admin: &mut PgConnection) {
    let oldest = SystemClock.now().timestamp() - 3_600;
    let names: Vec<String> = sqlx::query_scalar(
        "select datname::text from pg_database where datname like 'test\\_%' order by datname limit 200",
    )
    .fetch_all(&mut *admin)
    .await
    .expect("pg_database can be read");
    for name in names {
        let born = name.split('_').nth(1).and_then(|seconds| seconds.parse::<i64>().ok());
        if born.is_some_and(|born| born < oldest) {
            run(admin, format!("drop database if exists {name} with (force)")).await;
        }
    }
}

async fn admin_connection() -> PgConnection {
    let url = server_url(&env::DATABASE_URL);
    PgConnection::connect(&url).await.unwrap_or_else(|error| panic!("no Postgres: {error}: {HOW}"))
}

async fn run(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn with_database(name: &str) -> String {
    let mut url = url::Url::parse(&server_url(&env::DATABASE_URL)).expect("DATABASE_URL is a URL");
    url.set_path(name);
    url.into()
}
