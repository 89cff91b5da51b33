//! What happens in the demo, one act after the other; each begins when what came before has ended.

use std::time::Duration;

use anyhow::ensure;
use sandbox::{OrderChanges, ProductChanges};
use tokio::time::Instant;

use super::{progress::Progress, say};
use crate::system::{ConnectedSeller, System};

/// Who plays.
pub(super) struct Cast {
    /// Address of the console.
    pub(super) console: String,
    /// The sellers who stay.
    pub(super) sellers: Vec<ConnectedSeller>,
    /// The one who leaves.
    pub(super) leaver: ConnectedSeller,
}

/// What looks at stored orders. The first is due minutes after a seller connects, unless somebody asks for it.
const AFTER_ORDERS: &[&str] = &["sync_performance", "plan_review_requests"];
/// Listens for most of a minute, whatever else happens.
const LISTENS: &str = "receive_notifications";

/// The acts of a demo.
pub(super) struct Acts<'a> {
    pub(super) system: &'a System,
    pub(super) cast: &'a Cast,
    pub(super) started: Instant,
    /// Longest time for all of them.
    pub(super) limit: Duration,
    pub(super) progress: Progress,
}

impl Acts<'_> {
    /// All of them.
    pub(super) async fn play(&mut self) -> anyhow::Result<()> {
        self.newcomers().await?;
        self.changes().await?;
        self.one_leaves().await?;
        self.last_changes().await
    }

    /// Sellers connected: what is there is copied.
    async fn newcomers(&mut self) -> anyhow::Result<()> {
        self.say(
            "what is there is copied: where they sell, orders of two years, stock, listings with sales ranks",
        );
        self.until_ended(&[AFTER_ORDERS, &[LISTENS]].concat()).await
    }

    /// Orders and products appear and change. Notices tell of it; nobody waits for them here.
    async fn changes(&mut self) -> anyhow::Result<()> {
        self.say("orders change, products appear; figures, account health and feedback are copied, reviews requested");
        self.system.enqueue_for_all(LISTENS)?;
        for (number, seller) in (0..).zip(&self.cast.sellers) {
            let partner = &seller.selling_partner_id;
            let products = ProductChanges { seller: partner.clone(), count: 2, ..ProductChanges::default() };
            self.system.amazon.change_products(&products).await?;
            // Amazon tells changes that are over two minutes old.
            let orders =
                OrderChanges { seller: partner.clone(), count: 3, touch: 2, seconds_ago: 130, seed: number };
            self.system.amazon.change_orders(&orders).await?;
        }
        self.ask(&["sync_orders", "sync_inventory", "sync_listings"])?;
        self.until_ended(&[&[LISTENS, "sync_orders"], AFTER_ORDERS].concat()).await?;
        self.until_run("sync_orders").await?;
        self.ask(AFTER_ORDERS)?;
        self.system.enqueue("sync_performance", &self.cast.leaver.id)?;
        self.until_ended(&[LISTENS, "sync_orders"]).await
    }

    /// Amazon refused a seller's authorisation so long ago that its data are to be deleted.
    async fn one_leaves(&mut self) -> anyhow::Result<()> {
        self.say("a seller's authorisation ended 25 days ago: it is disconnected, and its data are deleted");
        sqlx::query(
            "update sellers set state = 'needs_reauthorisation', state_reason = 'Amazon refused the authorisation',
                 connected_at = connected_at - interval '60 days', authorisation_ended_at = now() - interval '25 days'
             where id = $1::uuid",
        )
        .bind(&self.cast.leaver.id)
        .execute(&self.system.pool)
        .await?;
        self.system.enqueue_for_all("watch_authorisations")?;
        self.until_ended(&[LISTENS, "sync_orders"]).await
    }

    /// Notices are taken until there are none left. What they let wait for three minutes is asked for at once instead.
    async fn last_changes(&mut self) -> anyhow::Result<()> {
        self.say("the last notices are taken");
        loop {
            self.until_ended(&["sync_orders"]).await?;
            let queue = self.system.amazon.queue().await?;
            if queue.visible + queue.in_flight == 0 {
                break;
            }
            self.system.enqueue_for_all(LISTENS)?;
        }
        self.system.cancel_syncs_after_notices()?;
        self.ask(&["sync_orders"])?;
        self.until_ended(&[]).await?;
        self.progress.end();
        Ok(())
    }

    fn say(&mut self, what: &str) {
        self.progress.end();
        say(what);
    }

    /// Asks for jobs of every seller who stays.
    fn ask(&self, kinds: &[&str]) -> anyhow::Result<()> {
        for seller in &self.cast.sellers {
            for kind in kinds {
                self.system.enqueue(kind, &seller.id)?;
            }
        }
        Ok(())
    }

    /// Waits until all jobs have ended but those of some kinds.
    async fn until_ended(&mut self, but: &[&str]) -> anyhow::Result<()> {
        let but: Vec<_> = but.iter().map(|kind| (*kind).to_owned()).collect();
        loop {
            let open: Vec<(String, i64)> = sqlx::query_as(
                "select kind, count(*) from jobs where finished_at is null and kind <> all($1) group by kind order by kind",
            )
            .bind(&but)
            .fetch_all(&self.system.pool)
            .await?;
            if open.is_empty() {
                return Ok(());
            }
            self.wait(&format!("{open:?}")).await?;
        }
    }

    /// Waits until no job of a kind is left that is due already.
    async fn until_run(&mut self, kind: &str) -> anyhow::Result<()> {
        loop {
            let open: i64 = sqlx::query_scalar(
                "select count(*) from jobs where finished_at is null and kind = $1 and due_at <= now()",
            )
            .bind(kind)
            .fetch_one(&self.system.pool)
            .await?;
            if open == 0 {
                return Ok(());
            }
            self.wait(&format!("{open} of {kind}")).await?;
        }
    }

    async fn wait(&mut self, unfinished: &str) -> anyhow::Result<()> {
        ensure!(
            self.started.elapsed() < self.limit,
            "jobs are unfinished after {} s: {unfinished}",
            self.limit.as_secs()
        );
        self.progress.show(self.system, self.started).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }
}
