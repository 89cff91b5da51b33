//! The work during a run of chaos: orders keep changing at Amazon, and syncs are asked for, most through the crate in small
//! transactions, some by the command line.
//!
//! Whoever asks is as badly connected as everybody else. Each request carries an idempotency key and is made again until it
//! is known to be committed, so that a commit whose answer was lost makes no second job.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use jobs::{kinds::sync_orders::SyncOrders, store::sellers::SellerId};
use queue::outbox::{self, Cause, NewJob};
use runtime::clock::{Clock, SystemClock};
use sandbox::OrderChanges;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    amazon::Amazon,
    chaos::stage::blocking,
    process::{self, Environment},
    system::ConnectedSeller,
};

/// Between two requests.
const EVERY: Duration = Duration::from_millis(150);
/// One of so many requests is made by the command line.
const BY_COMMAND_LINE: u64 = 12;
/// Before one of so many requests, orders change at Amazon.
const ORDERS_CHANGE: u64 = 3;
/// Amazon tells changes when they are two minutes old.
const CHANGED_SECONDS_AGO: u32 = 130;
/// After so long without an answer a request is made again.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two attempts of one request.
const AGAIN: Duration = Duration::from_millis(200);

/// Asks for work, and remembers which jobs were promised.
pub(super) struct Load {
    pool: PgPool,
    amazon: Amazon,
    environment: Environment,
    sellers: Vec<ConnectedSeller>,
    committed: Mutex<BTreeSet<Uuid>>,
    asked_again: AtomicU64,
}

impl Load {
    pub(super) fn new(
        database_url: &str,
        amazon: Amazon,
        environment: Environment,
        sellers: Vec<ConnectedSeller>,
    ) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy(database_url)?;
        let (committed, asked_again) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { pool, amazon, environment, sellers, committed, asked_again })
    }

    /// The jobs that exist by what we were told.
    pub(super) fn committed(&self) -> BTreeSet<Uuid> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often a request had to be made again, because its answer was a failure or was lost.
    pub(super) fn asked_again(&self) -> u64 {
        self.asked_again.load(Ordering::Relaxed)
    }

    /// Asks for one seller's sync after the other until it is told to stop.
    pub(super) async fn keep_coming(&self, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        for number in 0_u64.. {
            if *stop.borrow() {
                break;
            }
            let seller = &self.sellers[usize::try_from(number)? % self.sellers.len()];
            if number % ORDERS_CHANGE == 0 {
                self.change_orders(seller, number).await?;
            }
            let key = format!("chaos/{number}");
            if number % BY_COMMAND_LINE == BY_COMMAND_LINE - 1 {
                self.by_command_line(seller, &key).await?;
            } else {
                self.by_transaction(seller, &key).await?;
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Asks for a sync of every seller: what changed last must be fetched too.
    pub(super) async fn one_of_each(&self) -> anyhow::Result<()> {
        for seller in &self.sellers {
            self.by_transaction(seller, &format!("chaos/last/{}", seller.id)).await?;
        }
        Ok(())
    }

    async fn change_orders(&self, seller: &ConnectedSeller, number: u64) -> anyhow::Result<()> {
        let changes = OrderChanges {
            seller: seller.selling_partner_id.clone(),
            count: 4,
            touch: 1,
            seconds_ago: CHANGED_SECONDS_AGO,
            seed: number,
        };
        self.amazon.change_orders(&changes).await.map(drop)
    }

    async fn by_transaction(&self, seller: &ConnectedSeller, key: &str) -> anyhow::Result<()> {
        let seller: SellerId = seller.id.parse().map_err(anyhow::Error::msg)?;
        let job = NewJob::of(&SyncOrders { seller }, Cause::Cli).idempotency_key(key);
        loop {
            match tokio::time::timeout(PATIENCE, self.enqueue(&job)).await {
                Ok(Ok(id)) => {
                    self.promise(id);
                    return Ok(());
                }
                Ok(Err(_)) | Err(_) => self.again().await,
            }
        }
    }

    async fn enqueue(&self, job: &NewJob) -> anyhow::Result<Uuid> {
        let mut transaction = self.pool.begin().await?;
        let answers = outbox::enqueue(&mut transaction, std::slice::from_ref(job), SystemClock.now()).await?;
        transaction.commit().await?;
        Ok(answers.first().context("one job has one answer")?.id().0)
    }

    async fn by_command_line(&self, seller: &ConnectedSeller, key: &str) -> anyhow::Result<()> {
        loop {
            let (environment, seller, key) = (self.environment.clone(), seller.id.clone(), key.to_owned());
            let output = blocking(move || {
                let words =
                    ["enqueue", "sync_orders", "--seller", &seller, "--idempotency-key", &key, "--json"];
                process::run("amzigo", &words, &environment, "")
            })
            .await?;
            if output.status.success() {
                let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
                let id = answer["id"].as_str().context("`amzigo enqueue` said no id")?;
                self.promise(id.parse()?);
                return Ok(());
            }
            self.again().await;
        }
    }

    fn promise(&self, id: Uuid) {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    async fn again(&self) {
        self.asked_again.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(AGAIN).await;
    }
}
