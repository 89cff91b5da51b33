//! Budgets: rate limits shared by all workers, as GCRA buckets in Redis with reservation.
//!
//! Asking answers "now", or names the moment that has been set aside for the one who asked, who then snoozes once, to
//! exactly that moment. `lua/budget_ask.lua` has the arithmetic.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use runtime::{clock::Clock, redis::Redis};
use thiserror::Error;

use crate::{keys::BudgetKeys, scripts};

/// A budget as its owner documents it.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Its name in Redis: what is limited, for whom.
    pub name: String,
    /// Calls per second in the long run.
    pub rate: f64,
    /// Calls at once when nothing was used for a while; at least 1.
    pub burst: u32,
}

/// The answer to asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Call now.
    Now,
    /// Call at this moment; it is set aside for the ticket.
    At(DateTime<Utc>),
}

/// Why a budget could not be asked or changed.
#[derive(Debug, Error)]
pub enum BudgetError {
    /// Redis failed.
    #[error("could not reach the budgets in Redis")]
    Redis(#[from] redis::RedisError),
    /// What is stored is not what the scripts write.
    #[error("the budget's answer is not a moment")]
    Answer,
}

/// How long a slot that nobody came for is remembered.
const KEEP_UNUSED: Duration = Duration::from_secs(3_600);
/// How long a rate that the other side named is believed.
const BELIEVE_RATE: Duration = Duration::from_secs(24 * 3_600);

/// All budgets of a deployment. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Budgets {
    redis: Redis,
    clock: Arc<dyn Clock>,
}

impl Budgets {
    /// The budgets in `redis`, at the time that `clock` tells.
    #[must_use]
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self { redis, clock }
    }

    /// Asks for one call. `ticket` is who asks: it may hold one slot of a budget at a time, and asking again before the
    /// moment has come gets the same answer.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn ask(&self, budget: &Budget, ticket: &str) -> Result<Grant, BudgetError> {
        let keys = BudgetKeys::new(self.redis.prefix(), &budget.name);
        let now = self.clock.now();
        let moment: String = scripts::BUDGET_ASK
            .key(keys.bucket)
            .key(keys.slots)
            .arg(now.timestamp_micros())
            .arg(ticket)
            .arg(interval_us(budget.rate))
            .arg(budget.burst.max(1))
            .arg(KEEP_UNUSED.as_micros().to_string())
            .invoke_async(&mut self.redis.connection())
            .await?;
        let moment = moment_of(&moment)?;
        Ok(if moment <= now { Grant::Now } else { Grant::At(moment) })
    }

    /// Empties the budget: the other side refused a call (429). Returns the moment of the next free one.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn drain(&self, budget: &Budget) -> Result<DateTime<Utc>, BudgetError> {
        let keys = BudgetKeys::new(self.redis.prefix(), &budget.name);
        let moment: String = scripts::BUDGET_DRAIN
            .key(keys.bucket)
            .arg(self.clock.now().timestamp_micros())
            .arg(interval_us(budget.rate))
            .arg(budget.burst.max(1))
            .invoke_async(&mut self.redis.connection())
            .await?;
        moment_of(&moment)
    }

    /// Moves the rate (calls per second) to what the other side says, for a day.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn move_rate(&self, budget: &Budget, rate: f64) -> Result<(), BudgetError> {
        let keys = BudgetKeys::new(self.redis.prefix(), &budget.name);
        scripts::BUDGET_MOVE
            .key(keys.bucket)
            .arg(self.clock.now().timestamp_micros())
            .arg(interval_us(budget.rate))
            .arg(interval_us(rate))
            .arg(BELIEVE_RATE.as_millis().to_string())
            .invoke_async::<()>(&mut self.redis.connection())
            .await?;
        Ok(())
    }

    /// From when each of these budgets has a call for somebody new, in their order; a moment that is not after now means
    /// that it has one. Takes and sets aside nothing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn next_free(&self, budgets: &[Budget]) -> Result<Vec<DateTime<Utc>>, BudgetError> {
        if budgets.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = redis::pipe();
        for budget in budgets {
            reads.hmget(BudgetKeys::new(self.redis.prefix(), &budget.name).bucket, &["tat", "interval"]);
        }
        let buckets: Vec<(Option<i64>, Option<i64>)> =
            reads.query_async(&mut self.redis.connection()).await?;
        let free_at = |(budget, (tat, interval)): (&Budget, (Option<i64>, Option<i64>))| {
            let saved_up = i64::from(budget.burst.max(1) - 1);
            let interval = interval.unwrap_or_else(|| interval_us(budget.rate));
            let moment = tat.unwrap_or(0).saturating_sub(saved_up.saturating_mul(interval));
            DateTime::from_timestamp_micros(moment).ok_or(BudgetError::Answer)
        };
        budgets.iter().zip(buckets).map(free_at).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the bounds keep it far inside i64")]
fn interval_us(rate: f64) -> i64 {
    (1_000_000.0 / rate.clamp(1e-6, 1e6)).ceil() as i64
}

fn moment_of(text: &str) -> Result<DateTime<Utc>, BudgetError> {
    text.parse().ok().and_then(DateTime::from_timestamp_micros).ok_or(BudgetError::Answer)
}
