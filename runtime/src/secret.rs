//! Values that must never be printed: secrets show as `[REDACTED]` in any debug output, and zero their memory when dropped.

pub use secrecy::{ExposeSecret, SecretString};
