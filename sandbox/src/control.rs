//! What a test or a demo does to the sandbox: seed it, change it, break it. Reading back is in [`crate::evidence`].
//!
//! The HTTP control API calls the same methods. Seeding again adds; nothing here ever removes a call or a solicitation from the
//! record.

mod messages;
mod products;
mod reports;
mod settings;

pub use messages::{MessageRecord, NewMessage, QueueRecord};
pub use products::{
    ChangedProducts, DayRecord, IssueRecord, MetricsWanted, ParticipationRecord, ProductChanges,
    ProductRecord, StockRecord,
};

pub use reports::{AccountHealthRecord, FeedbackRecord, FeedbackRemoval};
pub use settings::{Settings, SettingsChange};

use crate::calls::CallPage;
use crate::evidence::{OrderRecord, Summary, order_records, summary};
use crate::faults::FaultScript;
use crate::seed::{Generator, shares};
use crate::sellers::{Region, Seller, products_for};
use crate::state::Shared;
use chrono::{SubsecRound, TimeDelta};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const MOST_SELLERS: usize = 10_000;
const MOST_ORDERS: usize = 1_000_000;

/// Why a request to the sandbox's control was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such seller.
    #[error("there is no seller {0:?}; take a selling_partner_id from the answer to seeding")]
    UnknownSeller(String),
    /// No such order.
    #[error("there is no visible order {0:?}; take an id from the list of orders")]
    UnknownOrder(String),
    /// No such marketplace, or none of the seller's.
    #[error("the seller does not sell in {0:?}; take a marketplace from the answer to seeding")]
    UnknownMarketplace(String),
    /// No such time zone.
    #[error("there is no time zone {0:?}; take an IANA name, as Europe/London")]
    UnknownTimeZone(String),
    /// A number that is too small or too big.
    #[error("{name} must be between {least} and {most}, not {given}")]
    OutOfRange {
        /// What was given.
        name: &'static str,
        /// The smallest possible value.
        least: f64,
        /// The biggest possible value.
        most: f64,
        /// The value.
        given: f64,
    },
    /// A fault that cannot happen to the operation.
    #[error("{fault} can only be scripted for {operation}")]
    FaultDoesNotFit {
        /// The fault, as scripts name it.
        fault: String,
        /// The one operation it can happen to.
        operation: String,
    },
}

/// Asks for sellers and orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// How many sellers to add, 1 to 10,000.
    pub sellers: usize,
    /// How many orders to add, at most 1,000,000; the first seller gets about half.
    pub orders: usize,
    /// The same seed at the same moment makes the same sellers and orders.
    #[serde(default)]
    pub seed: u64,
    /// Where the sellers sell.
    #[serde(default)]
    pub region: Region,
}

/// What was seeded, and the credentials to use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seeded {
    /// The application's id for signing in.
    pub client_id: String,
    /// The application's secret for signing in.
    pub client_secret: String,
    /// The sellers that were added, the biggest first.
    pub sellers: Vec<SeededSeller>,
}

/// A seller that was added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeededSeller {
    /// Amazon's id of the seller.
    pub selling_partner_id: String,
    /// Its authorisation.
    pub refresh_token: String,
    /// Where it sells.
    pub region: Region,
    /// The marketplaces it sells in.
    pub marketplace_ids: Vec<String>,
    /// How many orders it was given.
    pub orders: usize,
}

/// Asks for changes to a seller's orders.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderChanges {
    /// The seller's id.
    pub seller: String,
    /// How many new orders appear, with the same mix of situations as seeded ones.
    #[serde(default)]
    pub count: usize,
    /// How many existing orders, those that were quiet for longest, move one step on.
    #[serde(default)]
    pub touch: usize,
    /// How many seconds ago this happened. Searches find only what is two minutes old.
    #[serde(default)]
    pub seconds_ago: u32,
    /// The seed of the new orders.
    #[serde(default)]
    pub seed: u64,
}

/// The ids of the orders that changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangedOrders {
    /// New orders.
    pub added: Vec<String>,
    /// Orders that moved on.
    pub touched: Vec<String>,
}

