//! The engine: how any job waits, runs, fails and ends. Knows no kind of job.
//!
//! Postgres remembers, Redis is quick: the [`outbox`] is the one door in, the [`ledger`] says what every job became, and
//! Redis holds only what is ready, delayed or leased. `docs/ARCHITECTURE.md` draws how a job flows; each script in `lua/`
//! states its contract.

pub mod act;
mod attend;
pub mod backend;
pub mod batch;
pub mod bulk;
pub mod cancel;
pub mod controls;
pub mod dead;
pub mod deadline;
pub mod engine;
pub mod envelope;
pub mod escalations;
pub mod expiry;
pub mod explain;
pub mod failure;
mod fetch;
mod heartbeat;
pub mod histogram;
pub mod hurry;
pub mod job;
pub mod keys;
pub mod kinds;
pub mod lease;
pub mod ledger;
pub mod limit;
mod memory;
pub mod outbox;
pub mod policy;
pub mod progress;
pub mod prune;
pub mod ready;
pub mod reconcile;
pub mod recovery;
pub mod retry;
pub mod roll_up;
mod run_metrics;
pub mod run_times;
mod running;
pub mod schedule;
pub mod schema;
mod scripts;
pub mod settle;
pub mod signals;
pub mod state;
pub mod stepping;
mod storable;
pub mod testing;
pub mod trace;
pub mod wake;
pub mod watch;
pub mod workers;

pub use batch::BatchId;
pub use controls::Controls;
pub use engine::Engine;
pub use failure::{Failure, Outcome};
pub use job::{Catalog, Group, Job, Kind, Run};
pub use lease::KnownKinds;
pub use policy::{Policy, Priority, Queue, Unique};
pub use schedule::Schedule;
pub use signals::Signals;
pub use state::State;
pub use trace::TraceContext;

runtime::id_type!(
    /// A job's id.
    JobId
);
runtime::id_type!(
    /// A worker's id: new for each start of a process, one for each queue it works on. Leases belong to it, never to a name.
    WorkerId
);
