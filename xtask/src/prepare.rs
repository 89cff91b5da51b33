//! `cargo xtask prepare`: renews `.sqlx`, the committed metadata by which SQL is checked without a database.
//!
//! sqlx's macros write it themselves when they are expanded with a database at hand and SQLX_OFFLINE_DIR set. Cargo does not know that,
//! so the workspace's crates are cleaned, in a target folder of their own that keeps the dependencies. The database is a scratch one
//! with the migrations applied, dropped afterwards. Repeating gives the same files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use xtask::process::{on_path, output, succeed};
use xtask::services::{Urls, postgres_program};
use xtask::{Error, Result};

use crate::Ended;
use crate::session::{Session, say, say_done, say_failed};

pub(crate) const HELP: &str = "\
Usage: cargo xtask prepare [--check]

Renews .sqlx after a query or a migration has changed: applies migrations/ to a scratch database and compiles every query against it.
With --check nothing is changed; exit code 1 when .sqlx is not what it would be. Needs psql.

Examples:
  cargo xtask prepare && git add .sqlx
  cargo xtask prepare --check";

pub(crate) fn misunderstood(arguments: &[String]) -> Option<String> {
    match arguments {
        [] => None,
        [word] if word == "--check" => None,
        words => Some(format!("`prepare {}` is not understood", words.join(" "))),
    }
}

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let services = session.services();
    let lease = services.lease()?;
    session.interrupts.check()?;
    let scratch = Scratch::create(lease.urls())?;
    scratch.migrate(&session.root.join("migrations"))?;
    let fresh = expand_queries(session, &scratch.url)?;
    drop(scratch);
    lease.give_back()?;

    let folder = session.root.join(".sqlx");
    let differences = differences(&read_queries(&folder)?, &fresh);
    if differences.is_empty() {
        say_done(&format!(".sqlx is right ({} queries)", fresh.len()));
        return Ok(ExitCode::SUCCESS);
    }
    for difference in &differences {
        say(difference);
    }
    if !arguments.is_empty() {
        say_failed(
            ".sqlx is not what the queries and migrations say: run `cargo xtask prepare` and commit .sqlx",
        );
        return Ok(ExitCode::FAILURE);
    }
    replace(&folder, &fresh)?;
    say_done(&format!(".sqlx is renewed ({} queries): commit it", fresh.len()));
    Ok(ExitCode::SUCCESS)
}

/// A database of this run's own, dropped with it.
struct Scratch {
    psql: PathBuf,
    /// Of the database that was there before, from which this one is made and dropped.
    server: String,
    name: String,
    url: String,
}

impl Scratch {
    fn create(urls: &Urls) -> Result<Self> {
        let Some(psql) = postgres_program("psql").or_else(|| on_path("psql")) else {
            return Err(Error::Advice(
                "psql is needed to apply the migrations: install the Postgres client".to_owned(),
            ));
        };
        let name = format!("prepare_{}", std::process::id());
        let url = with_database(&urls.postgres, &name).ok_or_else(|| {
            Error::Advice(
                "DATABASE_URL must look like postgres://user:password@host:port/database".to_owned(),
            )
        })?;
        let scratch = Self { psql, server: urls.postgres.clone(), name, url };
        output(scratch.psql(&scratch.server).arg("-c").arg(format!("create database {}", scratch.name)))?;
        Ok(scratch)
    }

    /// Applies the migrations in the order of their names, each in a transaction unless its first line refuses one, as sqlx does.
    fn migrate(&self, folder: &Path) -> Result<()> {
        let mut files: Vec<PathBuf> = list(folder)?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "sql"))
            .collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).map_err(Error::file("reading", &file))?;
            let mut command = self.psql(&self.url);
            if !text.starts_with("-- no-transaction") {
                command.arg("--single-transaction");
            }
            output(command.arg("-f").arg(&file))?;
        }
        Ok(())
    }

    fn psql(&self, url: &str) -> Command {
        let mut command = Command::new(&self.psql);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]);
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let drop = format!("drop database if exists {} with (force)", self.name);
        if let Err(error) = output(self.psql(&self.server).arg("-c").arg(drop)) {
            say_failed(&format!("the scratch database {} stays behind: {error}", self.name));
        }
    }
}

/// The URL of another database of the same server.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (address, parameters) =
        url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let (scheme, rest) = address.split_once("://")?;
    let server = rest.split_once('/').map_or(rest, |(server, _)| server);
    let parameters = parameters.map(|rest| format!("?{rest}")).unwrap_or_default();
    Some(format!("{scheme}://{server}/{name}{parameters}"))
}

/// Metadata of queries: the file's name, which is a hash of the SQL, and its text.
type Queries = BTreeMap<String, String>;

/// Compiles the workspace against the database and collects what the macros write.
fn expand_queries(session: &Session, database: &str) -> Result<Queries> {
    let target = session.target.join("prepare");
    let folder = target.join("queries");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::file("removing", &folder))?;
    }
    fs::create_dir_all(&folder).map_err(Error::file("creating", &folder))?;
    succeed(
        session.cargo(&["clean", "--workspace", "--quiet"]).env("CARGO_TARGET_DIR", &target),
        &session.interrupts,
    )?;
    let mut check = session.cargo(&["check", "--workspace", "--all-targets", "--locked"]);
    check.env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0");
    check.env("SQLX_OFFLINE", "false").env("SQLX_OFFLINE_DIR", &folder).env("DATABASE_URL", database);
    succeed(&mut check, &session.interrupts)?;
    read_queries(&folder)
}

fn read_queries(folder: &Path) -> Result<Queries> {
    if !folder.exists() {
        return Ok(Queries::new());
    }
    let mut queries = Queries::new();
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        queries.insert(name, fs::read_to_string(&path).map_err(Error::file("reading", &path))?);
    }
    Ok(queries)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    entries.map_err(Error::file("reading", folder))
}

/// A line for each query that is new, gone or changed.
fn differences(old: &Queries, new: &Queries) -> Vec<String> {
    let gone =
        old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("no longer used: {name}"));
    let other = new.iter().filter_map(|(name, text)| match old.get(name) {
        None => Some(format!("missing: {name}")),
        Some(known) if known != text => Some(format!("changed: {name}")),
        Some(_) => None,
    });
    gone.chain(other).collect()
}

fn replace(folder: &Path, queries: &Queries) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::file("creating", folder))?;
    for (name, text) in queries {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::file("writing", &path))?;
    }
    for name in read_queries(folder)?.keys().filter(|name| !queries.contains_key(*name)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(Error::file("removing", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        for (url, expected) in [
            ("postgres://u:p@h:1/amzigo", "postgres://u:p@h:1/x"),
            ("postgres://u@h/amzigo?sslmode=require", "postgres://u@h/x?sslmode=require"),
            ("postgres://h", "postgres://h/x"),
        ] {
            assert_eq!(with_database(url, "x").as_deref(), Some(expected), "{url}");
        }
        assert_eq!(with_database("amzigo", "x"), None);
    }

    #[test]
    fn which_queries_differ() {
        let queries = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let old: Queries = queries(&[("same", "1"), ("gone", "1"), ("other", "1")]);
        let new: Queries = queries(&[("same", "1"), ("other", "2"), ("new", "1")]);
        assert_eq!(differences(&old, &new), ["no longer used: gone", "missing: new", "changed: other"]);
    }
}
