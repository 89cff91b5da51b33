//! `docs/DATA.md` says what the platform may read: it is made from the comments of the schema, of a database that all
//! migrations have run on.

use std::fmt::Write;

use runtime::testing::TestDatabase;
use sqlx::PgPool;

use crate::tidy::read;

const DOCUMENT: &str = "docs/DATA.md";

const BEGINNING: &str = "\
# What we store, and what the platform may read

Made from the comments in `migrations/`; a test keeps it so. Times are UTC. Every row of what Amazon tells names its seller
(`seller_id`) and where it comes from (`origin`). Nothing here is about a buyer: such data are never asked for, and dropped when
they come.

Read what you like of the tables in the first part; write to none of them. A column may be added at any time; one that goes or
changes its meaning is announced a release before. The second part is the job system's own: ask `amzigo` or the console.
";

#[tokio::test]
async fn the_data_map_is_what_the_schema_says() {
    let database = TestDatabase::new().await;
    let right = data_map(&database.pool).await.expect("the catalog can be read");
    if read(DOCUMENT) != right {
        let beside = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("DATA.md");
        std::fs::write(&beside, right).expect("the build's folder can be written");
        panic!("{DOCUMENT} is not what the schema says; put right by: cp {} {DOCUMENT}", beside.display());
    }
}

async fn data_map(pool: &PgPool) -> anyhow::Result<String> {
    let mut text = BEGINNING.to_owned();
    for (title, ours) in [("## About sellers, from Amazon", false), ("## The job system's own", true)] {
        write!(text, "\n{title}\n")?;
        for (table, comment) in tables(pool, ours).await? {
            write!(text, "\n### `{table}`\n\n{comment}\n\n| column | type | what |\n| --- | --- | --- |\n")?;
            for (column, kind, comment) in columns(pool, &table).await? {
                writeln!(text, "| `{column}` | {kind} | {} |", comment.replace('|', "\\|"))?;
            }
        }
    }
    Ok(text)
}

/// The tables about sellers, or the others.
async fn tables(pool: &PgPool, ours: bool) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "select relname::text, coalesce(obj_description(pg_class.oid, 'pg_class'), '')
         from pg_class join pg_namespace n on n.oid = relnamespace and nspname = 'public'
         where relkind = 'r' and relname <> '_sqlx_migrations'
             and (relname <> 'sellers' and not exists (select from pg_attribute
                  where attrelid = pg_class.oid and attname = 'seller_id' and not attisdropped)) = $1
         order by relname <> 'sellers', 1",
    )
    .bind(ours)
    .fetch_all(pool)
    .await
}

/// A table's columns: name, type, comment.
async fn columns(pool: &PgPool, table: &str) -> sqlx::Result<Vec<(String, String, String)>> {
    sqlx::query_as(
        "select attname::text,
             format_type(atttypid, atttypmod) || case when attnotnull then '' else ', may be null' end,
             coalesce(col_description(attrelid, attnum), '')
         from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum",
    )
    .bind(table)
    .fetch_all(pool)
    .await
}
