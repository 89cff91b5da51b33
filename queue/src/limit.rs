//! Budgets: rate limits shared by all workers, as GCRA buckets in Redis with reservation.
//!
//! Asking answers "now", or names the moment that has been set aside for the one who asked, who then snoozes once, to
//! exactly that moment. Several budgets asked at once give all or nothing: what is short sets a moment aside, the others
//! are asked again then (`docs/decisions/06-only-the-bottleneck-reserves.md`). A slot that nobody comes for runs over
//! by itself; who knows that it will not come gives it back.
//!
//! In every span of time at most the burst and what the rate gives in that time is granted; with a burst of one, one
//! more, because nobody comes in the very moment of a slot. That holds while the rate moves. It does not hold where Redis
//! loses its data (budgets start full again), nor where processes disagree about the time by more than a minute.
//! `lua/budget_state.lua` has the arithmetic, [`model`] the same in Rust.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use redis::ScriptInvocation;
use runtime::{clock::Clock, redis::Redis};
use serde::Serialize;
use thiserror::Error;

use crate::{keys::BudgetKeys, scripts};

pub mod model;

/// Most budgets that are asked at once.
pub const MAX_TOGETHER: usize = 8;

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
    /// Call now: one call of every budget that was asked is taken.
    Now,
    /// Nothing is taken. Ask again at this moment.
    At {
        /// The moment. The budget that it waits for has set it aside for the ticket.
        moment: DateTime<Utc>,
        /// Which of the budgets asked it waits for, counted from 0.
        waits_for: usize,
    },
}

/// A budget as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// Calls that could be made at once now, beside those that are set aside.
    pub calls: u64,
    /// The most that is saved up.
    pub burst: u32,
    /// Calls per second that are in force now: as documented or told, times the share.
    pub rate: f64,
    /// Until when the other side's word about the rate is believed; `None` where the documented rate is in force.
    pub told_until: Option<DateTime<Utc>>,
    /// The part of the rate that is used, from 0 to 1: less than all while somebody else uses the rest.
    pub share: f64,
    /// Until when that is assumed.
    pub shared_until: Option<DateTime<Utc>>,
    /// The moment that the next one who asks would hear.
    pub next_free_at: DateTime<Utc>,
    /// How many slots are set aside, those that are due included.
    pub set_aside: u64,
}

