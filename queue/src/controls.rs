//! Controls of a queue: what is paused, how many may run at once, whose turns weigh more.
//!
//! The kinds' policies and the table `controls` say what is to be; Redis is told the whole of it at once
//! ([`Engine::control`](crate::Engine::control)) and obeys at the next claim. A queue of which Redis has not been told
//! anything is closed: after a loss of its data nothing runs that was paused. Telling it twice is harmless.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{engine::RedisSide, policy::Policy, policy::Queue, scripts};

/// All controls of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// Nothing is taken at all.
    pub paused: bool,
    /// Kinds of which nothing is taken.
    pub paused_kinds: BTreeSet<String>,
    /// Groups of which nothing is taken.
    pub paused_groups: BTreeSet<String>,
    /// Most jobs of a kind that run at once, in all workers.
    pub kind_limits: BTreeMap<String, u32>,
    /// Most jobs of a kind that run at once for the same group.
    pub each_limits: BTreeMap<String, u32>,
    /// Most jobs that run at once for any one group.
    pub group_limit: Option<u32>,
    /// The same for groups of their own.
    pub group_limits: BTreeMap<String, u32>,
    /// Kinds that get more turns than others: so many times as many.
    pub weights: BTreeMap<String, u32>,
}

/// What a control is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "scope", content = "subject", rename_all = "snake_case")]
pub enum Scope {
    /// The whole queue.
    Queue,
    /// A kind.
    Kind(String),
    /// A group.
    Group(String),
}

impl Scope {
    /// As stored and shown.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Kind(_) => "kind",
            Self::Group(_) => "group",
        }
    }

    /// The kind's or group's name; empty for the queue.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Queue => "",
            Self::Kind(name) | Self::Group(name) => name,
        }
    }
}

impl Controls {
    /// What the policies of kinds ask for, of those on `queue`.
    #[must_use]
    pub fn of_policies<'a>(queue: Queue, kinds: impl IntoIterator<Item = (&'a str, &'a Policy)>) -> Self {
        let mut controls = Self::default();
        for (kind, policy) in kinds.into_iter().filter(|(_, policy)| policy.queue == queue) {
            if let Some(most) = policy.max_running {
                controls.kind_limits.insert(kind.to_owned(), most);
            }
            if let Some(most) = policy.max_running_per_group {
                controls.each_limits.insert(kind.to_owned(), most);
            }
            if policy.weight > 1 {
                controls.weights.insert(kind.to_owned(), policy.weight);
            }
        }
        controls
    }

    /// As `control.lua` takes them.
    fn fields(&self) -> Vec<(String, u32)> {
        let mut fields = Vec::new();
        if self.paused {
            fields.push(("paused".to_owned(), 1));
        }
        if !self.paused_groups.is_empty() || !self.group_limits.is_empty() {
            fields.push(("groups".to_owned(), 1));
        }
        fields.extend(self.paused_kinds.iter().map(|kind| (format!("pause:k:{kind}"), 1)));
        fields.extend(self.paused_groups.iter().map(|group| (format!("pause:g:{group}"), 1)));
        fields.extend(self.kind_limits.iter().map(|(kind, most)| (format!("limit:k:{kind}"), *most)));
        fields.extend(self.each_limits.iter().map(|(kind, most)| (format!("limit:e:{kind}"), *most)));
        fields.extend(self.group_limit.map(|most| ("limit:g".to_owned(), most)));
        fields.extend(self.group_limits.iter().map(|(group, most)| (format!("limit:g:{group}"), *most)));
        fields.extend(self.weights.iter().map(|(kind, weight)| (format!("weight:{kind}"), (*weight).max(1))));
        fields
    }
}

