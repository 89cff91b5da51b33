//! The next tick of a schedule, right across daylight-saving changes.
//!
//! The `cron` crate parses and matches; it skips a daily time that falls into the spring gap, and goes back in time in the
//! autumn overlap. So the stepping is here. A schedule with fixed hours runs once a day: a time in the gap at the gap's
//! end, a time in the overlap at its first pass. A schedule whose hour field says "every" runs through both passes.

use std::str::FromStr;

use crate::Schedule;
use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use thiserror::Error;

/// What is wrong with a schedule.
#[derive(Debug, Error)]
pub enum SteppingError {
    /// Not five or six fields.
    #[error("`{0}` has neither five fields (minute first) nor six (second first)")]
    Fields(String),
    /// Day of month and day of week are both given.
    #[error(
        "`{0}` names days of the month and of the week; some programs read that as `and`, others as `or`: use two schedules"
    )]
    TwoDays(String),
    /// The parser refused it.
    #[error("`{expression}` does not parse: {why}")]
    Parse {
        /// The expression.
        expression: String,
        /// What the parser said.
        why: String,
    },
    /// No such time zone.
    #[error("`{0}` is not a time zone; one looks like Europe/London")]
    Zone(String),
    /// It has no tick.
    #[error("it never fires")]
    Never,
}

/// A schedule that can be stepped.
#[derive(Debug)]
pub struct Stepper {
    matcher: cron::Schedule,
    every_hour: bool,
    zone: Tz,
}

/// How far back from a moment its neighbours on the wall clock may lie.
const WIDEST_CHANGE: TimeDelta = TimeDelta::hours(3);

impl Stepper {
    /// Reads a schedule.
    ///
    /// # Errors
    /// When it is not one, or can be read in two ways.
    pub fn new(schedule: &Schedule) -> Result<Self, SteppingError> {
        let given = schedule.expression;
        let mut fields: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        if fields.len() == 5 {
            fields.insert(0, "0".to_owned());
        }
        if fields.len() != 6 {
            return Err(SteppingError::Fields(given.to_owned()));
        }
        let open = |field: &str| field == "*" || field == "?";
        if !open(&fields[3]) && !open(&fields[5]) {
            return Err(SteppingError::TwoDays(given.to_owned()));
        }
        fields[5] = named_weekdays(&fields[5]);
        let matcher = cron::Schedule::from_str(&fields.join(" "))
            .map_err(|error| SteppingError::Parse { expression: given.to_owned(), why: error.to_string() })?;
        let zone =
            schedule.time_zone.parse().map_err(|_| SteppingError::Zone(schedule.time_zone.to_owned()))?;
        Ok(Self { matcher, every_hour: fields[2].contains(['*', '/']), zone })
    }

    /// The first tick after a moment; `None` if there is none in the years that the parser looks at.
    #[must_use]
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.every_hour { self.next_of_interval(moment) } else { self.next_of_fixed(moment) }
    }

    /// Between two changes of the offset the wall clock is even, and the matcher right.
    fn next_of_interval(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut from = moment;
        let mut offset = self.offset(moment);
        loop {
            let candidate = self.matcher.after(&from.with_timezone(&offset)).next()?.with_timezone(&Utc);
            let Some(change) = self.first_change(from, candidate) else { return Some(candidate) };
            // From one second before the change, by the new offset: the change itself may be a tick.
            offset = self.offset(change);
            from = change - TimeDelta::seconds(1);
            let first = self.matcher.after(&from.with_timezone(&offset)).next()?.with_timezone(&Utc);
            if first > moment && self.first_change(change, first).is_none() {
                return Some(first);
            }
            from = change;
        }
    }

    /// Steps on the wall clock, and asks for each time when it is in the zone.
    fn next_of_fixed(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wall = moment.with_timezone(&self.zone).naive_local();
        self.matcher
            .after(&Utc.from_utc_datetime(&(wall - WIDEST_CHANGE)))
            .map(|tick| self.on_the_clock(tick.naive_utc()))
            .find(|tick| *tick > moment)
    }

    fn on_the_clock(&self, wall: NaiveDateTime) -> DateTime<Utc> {
        match self.zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => at.with_timezone(&Utc),
            MappedLocalTime::None => {
                let about = Utc.from_utc_datetime(&wall);
                let day = TimeDelta::hours(30);
                self.first_change(about - day, about + day).unwrap_or(about)
            }
        }
    }

    fn offset(&self, at: DateTime<Utc>) -> FixedOffset {
        self.zone.offset_from_utc_datetime(&at.naive_utc()).fix()
    }

    /// The first moment after `from`, up to `to`, from which another offset holds.
    fn first_change(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut low = from;
        // Small steps, so that two changes in a row do not hide each other.
        while low < to {
            let high = (low + TimeDelta::hours(6)).min(to);
            if self.offset(high) != self.offset(low) {
                return Some(self.change_between(low, high));
            }
            low = high;
        }
        None
    }

    fn change_between(&self, mut low: DateTime<Utc>, mut high: DateTime<Utc>) -> DateTime<Utc> {
        let before = self.offset(low);
        while high - low > TimeDelta::seconds(1) {
            let middle = low + (high - low) / 2;
            if self.offset(middle) == before { low = middle } else { high = middle }
        }
        DateTime::from_timestamp(high.timestamp(), 0).unwrap_or(high)
    }
}