/// Why a budget could not be asked or changed.
#[derive(Debug, Error)]
pub enum BudgetError {
    /// Redis failed, or a budget's key holds something else: nothing was changed.
    #[error("could not reach the budgets in Redis; if it says WRONGTYPE, delete the key of that budget")]
    Redis(#[from] redis::RedisError),
    /// What is stored is not what the scripts write.
    #[error("the budget's answer is not a moment")]
    Answer,
    /// A bug of the caller's.
    #[error("ask at most {MAX_TOGETHER} different budgets at once")]
    Together,
}

/// How long a rate that the other side named is believed.
pub const BELIEVE_RATE: Duration = Duration::from_secs(24 * 3_600);

/// What `lua/budget_look.lua` returns of a budget.
type RawLevel = (u64, String, u64, i64, String, u32, String);

/// All budgets of a deployment. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Budgets {
    side: Side,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
enum Side {
    Redis(Redis),
    Memory(Arc<Mutex<model::BudgetBook>>),
}

fn lock(book: &Mutex<model::BudgetBook>) -> MutexGuard<'_, model::BudgetBook> {
    // A panic elsewhere is a failed test, which ends by itself.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budgets {
    /// The budgets in `redis`, at the time that `clock` tells.
    #[must_use]
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        Self { side: Side::Redis(redis), clock }
    }

    /// Budgets in this process' memory, for tests: the same arithmetic, and gone with the process.
    #[must_use]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self { side: Side::Memory(Arc::default()), clock }
    }

    /// Asks for one call of each of these budgets (at most [`MAX_TOGETHER`], all different): all or none.
    ///
    /// `ticket` is who asks: it may hold one slot of a budget at a time, and asking again before the moment has come gets
    /// the same answer, or a later one if the rate has fallen meanwhile or another of the budgets has become short. Slots
    /// that would have run over by the moment of the answer are given back.
    ///
    /// # Errors
    /// When Redis fails; nothing is taken then.
    pub async fn ask(&self, budgets: &[Budget], ticket: &str) -> Result<Grant, BudgetError> {
        let redis = match &self.side {
            Side::Redis(redis) => redis,
            Side::Memory(book) => {
                check_together(budgets)?;
                return Ok(lock(book).ask(self.clock.now(), budgets, ticket));
            }
        };
        let (moment, waits_for): (String, usize) = self
            .call(redis, &scripts::BUDGET_ASK, budgets, ticket)?
            .invoke_async(&mut redis.connection())
            .await?;
        Ok(match waits_for.checked_sub(1) {
            None => Grant::Now,
            Some(waits_for) => Grant::At { moment: moment_of(&moment)?, waits_for },
        })
    }

    /// Frees what the ticket holds of these budgets: it will not come. The moments go to who asks next. Returns how many
    /// there were; giving back twice frees nothing more.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn give_back(&self, budgets: &[Budget], ticket: &str) -> Result<usize, BudgetError> {
        let redis = match &self.side {
            Side::Redis(redis) => redis,
            Side::Memory(book) => {
                check_together(budgets)?;
                return Ok(lock(book).give_back(self.clock.now(), budgets, ticket));
            }
        };
        let call = self.call(redis, &scripts::BUDGET_GIVE_BACK, budgets, ticket)?;
        Ok(call.invoke_async(&mut redis.connection()).await?)
    }

    /// Empties the budget: the other side refused a call (429). Returns the moment of the next free one. What is set aside
    /// stays so. The second refusal within an hour shows that somebody else uses a part of the rate: for an hour from then on
    /// three quarters of it are used, with each further one three quarters of that, down to a quarter.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn drain(&self, budget: &Budget) -> Result<DateTime<Utc>, BudgetError> {
        let redis = match &self.side {
            Side::Redis(redis) => redis,
            Side::Memory(book) => {
                return Ok(lock(book).drain(self.clock.now(), budget));
            }
        };
        let call = self.call(redis, &scripts::BUDGET_DRAIN, std::slice::from_ref(budget), "")?;
        let moment: String = call.invoke_async(&mut redis.connection()).await?;
        moment_of(&moment)
    }

    /// Moves the rate (calls per second) to what the other side says, for a day ([`BELIEVE_RATE`]); then the documented one
    /// holds again. What was used stays used, counted in calls. Moments that were set aside stay if the rate rises, and
    /// what comes free between them goes to others; if it falls they move apart, no further than they must.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn move_rate(&self, budget: &Budget, rate: f64) -> Result<(), BudgetError> {
        let redis = match &self.side {
            Side::Redis(redis) => redis,
            Side::Memory(book) => {
                lock(book).move_rate(self.clock.now(), budget, rate);
                return Ok(());
            }
        };
        let mut call = self.call(
            redis,
            &scripts::BUDGET_MOVE,
            std::slice::from_ref(budget),
            &interval_us(rate).to_string(),
        )?;
        call.arg(BELIEVE_RATE.as_micros().to_string());
        Ok(call.invoke_async(&mut redis.connection()).await?)
    }

    /// Looks at budgets (at most [`MAX_TOGETHER`]) and changes nothing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn look(&self, budgets: &[Budget]) -> Result<Vec<Level>, BudgetError> {
        let redis = match &self.side {
            Side::Redis(redis) => redis,
            Side::Memory(book) => {
                check_together(budgets)?;
                return Ok(lock(book).look(self.clock.now(), budgets));
            }
        };
        let call = self.call(redis, &scripts::BUDGET_LOOK, budgets, "")?;
        let levels: Vec<RawLevel> = call.invoke_async(&mut redis.connection()).await?;
        budgets
            .iter()
            .zip(levels)
            .map(|(budget, (calls, next_free_at, set_aside, told, until, share, shared_until))| {
                let share = f64::from(share) / 1_000.0;
                Ok(Level {
                    calls,
                    burst: budget.burst.max(1),
                    rate: if told > 0 { rate_of(told) } else { budget.rate } * share,
                    share,
                    shared_until: if share < 1.0 { Some(moment_of(&shared_until)?) } else { None },
                    told_until: if told > 0 { Some(moment_of(&until)?) } else { None },
                    next_free_at: moment_of(&next_free_at)?,
                    set_aside,
                })
            })
            .collect()
    }

    /// A call with the keys and arguments that all these scripts begin with.
    fn call<'a>(
        &self,
        redis: &Redis,
        script: &'a redis::Script,
        budgets: &[Budget],
        own: &str,
    ) -> Result<ScriptInvocation<'a>, BudgetError> {
        check_together(budgets)?;
        let mut call = script.prepare_invoke();
        call.arg(self.clock.now().timestamp_micros()).arg(own);
        for budget in budgets {
            let keys = BudgetKeys::new(redis.prefix(), &budget.name);
            call.key(keys.bucket).key(keys.slots).key(keys.free);
            call.arg(interval_us(budget.rate)).arg(budget.burst.max(1));
        }
        Ok(call)
    }

    /// From when each of these budgets has a call for somebody new, in their order; a moment that is not after now means
    /// that it has one. Takes and sets aside nothing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn next_free(&self, budgets: &[Budget]) -> Result<Vec<DateTime<Utc>>, BudgetError> {
        let mut moments = Vec::with_capacity(budgets.len());
        for some in budgets.chunks(MAX_TOGETHER) {
            moments.extend(self.look(some).await?.iter().map(|level| level.next_free_at));
        }
        Ok(moments)
    }
}

/// The same budget twice would be taken once.
fn check_together(budgets: &[Budget]) -> Result<(), BudgetError> {
    let names: HashSet<_> = budgets.iter().map(|budget| &budget.name).collect();
    if names.len() < budgets.len() || budgets.is_empty() || budgets.len() > MAX_TOGETHER {
        return Err(BudgetError::Together);
    }
    Ok(())
}

/// Microseconds between two calls; a rate that is no number counts as the slowest.
#[expect(clippy::cast_possible_truncation, reason = "the bounds keep it far inside i64")]
fn interval_us(rate: f64) -> i64 {
    let rate = if rate > 0.0 { rate.clamp(1e-6, 1e6) } else { 1e-6 };
    (1_000_000.0 / rate).ceil() as i64
}

/// Calls per second with so many microseconds between them.
#[expect(clippy::cast_precision_loss, reason = "the bounds of `interval_us` keep it exact")]
fn rate_of(interval_us: i64) -> f64 {
    1_000_000.0 / interval_us as f64
}

fn moment_of(text: &str) -> Result<DateTime<Utc>, BudgetError> {
    text.parse().ok().and_then(DateTime::from_timestamp_micros).ok_or(BudgetError::Answer)
}
