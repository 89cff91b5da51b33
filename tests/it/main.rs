//! End-to-end tests with real processes, and the tidy rules: one binary.

mod tidy;
