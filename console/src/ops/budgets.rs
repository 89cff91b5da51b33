//! Budgets of sellers at Amazon: how many calls there are now, and which rate holds. Reads only.

use jobs::{
    sp_api::{Operation, budgets::budget},
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
    /// How it stands.
    #[serde(flatten)]
    pub level: Level,
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
        seen.extend(some.iter().zip(levels).map(|((seller, operation), level)| SellerBudget {
            seller: *seller,
            operation: operation.entry().name,
            level,
        }));
    }
    Ok(seen)
}
