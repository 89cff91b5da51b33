//! The truth about what reports tell, to compare with what a client stored.

use super::{Control, ControlError, known_seller};
use crate::account_health::account_health;
use crate::feedback::feedback_of;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Feedback that a buyer gave, without the words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackRecord {
    /// The order.
    pub order_id: String,
    /// Where it was placed.
    pub marketplace_id: String,
    /// When it was given; the report tells the day in UTC.
    pub given_at: DateTime<Utc>,
    /// Stars, 1 to 3: Amazon's report has no others.
    pub rating: u64,
}

/// Asks Amazon to remove feedback.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackRemoval {
    /// The seller's id.
    pub seller: String,
    /// How much of it, the oldest first.
    pub count: usize,
}

/// How Amazon judges a seller in a marketplace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHealthRecord {
    /// The marketplace.
    pub marketplace_id: String,
    /// `NORMAL`, `AT_RISK` or `DEACTIVATED`.
    pub status: String,
    /// Orders of the last sixty days that Amazon shipped.
    pub orders_by_amazon: u64,
    /// Those among them that went wrong.
    pub defects_by_amazon: u64,
    /// Orders of the last sixty days that the seller shipped.
    pub orders_by_seller: u64,
    /// Those among them that went wrong.
    pub defects_by_seller: u64,
    /// Orders that the seller shipped late.
    pub late_shipments: u64,
    /// Orders that the seller cancelled.
    pub cancellations: u64,
    /// Listings that break a policy.
    pub policy_violations: u64,
}

impl Control {
    /// What buyers said of a seller so far, by the moment they did.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn feedback(&self, seller: &str) -> Result<Vec<FeedbackRecord>, ControlError> {
        let state = self.shared.state();
        let seller = known_seller(&state.sellers, seller)?;
        let record = |one: crate::feedback::Feedback| FeedbackRecord {
            order_id: one.order_id,
            marketplace_id: one.marketplace.id.to_owned(),
            given_at: one.at,
            rating: one.rating,
        };
        let found = feedback_of(&state.orders, &state.removed_feedback, seller, self.shared.now());
        Ok(found.into_iter().map(record).collect())
    }

    /// Lets Amazon remove the oldest feedback about a seller. Returns the orders it was about.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn remove_feedback(&self, removal: &FeedbackRemoval) -> Result<Vec<String>, ControlError> {
        let mut state = self.shared.state();
        let seller = known_seller(&state.sellers, &removal.seller)?;
        let found = feedback_of(&state.orders, &state.removed_feedback, seller, self.shared.now());
        let removed: Vec<String> = found.into_iter().take(removal.count).map(|one| one.order_id).collect();
        state.removed_feedback.extend(removed.iter().cloned());
        Ok(removed)
    }

    /// How Amazon judges a seller in each of its marketplaces now. Reports tell how it was when they were finished.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn account_health(&self, seller: &str) -> Result<Vec<AccountHealthRecord>, ControlError> {
        let state = self.shared.state();
        let seller = known_seller(&state.sellers, seller)?;
        let marketplaces: Vec<_> = seller.marketplaces.iter().collect();
        let record = |one: crate::account_health::AccountHealth| AccountHealthRecord {
            marketplace_id: one.marketplace.id.to_owned(),
            status: one.status.to_owned(),
            orders_by_amazon: one.by_amazon.0,
            defects_by_amazon: one.by_amazon.1,
            orders_by_seller: one.by_seller.0,
            defects_by_seller: one.by_seller.1,
            late_shipments: one.late_shipments,
            cancellations: one.cancellations,
            policy_violations: one.policy_violations,
        };
        let health = account_health(&state.orders, seller, &marketplaces, self.shared.now());
        Ok(health.into_iter().map(record).collect())
    }
}
