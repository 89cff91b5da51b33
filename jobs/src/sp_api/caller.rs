//! Who calls: a seller, with its authorisation, or our application itself, with a scope and for no seller.

use queue::limit::Budget;
use runtime::secret::SecretString;

use crate::{
    sp_api::{
        Operation, Region,
        auth::Authorisation,
        budgets::{application_budget, budget, budgets},
        operations,
    },
    store::sellers::{Seller, SellerId},
};

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller<'a> {
    /// A seller, with its authorisation.
    Seller(&'a Seller, &'a SecretString),
    /// Our application, in a region.
    Application(Region),
}

/// Whom a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// A seller.
    Seller(SellerId, Region),
    /// Our application.
    Application(Region),
}

impl<'a> Caller<'a> {
    pub(super) const fn holder(self) -> Holder {
        match self {
            Self::Seller(seller, _) => Holder::Seller(seller.id, seller.region),
            Self::Application(region) => Holder::Application(region),
        }
    }

    /// What it signs in with for an operation; `None` where the operation is not for such a caller.
    pub(super) const fn authorisation(self, operation: Operation) -> Option<Authorisation<'a>> {
        match (self, operation.entry().caller) {
            (Self::Seller(seller, refresh_token), operations::Caller::Seller) => {
                Some(Authorisation::Seller(seller.id, refresh_token))
            }
            (Self::Application(_), operations::Caller::Application(scope)) => {
                Some(Authorisation::Application(scope))
            }
            _ => None,
        }
    }
}

impl Holder {
    pub(super) const fn region(self) -> Region {
        match self {
            Self::Seller(_, region) | Self::Application(region) => region,
        }
    }

    /// All that a call takes from.
    pub(super) fn budgets(self, operation: Operation) -> Vec<Budget> {
        match self {
            Self::Seller(id, region) => budgets(id, region, operation),
            Self::Application(region) => application_budget(region, operation).into_iter().collect(),
        }
    }

    /// The one that Amazon speaks of in its answers.
    pub(super) fn budget(self, operation: Operation) -> Option<Budget> {
        match self {
            Self::Seller(id, _) => Some(budget(id, operation)),
            Self::Application(region) => application_budget(region, operation),
        }
    }
}
