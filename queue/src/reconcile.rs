//! Puts back what the ledger says is unfinished and Redis no longer knows.
//!
//! A mark in Redis (`epoch`) vanishes with its data: then everything unfinished is pushed again at once. After a restart,
//! which may have lost the last second of writes, and now and then for good measure, a census reads the ids of all that
//! Redis holds, and only the difference is pushed. Pushing too much is harmless: the ledger runs one copy.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use redis::{AsyncCommands, RedisResult};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Engine, JobId, WorkerId,
    engine::RedisSide,
    envelope::{self, Envelope},
    keys::QueueKeys,
    outbox::RelayError,
    policy::Queue,
    scripts::{self, MAX_IDS},
    state::State,
};

impl RedisSide {
    pub(crate) async fn epoch(&self, queue: Queue) -> RedisResult<Option<String>> {
        self.connection().hget(self.keys(queue).head(), "epoch").await
    }

    pub(crate) async fn mark_epoch(&self, queue: Queue, mark: &str) -> RedisResult<()> {
        self.connection().hset(self.keys(queue).head(), "epoch", mark).await
    }

    pub(crate) async fn server_run(&self) -> RedisResult<String> {
        self.redis().server_run().await
    }

    pub(crate) async fn census(&self, queue: Queue) -> RedisResult<HashSet<JobId>> {
        let keys = self.keys(queue);
        let mut ids = HashSet::new();
        self.count_delayed(&keys, &mut ids).await?;
        for lane in self.lanes(&keys).await? {
            self.count_lane(&keys, &lane, &mut ids).await?;
        }
        let workers: Vec<Vec<u8>> = self.connection().zrange(keys.workers(), 0, -1).await?;
        for worker in workers {
            let Ok(worker) = Uuid::from_slice(&worker).map(WorkerId) else { continue };
            let held: Vec<Vec<u8>> = self.connection().hkeys(keys.lease(worker)).await?;
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

    async fn lanes(&self, keys: &QueueKeys) -> RedisResult<BTreeSet<Vec<u8>>> {
        let mut lanes = BTreeSet::new();
        self.lanes_in_rings(keys, &mut lanes).await?;
        let mut connection = self.connection();
        let parked: Vec<Vec<u8>> = connection.smembers(keys.parked_groups()).await?;
        for group in parked {
            lanes.extend(connection.smembers::<_, Vec<Vec<u8>>>(keys.parked(&group)).await?);
        }
        self.lanes_in_rings(keys, &mut lanes).await?;
        Ok(lanes)
    }

    async fn lanes_in_rings(&self, keys: &QueueKeys, lanes: &mut BTreeSet<Vec<u8>>) -> RedisResult<()> {
        let mut connection = self.connection();
        let rings: Vec<Vec<u8>> = connection.zrange(keys.rings(), 0, -1).await?;
        for ring in rings {
            let groups: Vec<Vec<u8>> = connection.lrange(keys.ring(&ring), 0, -1).await?;
            lanes.extend(groups.iter().map(|group| envelope::lane(&ring, group)));
        }
        Ok(())
    }

    async fn count_lane(&self, keys: &QueueKeys, lane: &[u8], ids: &mut HashSet<JobId>) -> RedisResult<()> {
        let step = i64::try_from(MAX_IDS).unwrap_or(i64::MAX);
        for end in (1..).step_by(MAX_IDS) {
            let page: Vec<Vec<u8>> = scripts::IDS_OF_LANE
                .key(keys.base())
                .arg(lane)
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
            select id, kind, group_name, payload::text as "payload!", state, due_at, priority, payload_version
            from jobs
            where queue = $1 and finished_at is null and id > $2 and touched_at < $3
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
                    priority: row.priority.parse().unwrap_or_default(),
                    version: u8::try_from(row.payload_version).unwrap_or(1),
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
