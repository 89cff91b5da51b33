//! End-to-end tests with real processes, and the tidy rules: one binary.

mod allow_list;
mod amazon_faults;
mod bad_input;
mod canaries;
mod crashes;
mod health;
mod leadership;
mod ledger_services;
mod no_longer_there;
mod outages;
mod scene;
mod schedules;
mod shutdown;
mod tidy;
