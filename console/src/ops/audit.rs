//! What the audit log has: lists for people, all of it for an export, and whether it is as it was written.
//!
//! Nothing here changes anything. [`Act::record`](crate::ops::Act::record) writes, the database chains.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use queue::JobId;
use runtime::ids::Uuid;
use serde::Serialize;
use sqlx::PgConnection;

use crate::ops::audit_chain::{Checker, Entry, Finding, Hash, Head, Verdict};

/// Acts that are read from the database at a time.
const SLICE: i64 = 1_000;

/// Which acts. A filter that is `None` lets all through.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Filter {
    /// Of this member of staff or service.
    pub actor: Option<String>,
    /// Called so, or beginning so: `dead` lets `dead.requeue` through.
    pub action: Option<String>,
    /// On this: an id, or the name of a member of staff.
    pub target: Option<String>,
    /// At this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// With a smaller id.
    pub before: Option<i64>,
}

/// An act in a list.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The act.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether it is as it was written.
    pub intact: bool,
    /// The job that it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The name of the member of staff whom it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// Up to `most` acts, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    most: u16,
) -> Result<Vec<Listed>, sqlx::Error> {
    let target = match &filter.target {
        Some(target) => Some(id_of(connection, target).await?.unwrap_or_else(|| target.clone())),
        None => None,
    };
    let rows = sqlx::query!(
        r#"
        select position, audit_log.id, at, actor, via, action, target, reason, prev_hash, hash
        from audit_log join audit_chain on audit_id = audit_log.id
        where ($1::text is null or actor = $1) and ($2::text is null or action = $2 or starts_with(action, $2 || '.'))
            and ($3::text is null or target = $3
                or (left(target, 100) collate "C" >= $3 || ':' and left(target, 100) collate "C" < $3 || ';'))
            and ($4::timestamptz is null or at >= $4)
            and ($5::bigint is null or audit_log.id < $5)
        order by audit_log.id desc limit $6
        "#,
        filter.actor,
        filter.action,
        target,
        filter.since,
        filter.before,
        i64::from(most),
    )
    .fetch_all(&mut *connection)
    .await?;
    let named: Vec<Uuid> = rows.iter().filter_map(|row| leading_id(&row.target)).collect();
    let jobs = jobs_among(connection, &named).await?;
    let people = people_among(connection, &named).await?;
    rows.into_iter()
        .map(|row| {
            let entry = Entry {
                position: row.position,
                id: row.id,
                at: row.at,
                actor: row.actor,
                via: row.via,
                action: row.action,
                target: row.target,
                reason: row.reason,
                prev_hash: hash(row.prev_hash)?,
                hash: hash(row.hash)?,
            };
            let id = leading_id(&entry.target);
            let job = id.map(JobId).filter(|id| jobs.contains(id));
            let person = id.and_then(|id| people.get(&id).cloned());
            Ok(Listed { intact: entry.is_intact(), job, person, entry })
        })
        .collect()
}

/// The id that a target is, or begins with.
fn leading_id(target: &str) -> Option<Uuid> {
    target.split(':').next().and_then(|id| id.parse().ok())
}

/// The id of a member of staff, as it stands in targets.
async fn id_of(connection: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(r#"select id::text as "id!" from staff where name = $1"#, name)
        .fetch_optional(connection)
        .await
}

/// Those of these ids that are a job's.
async fn jobs_among(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!(r#"select id as "id: JobId" from jobs where id = any($1)"#, ids)
        .fetch_all(connection)
        .await
}

/// The names of those of these ids that are a member of staff's.
async fn people_among(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, String>, sqlx::Error> {
    let people =
        sqlx::query!("select id, name from staff where id = any($1)", ids).fetch_all(connection).await?;
    Ok(people.into_iter().map(|person| (person.id, person.name)).collect())
}

/// The end of the chain; `None` while nobody has done anything.
///
/// # Errors
/// When the database fails.
pub async fn head(connection: &mut PgConnection) -> Result<Option<Head>, sqlx::Error> {
    let last = sqlx::query!("select position, hash from audit_chain order by position desc limit 1")
        .fetch_optional(connection)
        .await?;
    last.map(|last| Ok(Head { position: last.position, hash: hash(last.hash)? })).transpose()
}

/// A place in the chain, with the act that stands there or was there.
#[derive(Debug)]
pub enum Place {
    /// The act.
    Kept(Entry),
    /// The act is gone from the log; its place and its hash are left.
    Lost {
        /// Its place.
        position: i64,
        /// Its hash.
        hash: Hash,
    },
}

/// The places after one, in their order; none when there are no more.
///
/// # Errors
/// When the database fails.
pub async fn places_after(connection: &mut PgConnection, position: i64) -> Result<Vec<Place>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select position, audit_log.id as "id?", at as "at?", actor as "actor?", via, action as "action?",
            target as "target?", reason as "reason?", prev_hash, hash
        from audit_chain left join audit_log on audit_log.id = audit_id
        where position > $1 order by position limit $2
        "#,
        position,
        SLICE,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let (position, prev_hash, hash) = (row.position, hash(row.prev_hash)?, hash(row.hash)?);
            Ok(match (row.id, row.at, row.actor, row.action, row.target, row.reason) {
                (Some(id), Some(at), Some(actor), Some(action), Some(target), Some(reason)) => {
                    Place::Kept(Entry {
                        position,
                        id,
                        at,
                        actor,
                        via: row.via,
                        action,
                        target,
                        reason,
                        prev_hash,
                        hash,
                    })
                }
                _ => Place::Lost { position, hash },
            })
        })
        .collect()
}

/// Checks the whole log. With a head that was written down, it must turn up.
///
/// # Errors
/// When the database fails.
pub async fn verify(connection: &mut PgConnection, sought: Option<Hash>) -> Result<Verdict, sqlx::Error> {
    let mut checker = Checker::new(sought);
    let mut after = 0;
    loop {
        let places = places_after(connection, after).await?;
        if places.is_empty() {
            break;
        }
        for place in places {
            match place {
                Place::Kept(entry) => {
                    checker.look(&entry);
                    after = entry.position;
                }
                Place::Lost { position, hash } => {
                    checker.lost(position, hash);
                    after = position;
                }
            }
        }
    }
    let unchained = sqlx::query_scalar!(
        "select id from audit_log where not exists (select from audit_chain where audit_id = audit_log.id)
         order by id limit $1",
        SLICE,
    )
    .fetch_all(connection)
    .await?;
    unchained.into_iter().for_each(|id| checker.found(Finding::Unchained { id }));
    Ok(checker.verdict())
}

fn hash(bytes: Vec<u8>) -> Result<Hash, sqlx::Error> {
    Hash::try_from(bytes).map_err(|error| sqlx::Error::Decode(error.into()))
}