/// Weekdays as names: the parser counts from Sunday = 1, everybody else from Sunday = 0 (and 7).
fn named_weekdays(field: &str) -> String {
    const NAMES: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let name = |part: &str| match part.parse::<usize>() {
        Ok(number) => NAMES.get(number).map_or_else(|| part.to_owned(), |name| (*name).to_owned()),
        Err(_) => part.to_owned(),
    };
    let range = |part: &str| part.split('-').map(name).collect::<Vec<_>>().join("-");
    field
        .split(',')
        .map(|part| match part.split_once('/') {
            Some((days, step)) => format!("{}/{step}", range(days)),
            None => range(part),
        })
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use croner::Cron;

    use super::*;

    fn stepper(expression: &'static str, zone: &'static str) -> Stepper {
        Stepper::new(&Schedule::cron(expression).in_zone(zone)).expect("a schedule")
    }

    fn ticks(expression: &'static str, zone: &'static str, from: &str, count: usize) -> Vec<String> {
        let stepper = stepper(expression, zone);
        let mut at: DateTime<Utc> = from.parse().expect("a moment");
        (0..count)
            .map(|_| {
                at = stepper.next_after(at).expect("there is one");
                at.with_timezone(&stepper.zone).format("%d %H:%M%:z").to_string()
            })
            .collect()
    }

    #[test]
    fn a_daily_time_in_the_spring_gap_runs_at_its_end() {
        assert_eq!(
            ticks("30 1 * * *", "Europe/London", "2027-03-27T12:00:00Z", 2),
            ["28 02:00+01:00", "29 01:30+01:00"]
        );
    }

    #[test]
    fn a_daily_time_in_the_autumn_overlap_runs_once() {
        assert_eq!(
            ticks("30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", 2),
            ["25 01:30+01:00", "26 01:30+00:00"]
        );
    }

    #[test]
    fn an_interval_runs_through_both_passes_of_the_repeated_hour() {
        assert_eq!(
            ticks("*/30 * * * *", "America/New_York", "2026-11-01T04:45:00Z", 6),
            [
                "01 01:00-04:00",
                "01 01:30-04:00",
                "01 01:00-05:00",
                "01 01:30-05:00",
                "01 02:00-05:00",
                "01 02:30-05:00"
            ]
        );
    }

    /// Two years, by an implementation that is not ours.
    #[test]
    fn agrees_with_croner() {
        let zones = [
            "UTC",
            "Europe/London",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kolkata",
        ];
        let expressions =
            ["*/15 * * * *", "7 * * * *", "30 1 * * *", "30 2 * * *", "0 0 * * *", "0 9 * * 1", "15 3 1 * *"];
        for zone in zones {
            for expression in expressions {
                let ours = stepper(expression, zone);
                let theirs = Cron::from_str(expression).expect("croner reads it");
                let mut at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("a moment");
                let end: DateTime<Utc> = "2028-01-01T00:00:00Z".parse().expect("a moment");
                while at < end {
                    let next = ours.next_after(at).expect("there is one");
                    let expected = theirs
                        .find_next_occurrence(&at.with_timezone(&ours.zone), false)
                        .expect("there is one");
                    assert_eq!(next, expected.with_timezone(&Utc), "{expression} {zone} after {at}");
                    // Every tick near a change, and some of the others.
                    at = if ours.first_change(next, next + TimeDelta::days(2)).is_some() {
                        next
                    } else {
                        next + TimeDelta::hours(20)
                    };
                }
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let wrong = |expression| Stepper::new(&Schedule::cron(expression)).expect_err(expression).to_string();
        assert!(wrong("0 9 1 * 1").contains("two schedules"));
        assert!(wrong("* * *").contains("neither five"));
        assert!(wrong("61 * * * *").contains("does not parse"));
        let zone =
            Stepper::new(&Schedule::cron("0 9 * * *").in_zone("Europe/Londn")).expect_err("no such zone");
        assert!(zone.to_string().contains("Europe/Londn"));
    }

    #[test]
    fn weekdays_count_from_sunday_as_zero() {
        assert_eq!(named_weekdays("1-5"), "MON-FRI");
        assert_eq!(named_weekdays("0,7"), "SUN,SUN");
        assert_eq!(named_weekdays("MON"), "MON");
    }
}
