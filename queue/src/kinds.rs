//! The table `kinds`: what the SQL function `enqueue_job` knows of the catalog, so that it and the door in [`outbox`] write the
//! same rows.
//!
//! `amzigo migrate` writes it, and a leading scheduler that is newer than whoever wrote it. Repeating is harmless. A release
//! is known by the newest migration that it has; an older one never writes over a newer one's table, so that a roll-out has
//! both.
//!
//! [`outbox`]: crate::outbox

use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use thiserror::Error;

use crate::{
    Catalog, Group, Kind,
    policy::{Queue, Unique},
};

/// What became of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is what the catalog says; these kinds were not, or not so, in it before.
    Now {
        /// Their names.
        changed: Vec<String>,
    },
    /// A newer release wrote it; it was left alone.
    ByANewer {
        /// The newest migration that one knows.
        release: i64,
    },
}

/// Why the table was not written. It is as it was.
#[derive(Debug, Error)]
pub enum KindsError {
    /// SQL could not hold payloads to it.
    #[error("the payload of `{kind}` cannot be checked at the door: {why}")]
    Schema {
        /// The kind.
        kind: &'static str,
        /// What to do about it.
        why: String,
    },
    /// Its jobs would have no group.
    #[error(
        "the group of `{kind}` is its field `{field}`, which is not in every payload; name a required field"
    )]
    Group {
        /// The kind.
        kind: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The database failed.
    #[error("could not write the table of kinds")]
    Database(#[from] sqlx::Error),
}

/// Writes what a catalog says, unless a newer release has. `release` is the newest migration that this one knows.
///
/// # Errors
/// When a kind is such that SQL could not check its payloads, or the database fails.
pub async fn write<C: Send + Sync + 'static>(
    connection: &mut PgConnection,
    catalog: &Catalog<C>,
    release: i64,
) -> Result<Written, KindsError> {
    let rows = rows(catalog)?;
    let mut transaction = connection.begin().await?;
    // Two that write wait for each other; those who enqueue do not.
    sqlx::query!("lock table kinds in share row exclusive mode").execute(&mut *transaction).await?;
    if let Some(newer) = written_by(&mut transaction).await?.filter(|by| *by > release) {
        return Ok(Written::ByANewer { release: newer });
    }
    let names: Vec<_> = rows.iter().map(|row| row.name.to_owned()).collect();
    sqlx::query!("delete from kinds where name <> all($1)", &names).execute(&mut *transaction).await?;
    let mut changed = Vec::new();
    for row in &rows {
        if row.write(&mut transaction, release).await? {
            changed.push(row.name.to_owned());
        }
    }
    sqlx::query!("update kinds set written_by = $1 where written_by <> $1", release)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Written::Now { changed })
}

/// The release that wrote the table, by the newest migration that it knows; `None` before the first time.
///
/// # Errors
/// When the database fails.
pub async fn written_by(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!("select max(written_by) from kinds").fetch_one(connection).await
}

/// A kind, as its row has it. Of a retired one only the queue is known.
struct Row<'a> {
    name: &'static str,
    queue: Queue,
    of: Option<Known<'a>>,
}

/// What is known of a kind that is run.
struct Known<'a> {
    place: i16,
    summary: &'static str,
    priority: &'static str,
    version: i16,
    schema: &'a Value,
    group_field: Option<&'static str>,
    group_name: Option<&'static str>,
    unique_how: Option<&'static str>,
    unique_for_us: Option<i64>,
    expires_after_us: Option<i64>,
}

fn rows<C: Send + Sync + 'static>(catalog: &Catalog<C>) -> Result<Vec<Row<'_>>, KindsError> {
    let known = (1..).zip(catalog.iter()).map(|(place, kind)| {
        Ok(Row { name: kind.name, queue: kind.policy.queue, of: Some(Known::of(kind, place)?) })
    });
    let retired = catalog.iter_retired().map(|kind| Ok(Row { name: kind.name, queue: kind.queue, of: None }));
    known.chain(retired).collect()
}

impl<'a> Known<'a> {
    fn of<C: Send + Sync + 'static>(kind: &'a Kind<C>, place: i16) -> Result<Self, KindsError> {
        let schema = kind
            .payload_schema()
            .map_err(|why| KindsError::Schema { kind: kind.name, why: why.to_owned() })?;
        let (group_field, group_name) = match kind.group {
            Group::Field(field) if !schema.requires(field) => {
                return Err(KindsError::Group { kind: kind.name, field });
            }
            Group::Field(field) => (Some(field), None),
            Group::Fixed(name) => (None, Some(name)),
        };
        let (unique_how, unique_for) = match kind.policy.unique {
            None => (None, None),
            Some(Unique::WhileWaiting) => (Some("while_waiting"), None),
            Some(Unique::UntilDone) => (Some("until_done"), None),
            Some(Unique::For(period)) => (Some("for_a_time"), Some(period)),
        };
        Ok(Self {
            place,
            summary: kind.summary,
            priority: kind.policy.priority.name(),
            version: i16::from(kind.version),
            schema: kind.schema(),
            group_field,
            group_name,
            unique_how,
            unique_for_us: unique_for.map(microseconds),
            expires_after_us: kind.policy.expires_after.map(microseconds),
        })
    }
}

/// A century at most, as the door has it.
fn microseconds(length: Duration) -> i64 {
    const CENTURY: i64 = 36_500 * 24 * 3_600 * 1_000_000;
    i64::try_from(length.as_micros()).unwrap_or(CENTURY).min(CENTURY)
}

impl Row<'_> {
    /// Returns whether the row was not so before.
    async fn write(&self, connection: &mut PgConnection, release: i64) -> Result<bool, sqlx::Error> {
        let of = self.of.as_ref();
        let done = sqlx::query!(
            r#"
            insert into kinds (name, written_by, retired, queue, place, summary, priority, payload_version, payload_schema,
                group_field, group_name, unique_how, unique_for, expires_after)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                $13::bigint * interval '1 microsecond', $14::bigint * interval '1 microsecond')
            on conflict (name) do update set
                (written_by, retired, queue, place, summary, priority, payload_version, payload_schema,
                    group_field, group_name, unique_how, unique_for, expires_after)
                = (excluded.written_by, excluded.retired, excluded.queue, excluded.place, excluded.summary, excluded.priority,
                    excluded.payload_version, excluded.payload_schema, excluded.group_field, excluded.group_name,
                    excluded.unique_how, excluded.unique_for, excluded.expires_after)
            where (kinds.retired, kinds.queue, kinds.place, kinds.summary, kinds.priority, kinds.payload_version,
                    kinds.payload_schema, kinds.group_field, kinds.group_name, kinds.unique_how, kinds.unique_for,
                    kinds.expires_after)
                is distinct from (excluded.retired, excluded.queue, excluded.place, excluded.summary, excluded.priority,
                    excluded.payload_version, excluded.payload_schema, excluded.group_field, excluded.group_name,
                    excluded.unique_how, excluded.unique_for, excluded.expires_after)
            "#,
            self.name,
            release,
            of.is_none(),
            self.queue.name(),
            of.map(|of| of.place),
            of.map(|of| of.summary),
            of.map(|of| of.priority),
            of.map(|of| of.version),
            of.map(|of| of.schema),
            of.and_then(|of| of.group_field),
            of.and_then(|of| of.group_name),
            of.and_then(|of| of.unique_how),
            of.and_then(|of| of.unique_for_us),
            of.and_then(|of| of.expires_after_us),
        )
        .execute(connection)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
