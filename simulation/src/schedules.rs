//! When a kind's schedule last was due for a seller: as if everything had run well until the beginning.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::catalog::CATALOG;
use queue::stepping::Stepper;

/// Longer than any schedule's period.
const LONGEST_PERIOD: TimeDelta = TimeDelta::hours(25);

/// The last moment before the beginning at which the kind's job for this group was due; the beginning for a kind without a
/// schedule.
pub(crate) fn last_due(kind: &str, group: &str, beginning: DateTime<Utc>) -> DateTime<Utc> {
    let schedule = CATALOG.get(kind).and_then(|kind| kind.schedule);
    let Some((schedule, stepper)) =
        schedule.and_then(|schedule| Some((schedule, Stepper::new(&schedule).ok()?)))
    else {
        return beginning;
    };
    let place = TimeDelta::from_std(schedule.place(kind, group)).unwrap_or_default();
    let mut due = None;
    let mut tick = beginning - place - LONGEST_PERIOD;
    while let Some(next) = stepper.next_after(tick).filter(|next| *next + place <= beginning) {
        (tick, due) = (next, Some(next + place));
    }
    due.unwrap_or(beginning)
}
