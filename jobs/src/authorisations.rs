//! How long an authorisation holds, when a seller is reminded of its end, and when data must be gone after it. Amazon's
//! numbers and ours, and the decisions that follow from them alone.

use chrono::{DateTime, TimeDelta, Utc};

use crate::sp_api::operations::Source;

/// How long an authorisation holds.
pub const LIFE: TimeDelta = TimeDelta::days(365);
/// Where [`LIFE`] comes from.
pub const LIFE_SOURCE: Source =
    Source { document: "Amazon's page \"Renew authorizations\"", date: "2026-11-23" };

/// Days before its end at which a seller is reminded, the farthest first.
pub const REMINDER_STEPS_DAYS: [i32; 5] = [60, 30, 14, 7, 1];

/// How long a seller may take to connect again before it is disconnected.
pub const WAIT_FOR_A_NEW_ONE: TimeDelta = TimeDelta::days(14);

/// How long after an authorisation's end everything from Amazon must be gone.
pub const DELETED_WITHIN: TimeDelta = TimeDelta::days(30);
/// Where [`DELETED_WITHIN`] comes from.
pub const DELETED_WITHIN_SOURCE: Source =
    Source { document: "Amazon's Data Protection Policy, section 1.7", date: "2026-08-25" };

/// When the deletion begins: late enough to wait for a seller who comes back, and early enough to notice that it does not
/// go well.
const DELETED_AFTER: TimeDelta = TimeDelta::days(21);

/// When an authorisation given at that moment ends.
#[must_use]
pub fn ends_at(connected_at: DateTime<Utc>) -> DateTime<Utc> {
    connected_at + LIFE
}

/// The step that an authorisation has reached: the nearest one to its end, as those that were missed help nobody. `None`
/// when the end is far, or has passed.
#[must_use]
pub fn reminder_step(ends_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<i32> {
    let left = ends_at - now;
    if left <= TimeDelta::zero() {
        return None;
    }
    REMINDER_STEPS_DAYS.into_iter().rfind(|days| left <= TimeDelta::days(i64::from(*days)))
}

/// When the data of a seller whose authorisation ended then are deleted.
#[must_use]
pub fn deletion_at(ended_at: DateTime<Utc>) -> DateTime<Utc> {
    ended_at + DELETED_AFTER
}

/// By when they must be gone.
#[must_use]
pub fn deletion_deadline(ended_at: DateTime<Utc>) -> DateTime<Utc> {
    ended_at + DELETED_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_the_nearest_one_that_was_reached() {
        let ends_at = DateTime::from_timestamp(1_790_000_000, 0).expect("a moment");
        let step = |left: TimeDelta| reminder_step(ends_at, ends_at - left);
        let second = TimeDelta::seconds(1);
        let cases = [
            (TimeDelta::days(60) + second, None),
            (TimeDelta::days(60), Some(60)),
            (TimeDelta::days(30) + second, Some(60)),
            (TimeDelta::days(30), Some(30)),
            (TimeDelta::days(10), Some(14)),
            (TimeDelta::days(7), Some(7)),
            (TimeDelta::days(1), Some(1)),
            (second, Some(1)),
            (TimeDelta::zero(), None),
            (-second, None),
        ];
        for (left, expected) in cases {
            assert_eq!(step(left), expected, "{left}");
        }
    }

    #[test]
    fn a_deletion_has_days_to_go_wrong_in_and_comes_after_the_disconnection() {
        assert!(DELETED_AFTER + TimeDelta::days(7) <= DELETED_WITHIN);
        assert!(WAIT_FOR_A_NEW_ONE < DELETED_AFTER);
    }
}
