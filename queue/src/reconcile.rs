//! Puts back what the ledger says is unfinished and Redis no longer knows.
//!
//! A mark in Redis (`epoch`) vanishes with its data: then everything unfinished is pushed again at once. After a restart,
//! which may have lost the last second of writes, and now and then for good measure, a census reads the ids of all that
//! Redis holds, and only the difference is pushed. Pushing too much is harmless: the ledger runs one copy.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Engine, JobId,
    envelope::Envelope,
    keys::QueueKeys,
    outbox::RelayError,
    policy::Queue,
    scripts::{self, MAX_IDS},
    state::State,
};

impl Engine {
    /// The mark that shows whether Redis still has its data; `None` when it lost them.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn epoch(&self, queue: Queue) -> RedisResult<Option<String>> {
        self.connection().get(self.keys(queue).epoch()).await
    }

    /// Sets a new mark, when everything has been put back.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn mark_epoch(&self, queue: Queue) -> RedisResult<()> {
        self.connection().set(self.keys(queue).epoch(), Uuid::new_v4().to_string()).await
    }

    /// Which start of which Redis servers this is; it changes when one was started again, or when a replica took over.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn server_run(&self) -> RedisResult<String> {
        self.redis().server_run().await
    }

    /// The ids of all that Redis holds of a queue. A job that is not touched meanwhile is never missed: it is read in the
    /// direction in which jobs move (delayed, ready, leased), and each list from its end.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn census(&self, queue: Queue) -> RedisResult<HashSet<JobId>> {
        let keys = self.keys(queue);
        let mut ids = HashSet::new();
        self.count_delayed(&keys, &mut ids).await?;
        // One read of the whole ring: it turns, so pieces of it could miss a group. Its length is the number of groups.
        let ring: Vec<Vec<u8>> = self.connection().lrange(keys.ring(), 0, -1).await?;
        for group in ring {
            self.count_group(&keys, &group, &mut ids).await?;
        }
        let workers: Vec<Vec<u8>> = self.connection().zrange(keys.workers(), 0, -1).await?;
        for worker in workers {
            let mut lease = keys.leases().into_bytes();
            lease.extend_from_slice(&worker);
            let held: Vec<Vec<u8>> = self.connection().hkeys(lease).await?;
            ids.extend(held.iter().filter_map(|id| Envelope::id_of(id)));
        }
        Ok(ids)
    }

    async fn count_delayed(&self, keys: &QueueKeys, ids: &mut HashSet<JobId>) -> RedisResult<()> {
        let mut cursor = 0_u64;
        loop {
            let (next, page): (u64, Vec<(Vec<u8>, f64)>) = redis::cmd("ZSCAN")
                .arg(keys.delayed())
                .arg(cursor)
                .arg("COUNT")
                .arg(MAX_IDS)
                .query_async(&mut self.connection())
                .await?;
            ids.extend(page.iter().filter_map(|(entry, _)| Envelope::id_of(entry)));
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn count_group(&self, keys: &QueueKeys, group: &[u8], ids: &mut HashSet<JobId>) -> RedisResult<()> {
        let mut list = keys.groups().into_bytes();
        list.extend_from_slice(group);
        let step = i64::try_from(MAX_IDS).unwrap_or(i64::MAX);
        for end in (1..).step_by(MAX_IDS) {
            let page: Vec<Vec<u8>> = scripts::IDS_OF_LIST
                .key(&list)
                .arg(-(end + step - 1))
                .arg(-end)
                .invoke_async(&mut self.connection())
                .await?;
            ids.extend(page.iter().filter_map(|id| Envelope::id_of(id)));
            if page.len() < MAX_IDS {
                break;
            }
        }
        Ok(())
    }
}

/// Pushes the unfinished jobs of a queue that were last touched before `touched_before`, except those in `known` and
/// those still in the outbox. Returns how many.
///
/// # Errors
/// When Postgres or Redis fails; what was pushed so far stays pushed.
pub async fn put_back(
    pool: &PgPool,
    engine: &Engine,
    queue: Queue,
    known: &HashSet<JobId>,
    touched_before: DateTime<Utc>,
) -> Result<usize, RelayError> {
    let page = i64::try_from(MAX_IDS).unwrap_or(i64::MAX);
    let mut after = Uuid::nil();
    let mut count = 0;
    loop {
        let rows = sqlx::query!(
            r#"
            select id, kind, group_name, payload::text as "payload!", state, due_at
            from jobs
            where queue = $1 and state in ('ready', 'delayed', 'running') and id > $2 and touched_at < $3
                and not exists (select from outbox where outbox.job_id = jobs.id)
            order by id limit $4
            "#,
            queue.name(),
            after,
            touched_before,
            page,
        )
        .fetch_all(pool)
        .await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after = last.id;
        let missing: Vec<_> = rows
            .into_iter()
            .filter(|row| !known.contains(&JobId(row.id)))
            .map(|row| {
                let due_at = Some(row.due_at).filter(|_| row.state == State::Delayed.name());
                let envelope = Envelope {
                    id: JobId(row.id),
                    group: row.group_name,
                    kind: row.kind,
                    payload: row.payload.into_bytes(),
                };
                (due_at, envelope)
            })
            .collect();
        count += missing.len();
        engine.push(queue, &missing).await?;
    }
}
