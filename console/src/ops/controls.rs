//! What is paused, limited and weighted: showing it, and changing it in the name of a person.
//!
//! A change is first a row of `controls`, with its act, and then told to Redis, which obeys at the next claim. Where Redis is
//! away it stays a row: the scheduler tells Redis within a second of its return. Doing it twice changes nothing the second
//! time, and records nothing.

use chrono::{DateTime, Utc};
use jobs::catalog::CATALOG;
use queue::{
    Engine, Queue,
    controls::{self, Scope},
    job::PayloadError,
};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use thiserror::Error;

use crate::ops::Act;

/// What a control says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum Setting {
    /// Nothing of it is taken.
    Paused,
    /// How many jobs of it run at once.
    Limit {
        /// So many.
        most: u32,
        /// Whether they are counted for each group by itself.
        each_group: bool,
    },
    /// It gets more turns than others.
    Weight {
        /// So many times as many.
        times: u32,
    },
}

/// Who decided something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Since when it holds.
    pub since: DateTime<Utc>,
    /// By whom; `None` where it was not done through the console.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// One thing that is said of a queue, one of its kinds, or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Where.
    pub queue: Queue,
    /// Of what.
    #[serde(flatten)]
    pub scope: Scope,
    /// What.
    #[serde(flatten)]
    pub setting: Setting,
    /// Which person said so; `None`: the kind's policy.
    pub decided: Option<Decided>,
    /// Whether it holds: a person's limit takes the place of the policy's.
    pub in_force: bool,
}

impl Control {
    /// What it is about, in words.
    #[must_use]
    pub fn of(&self) -> String {
        described(self.queue, &self.scope)
    }

    /// What it says, in words.
    #[must_use]
    pub fn says(&self) -> String {
        match self.setting {
            Setting::Paused => "paused".to_owned(),
            Setting::Limit { most, each_group: false } => format!("at most {most} at once"),
            Setting::Limit { most, each_group: true } => format!("at most {most} at once for each group"),
            Setting::Weight { times } => format!("{times} turns to one of others"),
        }
    }
}

/// A scope in words: `queue sync`, `kind sync_orders on sync`, `group X on sync`.
#[must_use]
pub fn described(queue: Queue, scope: &Scope) -> String {
    match scope {
        Scope::Queue => format!("queue {queue}"),
        Scope::Kind(name) => format!("kind {name} on {queue}"),
        Scope::Group(name) => format!("group {name} on {queue}"),
    }
}

/// What a person wants of a queue, a kind or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Take nothing of it.
    Pause,
    /// Take it again.
    Resume,
    /// Run at most so many at once; `None`: as many as its policy lets.
    Limit(Option<u32>),
}

