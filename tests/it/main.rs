//! End-to-end tests with real processes, and the tidy rules: one binary.

mod allow_list;
mod amazon_faults;
mod bad_input;
mod canaries;
mod chaos;
mod contract;
mod crashes;
mod deadlines;
mod health;
mod leadership;
mod ledger_services;
mod no_longer_there;
mod outages;
mod prism;
mod redis_cluster;
mod redis_faults;
mod redis_pass;
mod redis_rights;
mod redis_sentinel;
mod redis_servers;
mod redis_tls;
mod review_requests;
mod scene;
mod schedules;
mod shutdown;
mod tidy;
