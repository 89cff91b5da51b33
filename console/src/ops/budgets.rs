//! Budgets of sellers at Amazon: how many calls there are now, and which rate holds. Reads only.

use chrono::{DateTime, Utc};
use jobs::{
    sp_api::{Operation, client::budget},
    store::sellers::SellerId,
};
use queue::limit::{BudgetError, Budgets, Level, MAX_TOGETHER};
use serde::Serialize;

/// One operation's budget for one seller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SellerBudget {
    /// Our id of the seller.
    pub seller: SellerId,
    /// Amazon's name of the operation.
    pub operation: &'static str,
    /// Calls that could be made at once now, beside those that are set aside.
    pub calls: u64,
    /// The most that is saved up.
    pub burst: u32,
    /// Calls per second that are in force.
    pub rate: f64,
    /// Until when Amazon's word about the rate is believed; `None`: the documented rate is in force.
    pub told_until: Option<DateTime<Utc>>,
    /// The moment that the next one who asks would hear.
    pub next_free_at: DateTime<Utc>,
    /// Moments that are set aside for those who wait.
    pub set_aside: u64,
}

/// The budgets of these sellers, for every operation that we may call.
///
/// # Errors
/// When Redis fails.
pub async fn of_sellers(budgets: &Budgets, sellers: &[SellerId]) -> Result<Vec<SellerBudget>, BudgetError> {
    let wanted: Vec<_> =
        sellers.iter().flat_map(|seller| Operation::ALL.map(|operation| (*seller, operation))).collect();
    let mut seen = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(MAX_TOGETHER) {
        let asked: Vec<_> = some.iter().map(|(seller, operation)| budget(*seller, *operation)).collect();
        let levels = budgets.look(&asked).await?;
        seen.extend(some.iter().zip(levels).map(|((seller, operation), level)| {
            let Level { calls, burst, rate, told_until, next_free_at, set_aside } = level;
            let operation = operation.entry().name;
            SellerBudget {
                seller: *seller,
                operation,
                calls,
                burst,
                rate,
                told_until,
                next_free_at,
                set_aside,
            }
        }));
    }
    Ok(seen)
}