impl RedisSide {
    pub(crate) async fn control(&self, queue: Queue, controls: &Controls) -> RedisResult<()> {
        let keys = self.keys(queue);
        let mut connection = self.connection();
        let mut call = scripts::CONTROL.prepare_invoke();
        call.key(keys.base()).arg(self.clock().now_ms());
        for (field, value) in controls.fields() {
            call.arg(field).arg(value);
        }
        let () = call.invoke_async(&mut connection).await?;
        let mut cursor = "0".to_owned();
        loop {
            cursor = scripts::UNPARK
                .key(keys.base())
                .arg(keys.wake())
                .arg(&cursor)
                .invoke_async(&mut connection)
                .await?;
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    pub(crate) async fn obeys(&self, queue: Queue, controls: &Controls) -> RedisResult<bool> {
        let mut told: BTreeMap<String, String> = self.connection().hgetall(self.keys(queue).head()).await?;
        let open = told.remove("open").is_some();
        told.retain(|field, _| field != "fence" && field != "epoch");
        let wanted = controls.fields().into_iter().map(|(field, value)| (field, value.to_string()));
        Ok(open && told == wanted.collect())
    }

    pub(crate) async fn open_since(&self, queue: Queue) -> RedisResult<Option<i64>> {
        self.connection().hget(self.keys(queue).head(), "open").await
    }

    pub(crate) async fn recount(&self, queue: Queue) -> RedisResult<usize> {
        let keys = self.keys(queue);
        let mut connection = self.connection();
        let scopes: Vec<Vec<u8>> = connection.smembers(keys.held_scopes()).await?;
        let mut stale = 0;
        for scope in scopes {
            let mut cursor = "0".to_owned();
            loop {
                let (next, dropped): (String, usize) = scripts::RECOUNT
                    .key(keys.base())
                    .arg(keys.wake())
                    .arg(&scope)
                    .arg(&cursor)
                    .invoke_async(&mut connection)
                    .await?;
                stale += dropped;
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(stale)
    }
}

/// Adds what people have decided to the controls of a queue.
///
/// # Errors
/// When the database fails.
pub async fn decided(
    connection: &mut PgConnection,
    queue: Queue,
    controls: &mut Controls,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        "select scope, subject, paused, max_running from controls where queue = $1",
        queue.name()
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let most = row.max_running.and_then(|most| u32::try_from(most).ok());
        match row.scope.as_str() {
            "kind" => {
                if row.paused {
                    controls.paused_kinds.insert(row.subject.clone());
                }
                controls.kind_limits.extend(most.map(|most| (row.subject, most)));
            }
            "group" => {
                if row.paused {
                    controls.paused_groups.insert(row.subject.clone());
                }
                controls.group_limits.extend(most.map(|most| (row.subject, most)));
            }
            _ => {
                controls.paused |= row.paused;
                controls.group_limit = most.or(controls.group_limit);
            }
        }
    }
    Ok(())
}

/// Pauses or resumes. Returns whether that changed anything.
///
/// # Errors
/// When the database fails.
pub async fn set_paused(
    connection: &mut PgConnection,
    queue: Queue,
    scope: &Scope,
    paused: bool,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    // Where nothing was ever said, there is nothing to take back.
    let changed = sqlx::query!(
        r#"
        insert into controls as c (queue, scope, subject, paused, changed_at)
        select $1, $2, $3, $4, $5
        where $4 or exists (select from controls where queue = $1 and scope = $2 and subject = $3)
        on conflict (queue, scope, subject) do update set paused = $4, changed_at = $5 where c.paused <> $4
        "#,
        queue.name(),
        scope.name(),
        scope.subject(),
        paused,
        now,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    drop_idle(connection).await?;
    Ok(changed > 0)
}

/// Sets how many jobs run at once: of a kind, for a group, or (scope queue) for each group. `None` takes the limit away,
/// and the kind's own comes back. Returns whether that changed anything.
///
/// # Errors
/// When the database fails.
pub async fn set_limit(
    connection: &mut PgConnection,
    queue: Queue,
    scope: &Scope,
    most: Option<u32>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        r#"
        insert into controls as c (queue, scope, subject, max_running, changed_at)
        select $1, $2, $3, $4, $5
        where $4::integer is not null
            or exists (select from controls where queue = $1 and scope = $2 and subject = $3)
        on conflict (queue, scope, subject) do update set max_running = $4, changed_at = $5
            where c.max_running is distinct from $4
        "#,
        queue.name(),
        scope.name(),
        scope.subject(),
        most.map(|most| i32::try_from(most).unwrap_or(i32::MAX)),
        now,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    drop_idle(connection).await?;
    Ok(changed > 0)
}

/// A row that says nothing is no row.
async fn drop_idle(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from controls where not paused and max_running is null").execute(connection).await?;
    Ok(())
}
