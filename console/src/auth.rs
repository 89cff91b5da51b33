//! Who somebody is, and what they may do.

pub mod agent;
pub mod api_key;
pub mod authenticators;
pub mod ceremonies;
pub mod demo;
pub mod enrolment;
pub mod factors;
pub mod hashing;
pub mod invitations;
pub mod limits;
pub mod passkeys;
pub mod passwords;
pub mod recovery;
pub mod role;
pub mod session;
pub mod sign_in;
pub mod staff;
pub mod step_up;
mod token;
pub mod tries;

pub use role::{Permission, Role, Roles};
pub use session::Person;
pub use sign_in::SignIn;
pub use token::Token;
