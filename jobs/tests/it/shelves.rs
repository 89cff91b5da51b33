//! Kinds of the tests' own, which ask for what no kind of the catalog asks for yet.

use std::{sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use queue::{Catalog, Group, Job, Kind, Outcome, Policy, Priority, Queue, Run, job::Retired};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts shelves: every wish that a kind can have, and that those of the catalog do not have yet.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountShelves {
    /// Whose.
    #[schemars(regex(pattern = "^[a-zA-Z0-9\"'/<>&\u{1}\t\n\u{7f}äß€😀 -]{1,40}$"), example = "A-1")]
    seller: String,
    /// How.
    #[serde(default = "usual")]
    #[schemars(regex(pattern = "^(usual|quick)$"), example = &"quick")]
    how: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<DateTime<Utc>>,
}

fn usual() -> String {
    "usual".to_owned()
}

impl Job for CountShelves {
    const KIND: &'static str = "count_shelves";
    const SUMMARY: &'static str = "Counts.";
    const VERSION: u8 = 3;
    const POLICY: Policy = Policy::heavy()
        .priority(Priority::Low)
        .unique_for(Duration::from_micros(90_000_001))
        .expires_after(Duration::from_millis(1_500));
    const GROUP: Group = Group::Field("seller");
    type Context = ();
    type Report = ();

    async fn run(&self, (): &(), _: &Run) -> Outcome<()> {
        Ok(())
    }
}

/// Counts boxes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CountBoxes {}

impl Job for CountBoxes {
    const KIND: &'static str = "count_boxes";
    const SUMMARY: &'static str = "Counts.";
    const POLICY: Policy = Policy::upkeep().unique_while_waiting();
    const GROUP: Group = Group::Fixed("boxes");
    type Context = ();
    type Report = ();

    async fn run(&self, (): &(), _: &Run) -> Outcome<()> {
        Ok(())
    }
}

/// Them, and one that is no longer run.
pub(super) static SHELVES: LazyLock<Catalog<()>> = LazyLock::new(|| {
    Catalog::new(vec![Kind::of::<CountShelves>(), Kind::of::<CountBoxes>()])
        .with_retired(vec![Retired { name: "count_bags", queue: Queue::Sync }])
});
