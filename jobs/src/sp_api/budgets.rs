//! Amazon's usage plans as budgets of the engine.

use queue::limit::Budget;

use crate::{
    sp_api::{
        Operation, Region,
        operations::{Caller, UsagePlan},
    },
    store::sellers::SellerId,
};

/// The budget of an operation for a seller: Amazon's usage plan, less what is kept back.
#[must_use]
pub fn budget(seller: SellerId, operation: Operation) -> Budget {
    let entry = operation.entry();
    of_plan(format!("{}:{seller}", entry.name), entry.plan)
}

/// All that a call of an operation for a seller takes from: the seller's budget first, then our application's in the
/// region, where Amazon limits that too.
#[must_use]
pub fn budgets(seller: SellerId, region: Region, operation: Operation) -> Vec<Budget> {
    let mut budgets = vec![budget(seller, operation)];
    budgets.extend(application_budget(region, operation));
    budgets
}

/// Our application's budget of an operation in a region, where Amazon limits that. Where no seller is served, the usage plan
/// is our application's.
#[must_use]
pub fn application_budget(region: Region, operation: Operation) -> Option<Budget> {
    let entry = operation.entry();
    let plan = match entry.caller {
        Caller::Seller => entry.application_plan?,
        Caller::Application(_) => entry.plan,
    };
    Some(of_plan(format!("{}:application:{region}", entry.name), plan))
}

fn of_plan(name: String, plan: UsagePlan) -> Budget {
    // One call of the burst is kept back: calls arrive at Amazon less evenly than they leave here.
    Budget { name, rate: plan.rate, burst: plan.burst.saturating_sub(1).max(1) }
}
