//! A database of a run's own, on a server that others use too; dropped when the run is over.

use anyhow::Context;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// A database of a run's own, empty at first.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Makes one that is called after what it is for.
    ///
    /// # Errors
    /// When the server cannot be reached, or its user has no right to make databases.
    pub async fn make(server: &str, purpose: &str) -> anyhow::Result<Self> {
        let name = format!("{purpose}_{}", Uuid::new_v4().simple());
        let mut url: reqwest::Url = server.parse().context("DATABASE_URL is not a URL")?;
        url.set_path(&name);
        let database = Self { server: server.to_owned(), name, url: url.into() };
        database
            .execute(format!("create database {}", database.name))
            .await
            .context("making a database for this run; the user in DATABASE_URL needs the right to")?;
        Ok(database)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops it, whoever still uses it.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn drop_it(&self) -> anyhow::Result<()> {
        self.execute(format!("drop database {} with (force)", self.name))
            .await
            .context("dropping the database of this run")
    }

    async fn execute(&self, statement: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.server).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
