//! What waits for one seller, and how long Amazon's usage plans need for it. Only reads.

use std::collections::BTreeMap;

use jobs::catalog::CATALOG;
use queue::limit::{BudgetError, Budgets, Level, MAX_TOGETHER};
use serde::Serialize;
use sqlx::PgConnection;

use crate::ops::bulk;

/// Jobs beyond these are not counted.
pub const MOST_COUNTED: i64 = 10_000;

/// The unfinished jobs of one kind for a group.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// Which kind.
    pub kind: String,
    /// How many have not ended.
    pub jobs: i64,
    /// The budgets that each of them asks, at least once.
    #[serde(skip)]
    budgets: Vec<queue::limit::Budget>,
}

/// What has not ended for a group, the largest first; at most [`MOST_COUNTED`] jobs are counted.
///
/// # Errors
/// When the database fails.
pub async fn of(connection: &mut PgConnection, group: &str) -> Result<Vec<Waiting>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select jobs.kind, payload, count as "count!" from (
            select kind, count(*) as count, (array_agg(id))[1] as example from (
                select id, kind from jobs where finished_at is null and group_name = $1 limit $2
            ) as waiting group by kind
        ) as kinds join jobs on id = example order by count desc, kind
        "#,
        group,
        MOST_COUNTED,
    )
    .fetch_all(connection)
    .await?;
    let waiting = rows.into_iter().map(|row| {
        let kind = CATALOG.get(&row.kind);
        // What can no longer be read dies at its next run, without a call.
        let budgets = kind.and_then(|kind| kind.budgets(row.payload).ok()).unwrap_or_default();
        Waiting { kind: row.kind, jobs: row.count, budgets }
    });
    Ok(waiting.collect())
}

/// How long the scarcest of the budgets needs for what waits, in seconds, by the rates that are in force now; `None` where none
/// limits it.
///
/// # Errors
/// When Redis fails.
pub async fn eta(budgets: &Budgets, waiting: &[Waiting]) -> Result<Option<u64>, BudgetError> {
    let mut wanted = BTreeMap::new();
    for kind in waiting {
        for budget in &kind.budgets {
            wanted.entry(budget.name.clone()).or_insert_with(|| (budget.clone(), 0)).1 += kind.jobs;
        }
    }
    let wanted: Vec<_> = wanted.into_values().collect();
    let mut longest = None;
    for some in wanted.chunks(MAX_TOGETHER) {
        let asked: Vec<_> = some.iter().map(|(budget, _)| budget.clone()).collect();
        let levels: Vec<Level> = budgets.look(&asked).await?;
        for ((_, calls), level) in some.iter().zip(levels) {
            let left = calls - i64::try_from(level.calls).unwrap_or(i64::MAX);
            longest = longest.max(Some(bulk::seconds(left, level.rate)));
        }
    }
    Ok(longest)
}
