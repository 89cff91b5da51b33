//! What `cargo xtask new-kind` writes compiles, and is a kind like any other.

use queue::{Job, Kind};

// The file itself: it names the crate `jobs` where a kind would say `crate`.
#[path = "../../../xtask/src/new_kind/example.rs"]
#[expect(unreachable_pub, reason = "as a kind it is public")]
mod example;

use example::CountMarketplaces;

#[test]
fn the_example_is_a_kind() {
    let kind = Kind::of::<CountMarketplaces>();
    assert_eq!(kind.name, "count_marketplaces");
    assert!(kind.summary.ends_with('.'), "{}", kind.summary);
    assert_eq!(kind.policy, CountMarketplaces::POLICY);
}
