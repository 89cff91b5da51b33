//! What can be enqueued, and when kinds fire by themselves.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Api, holders::Holder, problem::Problem};
use crate::ops::schedules::{self, ScheduleError};

/// A kind of job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KindAnswer {
    /// Its name.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$")]
    pub name: String,
    /// What it does.
    pub summary: String,
    /// The payload's version.
    #[schema(minimum = 1)]
    pub version: u8,
    /// Where its jobs wait.
    pub queue: String,
    /// How long a second job of the same payload is refused: `while waiting`, `until done` or `for …`; null where one is
    /// not, and `unique` of a request may say so.
    pub unique: Option<String>,
    /// What its payload must look like: a JSON Schema of draft 2020-12.
    #[schema(value_type = Object)]
    pub payload_schema: Value,
}

/// All kinds that the key may enqueue and see.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KindList {
    /// In the order of the catalog.
    pub kinds: Vec<KindAnswer>,
}

/// List kinds
///
/// What can be enqueued with this key.
#[utoipa::path(
    get, path = "/v1/kinds", tag = "kinds", operation_id = "listKinds",
    responses((status = 200, description = "The kinds.", body = KindList)),
)]
pub(super) async fn list(holder: Holder) -> Json<KindList> {
    let kinds = CATALOG.iter().filter(|kind| holder.may_see(kind.name)).map(|kind| KindAnswer {
        name: kind.name.to_owned(),
        summary: kind.summary.to_owned(),
        version: kind.version,
        queue: kind.policy.queue.name().to_owned(),
        unique: kind.policy.unique.map(|unique| unique.to_string()),
        payload_schema: kind.schema().clone(),
    });
    Json(KindList { kinds: kinds.collect() })
}

/// When a kind fires by itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleAnswer {
    /// The kind.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$")]
    pub kind: String,
    /// Five or six fields, as cron has them.
    pub expression: String,
    /// The time zone in which the expression is meant.
    pub time_zone: String,
    /// Over how many seconds the jobs of a tick are spread.
    pub spread_seconds: u64,
    /// The next ticks; none while it is paused.
    #[schema(max_items = 5)]
    pub next_ticks: Vec<DateTime<Utc>>,
    /// The tick that was enqueued last.
    pub last_fire_at: Option<DateTime<Utc>>,
    /// Since when it does not fire; null while it does.
    pub paused_at: Option<DateTime<Utc>>,
}

/// All schedules of kinds that the key may see.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleList {
    /// In the order of the catalog.
    pub schedules: Vec<ScheduleAnswer>,
}

/// List schedules
///
/// With the tick of each that comes next.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    responses((status = 200, description = "The schedules.", body = ScheduleList)),
)]
pub(super) async fn schedules(State(api): State<Api>, holder: Holder) -> Result<Json<ScheduleList>, Problem> {
    let mut connection = api.console.pool.acquire().await?;
    let known = schedules::list(&mut connection, api.now()).await.map_err(|error| match error {
        ScheduleError::Database(error) => Problem::database(&error),
        // The catalog's schedules can all be stepped; a test of theirs looks.
        ScheduleError::None(_) | ScheduleError::Wrong { .. } | ScheduleError::Enqueue(_) => {
            Problem::unavailable()
        }
    })?;
    let schedules =
        known.into_iter().filter(|schedule| holder.may_see(schedule.kind)).map(|schedule| ScheduleAnswer {
            kind: schedule.kind.to_owned(),
            expression: schedule.expression.to_owned(),
            time_zone: schedule.time_zone.to_owned(),
            spread_seconds: schedule.spread_seconds,
            next_ticks: schedule.next,
            last_fire_at: schedule.last_fire_at,
            paused_at: schedule.paused.map(|paused| paused.since),
        });
    Ok(Json(ScheduleList { schedules: schedules.collect() }))
}
