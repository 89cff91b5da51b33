//! A stateful stand-in for Amazon on loopback: sign-in, the operations of the Selling Partner API that we call, its store of
//! documents and its message queues, usage plans, faults.
//!
//! It exists so that the job system can be run and tested for real without Amazon: it enforces the rules a client can break
//! (quotas, token lifetimes, paging, once per order for ever), breaks on command in the ways Amazon and the net break, and
//! remembers every call, so that a test can compare both sides. State is in memory.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox::{Fault, FaultScript, Operation, Options, Region, Sandbox, Seed};
//!
//! let sandbox = Sandbox::start(Options { speed: 600.0, ..Options::default() }).await?;
//! let seeded = sandbox.control().seed(&Seed { sellers: 3, orders: 500, seed: 1, region: Region::Eu })?;
//! sandbox.control().script_fault(FaultScript::new(Operation::SearchOrders, Fault::Internal, 2))?;
//! // ... point a client at sandbox.base_url(), sign in with seeded.sellers[0].refresh_token ...
//! assert_eq!(sandbox.control().summary().duplicate_requests, 0);
//! # Ok(())
//! # }
//! ```
//!
//! It does not promise to find every mistake: what Amazon does beyond its documents is not in it. Its answers satisfy Amazon's
//! published models; a test compares them.

mod account_health;
mod answer;
mod ask;
mod calls;
mod catalog;
mod charsets;
mod control;
mod control_api;
mod dice;
mod documents;
mod evidence;
mod fault_answers;
mod faults;
mod feedback;
mod gateway;
mod inventory;
mod listings;
mod notices;
mod notifications;
mod operations;
mod orders;
mod orders_answers;
mod pace;
mod page_tokens;
mod participations;
mod planted;
mod products;
mod query;
mod queues;
mod report_documents;
mod reports;
mod sales;
mod search;
mod seed;
mod sellers;
mod server;
mod signin;
mod solicitations;
mod sqs;
mod state;
mod stretches;
mod usage_plans;
mod user_agent;

pub use calls::{Call, CallPage};
pub use charsets::ReportCharset;
pub use control::{
    AccountHealthRecord, ChangedOrders, ChangedProducts, Control, ControlError, DayRecord, FeedbackRecord,
    FeedbackRemoval, IssueRecord, MessageRecord, MetricsWanted, NewMessage, OrderChanges,
    ParticipationRecord, ProductChanges, ProductRecord, QueueRecord, Seed, Seeded, SeededSeller, Settings,
    SettingsChange, StockRecord,
};
pub use evidence::{OrderRecord, Summary};
pub use faults::{Fault, FaultScript};
pub use operations::Operation;
pub use orders::FulfillmentStatus;
pub use pace::Clock;
pub use planted::PLANTED;
pub use sellers::Region;
pub use server::{Options, Sandbox};
pub use usage_plans::UsagePlan;
