//! Whether a call may be made now: Amazon must be well, and the budgets must have one.
//!
//! Knows no socket and no token, so that whoever plays Amazon asks the same as who calls it.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use queue::limit::{Budgets, Grant, Level};
use runtime::clock::Clock;

use crate::{
    sp_api::{
        Operation, Region,
        answer::Refusal,
        budgets::budget,
        caller::Holder,
        circuit::{Circuits, Resting},
        error::CallError,
        request::Success,
    },
    store::sellers::SellerId,
};

/// A wait this short is spent in the run; a longer one snoozes the job and frees its slot.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// The right to make one call of an operation now, for a seller or for our application itself.
#[derive(Debug)]
#[must_use = "a permit takes a call from the budget"]
pub struct Permit {
    pub(super) holder: Holder,
    pub(super) operation: Operation,
}

/// The permits of this process; its budgets are those of all.
#[derive(Debug)]
pub struct Permits {
    budgets: Budgets,
    clock: Arc<dyn Clock>,
    circuits: Circuits,
    /// After a rest, how long who went ahead is waited for.
    patience: TimeDelta,
}

impl Permits {
    /// Permits from these budgets; a call has ended after `longest_call`.
    #[must_use]
    pub fn new(budgets: Budgets, clock: Arc<dyn Clock>, longest_call: Duration) -> Self {
        let patience = TimeDelta::from_std(longest_call).unwrap_or(TimeDelta::MAX);
        Self { budgets, clock, circuits: Circuits::default(), patience }
    }

    /// Asks for one call for a seller. `ticket` is who asks, usually the job: it holds one slot at a time.
    ///
    /// # Errors
    /// [`CallError::Wait`] with the moment that was set aside, when calls rest, or when Redis fails.
    pub async fn of_seller(
        &self,
        seller: SellerId,
        region: Region,
        operation: Operation,
        ticket: &str,
    ) -> Result<Permit, CallError> {
        self.circuits
            .ask(seller, region, operation, self.patience, self.clock.now())
            .map_err(|resting| CallError::Resting { operation, resting })?;
        self.take(Holder::Seller(seller, region), operation, ticket).await
    }

    /// Asks for one call in a region that serves no seller.
    ///
    /// # Errors
    /// As [`of_seller`](Self::of_seller).
    pub async fn of_application(
        &self,
        region: Region,
        operation: Operation,
        ticket: &str,
    ) -> Result<Permit, CallError> {
        self.take(Holder::Application(region), operation, ticket).await
    }

    async fn take(&self, holder: Holder, operation: Operation, ticket: &str) -> Result<Permit, CallError> {
        let budgets = holder.budgets(operation);
        loop {
            match self.budgets.ask(&budgets, ticket).await? {
                Grant::Now => return Ok(Permit { holder, operation }),
                Grant::At { moment: until, .. } => {
                    let wait = (until - self.clock.now()).to_std().unwrap_or_default();
                    if wait > SHORT_WAIT {
                        return Err(CallError::Wait { operation, until });
                    }
                    tokio::time::sleep(wait + Duration::from_millis(1)).await;
                }
            }
        }
    }

    /// Waits shortly until the seller's budget holds more than `keep` calls, which are for others; takes none.
    ///
    /// # Errors
    /// [`CallError::Wait`] with the moment at which it will, or when Redis fails.
    pub async fn room_beside(
        &self,
        seller: SellerId,
        operation: Operation,
        keep: u64,
    ) -> Result<(), CallError> {
        let budget = budget(seller, operation);
        loop {
            let levels = self.budgets.look(std::slice::from_ref(&budget)).await?;
            let Some(missing) = levels.first().and_then(|level| missing(level, keep)) else { return Ok(()) };
            if missing > SHORT_WAIT {
                let until = self.clock.now() + TimeDelta::from_std(missing).unwrap_or(TimeDelta::MAX);
                return Err(CallError::Wait { operation, until });
            }
            tokio::time::sleep(missing + Duration::from_millis(1)).await;
        }
    }

    /// Opens and closes circuits by what became of a call.
    pub(super) fn note_health(
        &self,
        id: SellerId,
        region: Region,
        operation: Operation,
        result: &Result<Success, CallError>,
    ) {
        let name = operation.entry().name;
        let changed = match result {
            Err(
                CallError::NotSent { .. }
                | CallError::NoAnswer { .. }
                | CallError::Refused { refusal: Refusal::AmazonFailed, .. },
            ) => {
                let resting = self.circuits.ill(id, region, operation, self.clock.now());
                for Resting { scope, until } in &resting {
                    let scope = scope.name();
                    tracing::warn!(seller.id = %id, operation.name = name, scope, %until, "Amazon is ill: calls rest");
                }
                !resting.is_empty()
            }
            Err(CallError::Refused { refusal: Refusal::AccessDenied, .. }) => {
                let resting = self.circuits.denied(id, operation, self.clock.now());
                for Resting { until, .. } in &resting {
                    tracing::error!(seller.id = %id, operation.name = name, %until, "Amazon denies access: a role is missing");
                }
                !resting.is_empty()
            }
            Ok(_) | Err(CallError::Refused { .. }) => {
                let closed = self.circuits.well(id, region, operation);
                for scope in &closed {
                    let scope = scope.name();
                    tracing::info!(seller.id = %id, operation.name = name, scope, "Amazon is well again");
                }
                !closed.is_empty()
            }
            Err(_) => false,
        };
        if changed {
            self.circuits.measure();
        }
    }
}

/// How long until a budget at this level holds more than `keep` calls, if it does not.
#[expect(clippy::cast_precision_loss, reason = "bursts are small")]
fn missing(level: &Level, keep: u64) -> Option<Duration> {
    let keep = keep.min(u64::from(level.burst).saturating_sub(1));
    let missing = (keep + 1).checked_sub(level.calls).filter(|missing| *missing > 0)?;
    Some(Duration::from_secs_f64(missing as f64 / level.rate.max(1e-6)))
}