/// Direct access to a running sandbox.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Control {
        Control { shared }
    }

    /// Adds sellers and orders.
    ///
    /// # Errors
    /// [`ControlError::OutOfRange`] for too many of them, or no seller at all.
    pub fn seed(&self, seed: &Seed) -> Result<Seeded, ControlError> {
        in_range("sellers", seed.sellers as f64, 1.0, MOST_SELLERS as f64)?;
        in_range("orders", seed.orders as f64, 0.0, MOST_ORDERS as f64)?;
        let mut state = self.shared.state();
        let mut generator = Generator::new(seed.seed, self.shared.now());
        let mut sellers = Vec::with_capacity(seed.sellers);
        let mut order_number = 0;
        for (number, orders) in shares(seed.orders, seed.sellers).into_iter().enumerate() {
            let mut seller = generator.seller(number, seed.region, &state.sellers);
            seller.products = products_for(orders);
            let refresh_token = generator.refresh_token();
            for _ in 0..orders {
                let order = generator.order(order_number, &seller, &state.orders);
                state.orders.insert(order);
                order_number += 1;
            }
            state.sign_in.authorise(refresh_token.clone(), &seller.selling_partner_id);
            sellers.push(SeededSeller {
                selling_partner_id: seller.selling_partner_id.clone(),
                refresh_token,
                region: seller.region,
                marketplace_ids: seller
                    .marketplaces
                    .iter()
                    .map(|marketplace| marketplace.id.to_owned())
                    .collect(),
                orders,
            });
            state.sellers.insert(seller.selling_partner_id.clone(), seller);
        }
        Ok(Seeded {
            client_id: state.sign_in.client_id().to_owned(),
            client_secret: state.sign_in.client_secret().to_owned(),
            sellers,
        })
    }

    /// Lets orders of a seller appear and move on.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`]; [`ControlError::OutOfRange`] for too many orders.
    pub fn change_orders(&self, changes: &OrderChanges) -> Result<ChangedOrders, ControlError> {
        in_range("count", changes.count as f64, 0.0, MOST_ORDERS as f64)?;
        let mut state = self.shared.state();
        let seller = known_seller(&state.sellers, &changes.seller)?.clone();
        let now = self.shared.now();
        let at = now.trunc_subsecs(0) - TimeDelta::seconds(i64::from(changes.seconds_ago));
        let touched = state.orders.advance_oldest(&changes.seller, changes.touch, at);
        let mut generator = Generator::new(changes.seed, now);
        let mut added = Vec::with_capacity(changes.count);
        for number in 0..changes.count {
            let mut order = generator.order(number, &seller, &state.orders);
            order.last_updated_at = at;
            added.push(order.order_id.clone());
            state.orders.insert(order);
        }
        for order_id in touched.iter().chain(&added) {
            state.tell_of_order(order_id, now);
        }
        Ok(ChangedOrders { added, touched })
    }

    /// Makes Amazon forget an order.
    ///
    /// # Errors
    /// [`ControlError::UnknownOrder`], also when it has vanished before.
    pub fn vanish(&self, order_id: &str) -> Result<(), ControlError> {
        let vanished = self.shared.state().orders.vanish(order_id);
        vanished.then_some(()).ok_or_else(|| ControlError::UnknownOrder(order_id.to_owned()))
    }

    /// Scripts a fault behind those that wait already.
    ///
    /// # Errors
    /// [`ControlError::FaultDoesNotFit`], [`ControlError::UnknownSeller`], or [`ControlError::OutOfRange`] for `times` or
    /// `probability`.
    pub fn script_fault(&self, script: FaultScript) -> Result<(), ControlError> {
        in_range("times", f64::from(script.times), 1.0, f64::from(u32::MAX))?;
        in_range("probability", script.probability, 0.0, 1.0)?;
        if let Some(only) = script.fault.only_for().filter(|only| script.operation != Some(*only)) {
            return Err(ControlError::FaultDoesNotFit {
                fault: name_of(&script.fault),
                operation: name_of(&only),
            });
        }
        let mut state = self.shared.state();
        if let Some(seller) = &script.seller {
            known_seller(&state.sellers, seller)?;
        }
        state.faults.script(script);
        Ok(())
    }

    /// Forgets all scripted faults and lets hanging calls go on. Returns how many scripts had something left to do.
    pub fn clear_faults(&self) -> usize {
        let cleared = self.shared.state().faults.clear();
        self.shared.releases.send_replace(());
        cleared
    }

    /// Takes a seller's authorisation back.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn revoke(&self, seller: &str) -> Result<(), ControlError> {
        let mut state = self.shared.state();
        known_seller(&state.sellers, seller)?;
        state.sign_in.revoke(seller);
        Ok(())
    }

    /// Authorises a seller anew. Returns the new refresh token.
    ///
    /// # Errors
    /// [`ControlError::UnknownSeller`].
    pub fn restore(&self, seller: &str) -> Result<String, ControlError> {
        let mut state = self.shared.state();
        known_seller(&state.sellers, seller)?;
        let refresh_token = format!("Atzr|{}", Uuid::new_v4().simple());
        state.sign_in.authorise(refresh_token.clone(), seller);
        Ok(refresh_token)
    }

    /// What happened so far, in numbers.
    pub fn summary(&self) -> Summary {
        summary(&self.shared.state(), self.shared.now())
    }

    /// Every visible order of every seller, by last update.
    pub fn orders(&self) -> BTreeMap<String, Vec<OrderRecord>> {
        order_records(&self.shared.state(), self.shared.now())
    }

    /// At most `limit` calls with numbers above `after`, oldest first.
    pub fn calls(&self, after: u64, limit: usize) -> CallPage {
        self.shared.state().calls.page(after, limit)
    }
}

fn known_seller<'a>(sellers: &'a BTreeMap<String, Seller>, id: &str) -> Result<&'a Seller, ControlError> {
    sellers.get(id).ok_or_else(|| ControlError::UnknownSeller(id.to_owned()))
}

/// What JSON calls it.
fn name_of(named: &impl Serialize) -> String {
    let name = serde_json::to_value(named).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// Refuses what is out of range, and what is no number.
pub(crate) fn in_range(name: &'static str, given: f64, least: f64, most: f64) -> Result<(), ControlError> {
    let fits = (least..=most).contains(&given);
    fits.then_some(()).ok_or(ControlError::OutOfRange { name, least, most, given })
}