impl Change {
    /// As in the audit log.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Pause => "controls.pause",
            Self::Resume => "controls.resume",
            Self::Limit(_) => "controls.limit",
        }
    }

    /// What is written as the act's target. [`people`] looks for it.
    fn target(self, queue: Queue, scope: &Scope) -> String {
        let of = match scope {
            Scope::Queue => queue.to_string(),
            Scope::Kind(name) => format!("{queue} kind {name}"),
            Scope::Group(name) => format!("{queue} group {name}"),
        };
        match self {
            Self::Pause | Self::Resume => of,
            Self::Limit(Some(most)) => format!("{of}: at most {most}"),
            Self::Limit(None) => format!("{of}: no limit"),
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// There is no such kind.
    #[error(transparent)]
    Kind(#[from] PayloadError),
    /// Its jobs wait elsewhere.
    #[error("the jobs of `{kind}` wait on queue {own}, not on {queue}: name that queue")]
    Elsewhere {
        /// The kind.
        kind: String,
        /// The queue that was named.
        queue: Queue,
        /// Its own.
        own: Queue,
    },
    /// The database failed.
    #[error("could not change the controls")]
    Database(#[from] sqlx::Error),
}

impl ChangeError {
    /// Whether trying again cannot help.
    #[must_use]
    pub const fn refused(&self) -> bool {
        matches!(self, Self::Kind(_) | Self::Elsewhere { .. })
    }
}

/// Changes what is said of a scope, and records the act, in a transaction of its own or a part of the caller's. Returns
/// whether that changed anything. [`tell`] it to Redis afterwards.
///
/// # Errors
/// When there is no such kind on the queue, or the database fails.
pub async fn change(
    connection: &mut PgConnection,
    queue: Queue,
    scope: &Scope,
    change: Change,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<bool, ChangeError> {
    // What was said of a kind that is no longer in the catalog can still be taken back.
    let takes_back = matches!(change, Change::Resume | Change::Limit(None));
    if !takes_back {
        check(queue, scope)?;
    }
    let mut transaction = connection.begin().await?;
    let changed = match change {
        Change::Pause | Change::Resume => {
            controls::set_paused(&mut transaction, queue, scope, change == Change::Pause, now).await?
        }
        Change::Limit(most) => controls::set_limit(&mut transaction, queue, scope, most, now).await?,
    };
    if changed {
        act.record(&mut transaction, change.action(), &change.target(queue, scope), now).await?;
    } else {
        check(queue, scope)?;
    }
    transaction.commit().await?;
    Ok(changed)
}

/// A kind must be one of the queue's.
fn check(queue: Queue, scope: &Scope) -> Result<(), ChangeError> {
    let Scope::Kind(name) = scope else { return Ok(()) };
    match CATALOG.get(name) {
        None => Err(CATALOG.unknown(name).into()),
        Some(kind) if kind.policy.queue != queue => {
            Err(ChangeError::Elsewhere { kind: name.clone(), queue, own: kind.policy.queue })
        }
        Some(_) => Ok(()),
    }
}

/// Why Redis was not told.
#[derive(Debug, Error)]
pub enum TellError {
    /// The database failed.
    #[error("could not read the controls")]
    Database(#[from] sqlx::Error),
    /// Redis failed.
    #[error("could not tell Redis")]
    Redis(#[from] redis::RedisError),
}

/// Tells Redis all controls of a queue. Returns when what it was told last is what the table says: two people who change
/// something at the same moment could otherwise leave it with the older word.
///
/// # Errors
/// When the database or Redis fails; the scheduler tells it then.
pub async fn tell(connection: &mut PgConnection, engine: &Engine, queue: Queue) -> Result<(), TellError> {
    let mut told = None;
    loop {
        let mut wanted = CATALOG.controls(queue);
        controls::decided(connection, queue, &mut wanted).await?;
        if told.as_ref() == Some(&wanted) {
            return Ok(());
        }
        engine.control(queue, &wanted).await?;
        told = Some(wanted);
    }
}

/// Whether a job that has not ended is for this group on this queue.
///
/// # Errors
/// When the database fails.
pub async fn group_has_jobs(
    connection: &mut PgConnection,
    queue: Queue,
    group: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (select from jobs where queue = $1 and group_name = $2 and finished_at is null) as "has!"
        "#,
        queue.name(),
        group,
    )
    .fetch_one(connection)
    .await
}

/// All that is said of this queue, or of all of them: by people first, then by policies.
///
/// # Errors
/// When the database fails.
pub async fn list(connection: &mut PgConnection, queue: Option<Queue>) -> Result<Vec<Control>, sqlx::Error> {
    let mut all = people(connection, queue).await?;
    let queues = Queue::ALL.into_iter().filter(|one| queue.is_none_or(|only| only == *one));
    let asked: Vec<_> = queues.flat_map(of_policies).map(|control| overruled(control, &all)).collect();
    all.extend(asked);
    all.sort_by_key(|control| control.queue);
    Ok(all)
}

/// A person's limit of a kind takes the place of the policy's.
fn overruled(mut control: Control, by_people: &[Control]) -> Control {
    let alike = |other: &Control| {
        (other.queue, &other.scope) == (control.queue, &control.scope)
            && matches!(other.setting, Setting::Limit { .. })
    };
    if matches!(control.setting, Setting::Limit { each_group: false, .. }) && by_people.iter().any(alike) {
        control.in_force = false;
    }
    control
}

fn of_policies(queue: Queue) -> Vec<Control> {
    let asked = CATALOG.controls(queue);
    let control = |kind: &String, setting| Control {
        queue,
        scope: Scope::Kind(kind.clone()),
        setting,
        decided: None,
        in_force: true,
    };
    let limits = |of: &std::collections::BTreeMap<String, u32>, each_group| -> Vec<Control> {
        of.iter().map(|(kind, most)| control(kind, Setting::Limit { most: *most, each_group })).collect()
    };
    let mut all = limits(&asked.kind_limits, false);
    all.extend(limits(&asked.each_limits, true));
    all.extend(asked.weights.iter().map(|(kind, times)| control(kind, Setting::Weight { times: *times })));
    all
}

/// What people have decided, with the acts by which they did; [`Change::target`] writes what is looked for.
async fn people(connection: &mut PgConnection, queue: Option<Queue>) -> Result<Vec<Control>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select queue, scope, subject, paused, max_running, changed_at,
            pauses.at as "paused_at?", pauses.actor as "paused_by?", pauses.reason as "pause_reason?",
            limits.at as "limited_at?", limits.actor as "limited_by?", limits.reason as "limit_reason?"
        from controls
        cross join lateral (
            select queue || case scope when 'queue' then '' else ' ' || scope || ' ' || subject end as target
        ) as named
        left join lateral (
            select at, actor, reason from audit_log
            where paused and audit_log.target = named.target and action = 'controls.pause' order by id desc limit 1
        ) as pauses on true
        left join lateral (
            select at, actor, reason from audit_log
            where audit_log.target = named.target || ': at most ' || max_running and action = 'controls.limit'
            order by id desc limit 1
        ) as limits on true
        where $1::text is null or queue = $1
        order by array_position(array['queue', 'kind', 'group'], scope), subject
        "#,
        queue.map(Queue::name),
    )
    .fetch_all(connection)
    .await?;
    let mut all = Vec::new();
    for row in rows {
        // The table's own check leaves no other queue.
        let Ok(queue) = row.queue.parse::<Queue>() else { continue };
        let scope = match row.scope.as_str() {
            "kind" => Scope::Kind(row.subject),
            "group" => Scope::Group(row.subject),
            _ => Scope::Queue,
        };
        let mut add = |setting, since: Option<DateTime<Utc>>, by, reason| {
            let decided = Some(Decided { since: since.unwrap_or(row.changed_at), by, reason });
            all.push(Control { queue, scope: scope.clone(), setting, decided, in_force: true });
        };
        if row.paused {
            add(Setting::Paused, row.paused_at, row.paused_by, row.pause_reason);
        }
        if let Some(most) = row.max_running.and_then(|most| u32::try_from(most).ok()) {
            let setting = Setting::Limit { most, each_group: row.scope == "queue" };
            add(setting, row.limited_at, row.limited_by, row.limit_reason);
        }
    }
    Ok(all)
}
