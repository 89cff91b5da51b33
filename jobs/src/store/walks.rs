//! How far the walks over a seller's listings and stock have come. A walk moves in the transaction that stores what was seen,
//! and only from where the run found it: a run that lost its lease cannot move it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use queue::JobId;
use sqlx::PgConnection;

use crate::store::sellers::SellerId;

/// What is walked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSet {
    /// Stock at Amazon.
    Inventory,
    /// Listings.
    Listings,
}

impl DataSet {
    /// As stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Listings => "listings",
        }
    }
}

/// How far the walks over one marketplace have come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// The job that began or ended the latest one.
    pub job: Option<JobId>,
    /// The one that has not ended.
    pub under_way: Option<UnderWay>,
    /// Everything that changed before is stored.
    pub synced_at: Option<DateTime<Utc>>,
    /// What was not there any more then is marked as gone.
    pub whole_at: Option<DateTime<Utc>>,
    version: i64,
}

/// A walk that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// Creation date of the last listing seen.
    pub place: Option<DateTime<Utc>>,
}

impl Walk {
    /// Whether this job has brought a walk to its end.
    #[must_use]
    pub fn ended_by(&self, job: JobId) -> bool {
        self.under_way.is_none() && self.job == Some(job)
    }

    /// With a walk of this job's under way.
    #[must_use]
    pub fn on_its_way(&self, job: JobId, under_way: UnderWay) -> Self {
        Self { job: Some(job), under_way: Some(under_way), ..self.clone() }
    }

    /// With a walk brought to its end by this job; `whole` if it went over everything.
    #[must_use]
    pub fn ended(&self, job: JobId, began_at: DateTime<Utc>, whole: bool) -> Self {
        Self {
            job: Some(job),
            under_way: None,
            synced_at: Some(began_at),
            whole_at: if whole { Some(began_at) } else { self.whole_at },
            version: self.version,
        }
    }
}

/// The walks over a data set of a seller, by marketplace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walks(pub BTreeMap<String, Walk>);

impl Walks {
    /// The walk over a marketplace; a fresh one where there was none yet.
    #[must_use]
    pub fn over(&self, marketplace_id: &str) -> Walk {
        self.0.get(marketplace_id).cloned().unwrap_or_default()
    }

    /// Of these marketplaces, the one that is late most and has not been walked over by this job.
    #[must_use]
    pub fn next<'a>(&self, marketplace_ids: &'a [String], job: JobId) -> Option<&'a str> {
        let open = marketplace_ids.iter().filter(|id| !self.over(id).ended_by(job));
        open.min_by_key(|id| self.over(id).synced_at).map(String::as_str)
    }
}

/// The walks over a data set of a seller.
///
/// # Errors
/// When the database fails.
pub async fn load(
    connection: &mut PgConnection,
    seller: SellerId,
    data_set: DataSet,
) -> Result<Walks, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select marketplace_id, job_id as "job_id: JobId", began_at, place, synced_at, whole_at, version from walks
           where seller_id = $1 and data_set = $2"#,
        seller.0,
        data_set.name(),
    )
    .fetch_all(connection)
    .await?;
    let walks = rows.into_iter().map(|row| {
        let under_way = row.began_at.map(|began_at| UnderWay { began_at, place: row.place });
        (
            row.marketplace_id,
            Walk {
                job: Some(row.job_id),
                under_way,
                synced_at: row.synced_at,
                whole_at: row.whole_at,
                version: row.version,
            },
        )
    });
    Ok(Walks(walks.collect()))
}

/// Moves a walk, and returns it as it is then. `None` if another run moved it meanwhile: then nothing of this run may be
/// stored.
///
/// # Errors
/// When the database fails.
pub async fn advance(
    connection: &mut PgConnection,
    seller: SellerId,
    data_set: DataSet,
    marketplace_id: &str,
    from: &Walk,
    to: Walk,
) -> Result<Option<Walk>, sqlx::Error> {
    let done = sqlx::query!(
        r#"
        insert into walks as w (seller_id, data_set, marketplace_id, job_id, began_at, place, synced_at, whole_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (seller_id, data_set, marketplace_id) do update set job_id = excluded.job_id,
            began_at = excluded.began_at, place = excluded.place, synced_at = excluded.synced_at,
            whole_at = excluded.whole_at, version = w.version + 1
        where w.version = $9
        "#,
        seller.0,
        data_set.name(),
        marketplace_id,
        to.job.map(|job| job.0),
        to.under_way.map(|under_way| under_way.began_at),
        to.under_way.and_then(|under_way| under_way.place),
        to.synced_at,
        to.whole_at,
        from.version,
    )
    .execute(connection)
    .await?;
    Ok((done.rows_affected() == 1).then(|| Walk { version: from.version + 1, ..to }))
}

/// Forgets the walks over marketplaces, so that all is new should the seller come back there.
///
/// # Errors
/// When the database fails.
pub async fn forget(
    connection: &mut PgConnection,
    seller: SellerId,
    marketplace_ids: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from walks where seller_id = $1 and marketplace_id = any($2)",
        seller.0,
        marketplace_ids
    )
    .execute(connection)
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_most_goes_first_and_each_goes_once() {
        let job = JobId::new();
        let at =
            |hour: u32| format!("2026-11-01T{hour:02}:00:00Z").parse::<DateTime<Utc>>().expect("a moment");
        let ids = ["a", "b", "c"].map(str::to_owned);
        let mut walks = Walks::default();
        walks.0.insert("a".into(), Walk::default().ended(JobId::new(), at(2), true));
        walks.0.insert("b".into(), Walk::default().ended(JobId::new(), at(1), true));
        let mut order = Vec::new();
        while let Some(next) = walks.next(&ids, job) {
            order.push(next);
            walks.0.insert(next.to_owned(), walks.over(next).ended(job, at(3), false));
        }
        assert_eq!(order, ["c", "b", "a"], "one that was never walked over is late most");
        assert_eq!(walks.over("b").whole_at, Some(at(1)), "a walk over changes is none over everything");
        assert_eq!(walks.next(&ids, JobId::new()), Some("a"), "another job walks again");
    }
}
