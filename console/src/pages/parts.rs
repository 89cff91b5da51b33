//! Pieces that several pages show: moments, ages, states, links to jobs.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};
use queue::{JobId, WorkerId, limit::Level};

/// How long ago a moment was, with the moment itself for the pointer and for machines.
pub(super) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    let words = if at > now { format!("in {}", span(at - now)) } else { format!("{} ago", span(now - at)) };
    html! { time datetime=(iso(at)) title=(iso(at)) { (words) } }
}

/// A moment in UTC; the script adds the reader's own time zone.
pub(super) fn moment(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(iso(at)) data-local { (at.format("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// A length of time in its two largest units at most.
pub(crate) fn span(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 => format!("{} ms", length.num_milliseconds().max(0)),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Text in which commands stand between backticks, as for the command line.
pub(super) fn with_commands(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

/// How far something has come, as a bar where it is known.
pub(super) fn bar(done: u64, total: Option<u64>) -> Markup {
    html! {
        @match total {
            Some(total) if total > 0 => {
                progress max=(total) value=(done.min(total)) {} " " (done) " of " (total)
            },
            _ => (done),
        }
    }
}

/// How a budget stands, as cells: calls now, the next call, calls a second, moments set aside, the share of the rate.
pub(super) fn budget(level: &Level, now: DateTime<Utc>) -> Markup {
    html! {
        td { meter min="0" max=(level.burst) value=(level.calls) {} " " (level.calls) " of " (level.burst) }
        td { @if level.next_free_at <= now { "now" } @else { (age(level.next_free_at, now)) } }
        td.number { (format!("{:.4}", level.rate).trim_end_matches('0').trim_end_matches('.')) }
        td.number { (level.set_aside) }
        td { @match level.shared_until {
            None => "all",
            Some(until) => { (format!("{:.0} %", level.share * 100.0)) ", somebody else uses the rest, until " (moment(until)) },
        } }
    }
}

/// A count with its noun.
pub(crate) fn quantity(count: i64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// A state as a mark with a shape and a word, so that colour is not needed to tell it.
pub(super) fn state(name: &str) -> Markup {
    html! { span.state data-state=(name) { (name) } }
}

/// A job's id as a link. The end of it tells jobs of the same second apart, so the beginning is what is left out.
pub(super) fn job_link(id: JobId) -> Markup {
    let text = id.to_string();
    html! { a.id href={ "/jobs/" (text) } title=(text) { (end_of(&text)) } }
}

/// The end of a worker's id.
pub(super) fn worker(id: WorkerId) -> Markup {
    let text = id.to_string();
    html! { span.id title=(text) { (end_of(&text)) } }
}

/// The last eight digits of an id; other names whole.
fn end_of(name: &str) -> String {
    match name.get(28..) {
        Some(end) if name.len() == 36 => format!("…{end}"),
        _ => name.to_owned(),
    }
}

/// Whom a job is for, shortened where it is an id; a link to all of its jobs.
pub(super) fn group_link(group: &str) -> Markup {
    let href = query(&[("seller", group)]);
    html! { a.id href={ "/jobs?" (href) } title=(group) { (end_of(group)) } }
}

/// A query string of these filters, without the empty ones.
pub(super) fn query(filters: &[(&str, &str)]) -> String {
    let parts: Vec<_> = filters
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    parts.join("&")
}

/// Percent-encoded, but for what never has a meaning in a URL.
fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn iso(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_in_two_units() {
        let told = |ms| span(TimeDelta::milliseconds(ms));
        assert_eq!(told(-5), "0 ms");
        assert_eq!(told(999), "999 ms");
        assert_eq!(told(59_999), "59 s");
        assert_eq!(told(3_599_000), "59 min");
        assert_eq!(told(86_399_000), "23 h 59 min");
        assert_eq!(told(90_000_000), "1 d 1 h");
    }

    #[test]
    fn a_filter_of_any_text_survives_the_address() {
        assert_eq!(query(&[("kind", ""), ("seller", "a&b=c é")]), "seller=a%26b%3Dc%20%C3%A9");
    }
}
