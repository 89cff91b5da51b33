//! Who somebody is, and what they may do.

pub mod api_key;
pub mod role;
pub mod session;
pub mod staff;
mod token;

pub use role::{Permission, Role, Roles};
pub use session::Person;
pub use token::Token;
