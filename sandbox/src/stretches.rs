//! Cuts a stretch of time into hours, days, weeks, months or years of a time zone.
//!
//! The first and the last piece are shorter where the stretch begins or ends in their midst. A day may have 23 or 25 hours.

use chrono::{DateTime, Datelike, Days, FixedOffset, Months, NaiveDate, TimeDelta, TimeZone, Timelike, Utc};

/// How long a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// An hour.
    Hour,
    /// A day of the zone.
    Day,
    /// Seven of them.
    Week {
        /// Instead of on Monday.
        week_starts_on_sunday: bool,
    },
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
    /// The whole stretch.
    Total,
}

/// A piece, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its beginning.
    pub(crate) start: DateTime<FixedOffset>,
    /// Its end.
    pub(crate) end: DateTime<FixedOffset>,
}

/// The pieces from `start` to `end`, in order, without a gap.
pub(crate) fn stretches<Z: TimeZone>(
    start: DateTime<FixedOffset>,
    end: DateTime<FixedOffset>,
    granularity: Granularity,
    zone: &Z,
) -> Vec<Stretch> {
    let mut pieces = Vec::new();
    let mut from = start.with_timezone(zone);
    while from < end {
        let to = next_cut(&from, granularity, zone).filter(|cut| *cut < end);
        let to = to.unwrap_or_else(|| end.with_timezone(zone));
        pieces.push(Stretch { start: from.fixed_offset(), end: to.fixed_offset() });
        from = to;
    }
    pieces
}

/// Where the piece that holds a moment ends; `None` for never.
fn next_cut<Z: TimeZone>(from: &DateTime<Z>, granularity: Granularity, zone: &Z) -> Option<DateTime<Z>> {
    let date = from.date_naive();
    let next_date = match granularity {
        Granularity::Total => return None,
        Granularity::Hour => {
            let past =
                TimeDelta::minutes(i64::from(from.minute())) + TimeDelta::seconds(i64::from(from.second()));
            return Some(from.clone() + TimeDelta::hours(1) - past);
        }
        Granularity::Day => date.checked_add_days(Days::new(1)),
        Granularity::Week { week_starts_on_sunday } => {
            let weekday = date.weekday();
            let gone = if week_starts_on_sunday {
                weekday.num_days_from_sunday()
            } else {
                weekday.num_days_from_monday()
            };
            date.checked_add_days(Days::new(u64::from(7 - gone)))
        }
        Granularity::Month => date.with_day(1)?.checked_add_months(Months::new(1)),
        Granularity::Year => NaiveDate::from_ymd_opt(date.year() + 1, 1, 1),
    };
    Some(midnight(next_date?, zone))
}

/// The first moment of a day.
fn midnight<Z: TimeZone>(date: NaiveDate, zone: &Z) -> DateTime<Z> {
    let local = date.and_time(chrono::NaiveTime::MIN);
    // Some zones set their clocks on at midnight: such a day begins an hour late.
    let late = local + TimeDelta::hours(1);
    zone.from_local_datetime(&local)
        .earliest()
        .or_else(|| zone.from_local_datetime(&late).earliest())
        .unwrap_or_else(|| Utc.from_utc_datetime(&local).with_timezone(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn cut(start: &str, end: &str, granularity: Granularity, zone: Tz) -> Vec<String> {
        let read = |text| DateTime::parse_from_rfc3339(text).expect("a moment");
        stretches(read(start), read(end), granularity, &zone)
            .iter()
            .map(|piece| {
                assert!(piece.start < piece.end);
                piece.end.to_rfc3339()
            })
            .collect()
    }

    #[test]
    fn days_are_those_of_the_zone_also_when_clocks_change() {
        let days = cut(
            "2026-10-24T12:00:00+02:00",
            "2026-10-27T06:00:00+01:00",
            Granularity::Day,
            Tz::Europe__Berlin,
        );
        assert_eq!(
            days,
            [
                "2026-10-25T00:00:00+02:00",
                "2026-10-26T00:00:00+01:00",
                "2026-10-27T00:00:00+01:00",
                "2026-10-27T06:00:00+01:00"
            ]
        );
    }

    #[test]
    fn weeks_months_years_and_the_whole() {
        let (start, end) = ("2026-11-24T00:00:00Z", "2027-02-03T00:00:00Z");
        let week = |week_starts_on_sunday| {
            cut(start, end, Granularity::Week { week_starts_on_sunday }, Tz::UTC)[0].clone()
        };
        assert_eq!(week(false), "2026-11-30T00:00:00+00:00");
        assert_eq!(week(true), "2026-11-29T00:00:00+00:00");
        let months = cut(start, end, Granularity::Month, Tz::UTC);
        assert_eq!(months.len(), 4);
        assert_eq!(months[2], "2027-02-01T00:00:00+00:00");
        assert_eq!(cut(start, end, Granularity::Year, Tz::UTC)[0], "2027-01-01T00:00:00+00:00");
        assert_eq!(cut(start, end, Granularity::Total, Tz::UTC), ["2027-02-03T00:00:00+00:00"]);
    }

    #[test]
    fn hours_begin_on_the_hour() {
        let hours = cut("2026-11-24T10:30:10Z", "2026-11-24T12:10:00Z", Granularity::Hour, Tz::UTC);
        assert_eq!(
            hours,
            ["2026-11-24T11:00:00+00:00", "2026-11-24T12:00:00+00:00", "2026-11-24T12:10:00+00:00"]
        );
    }
}
