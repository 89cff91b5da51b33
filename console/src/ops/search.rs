//! What people look for among jobs: qualifiers as `kind:sync_orders error:"timed out" since:2h`, in one line or as fields of an
//! address. Only reads text; [`crate::ops::jobs`] looks.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ops::{delay::Delay, jobs::Filter};

/// What may be looked for by: the name, and what to write behind it.
pub const QUALIFIERS: [(&str, &str); 13] = [
    ("kind", "a kind, as sync_orders"),
    ("state", "ready, delayed, running, done, dead or cancelled"),
    ("queue", "urgent, sync, mail, heavy or upkeep"),
    ("seller", "a seller's id, or any group's name"),
    ("error", "text in the last error, as it is written"),
    ("pattern", "the key of a group of dead letters"),
    ("since", "enqueued since: 2h ago, or 2026-11-23T10:00:00Z"),
    ("until", "enqueued before"),
    ("ended_since", "ended since"),
    ("ended_until", "ended before"),
    ("batch", "a batch's id"),
    ("caused_by", "the id of the job that enqueued it"),
    ("cause", "schedule, cli, console, api, sql, job or batch"),
];

/// Qualifiers as they were written; an empty one lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// A kind.
    pub kind: String,
    /// A state.
    pub state: String,
    /// A queue.
    pub queue: String,
    /// A group.
    pub seller: String,
    /// Text of the last error.
    pub error: String,
    /// A group of dead letters.
    pub pattern: String,
    /// Enqueued since.
    pub since: String,
    /// Enqueued before.
    pub until: String,
    /// Ended since.
    pub ended_since: String,
    /// Ended before.
    pub ended_until: String,
    /// A batch.
    pub batch: String,
    /// The job that enqueued it.
    pub caused_by: String,
    /// The door it came through.
    pub cause: String,
    /// Where the page begins.
    pub before: String,
}

impl Search {
    /// Reads a line of qualifiers. Words without one are looked for in errors.
    ///
    /// # Errors
    /// In words, when there is no such qualifier, or one comes twice.
    pub fn read(line: &str) -> Result<Self, String> {
        let mut search = Self::default();
        for word in words(line) {
            let (name, value) = match word.split_once(':') {
                Some((name, value)) if is_name(name) => (name, value),
                _ => ("error", word.as_str()),
            };
            let Some(field) = search.field(name) else {
                let known = QUALIFIERS.map(|(name, _)| name).join(", ");
                return Err(format!("there is no `{name}:`; look by {known}"));
            };
            if name == "error" && !field.is_empty() {
                field.push(' ');
                field.push_str(value);
            } else if field.is_empty() {
                value.clone_into(field);
            } else {
                return Err(format!("`{name}:` stands there twice; one list has one {name}"));
            }
        }
        Ok(search)
    }

    fn field(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "kind" => &mut self.kind,
            "state" => &mut self.state,
            "queue" => &mut self.queue,
            "seller" | "group" => &mut self.seller,
            "error" => &mut self.error,
            "pattern" => &mut self.pattern,
            "since" => &mut self.since,
            "until" => &mut self.until,
            "ended_since" => &mut self.ended_since,
            "ended_until" => &mut self.ended_until,
            "batch" => &mut self.batch,
            "caused_by" => &mut self.caused_by,
            "cause" => &mut self.cause,
            _ => return None,
        })
    }

    /// What is set, by its name, in the order of [`QUALIFIERS`].
    #[must_use]
    pub fn set(&self) -> Vec<(&'static str, &str)> {
        let values = [
            &self.kind,
            &self.state,
            &self.queue,
            &self.seller,
            &self.error,
            &self.pattern,
            &self.since,
            &self.until,
            &self.ended_since,
            &self.ended_until,
            &self.batch,
            &self.caused_by,
            &self.cause,
        ];
        let named = QUALIFIERS.iter().zip(values).map(|((name, _), value)| (*name, value.trim()));
        named.filter(|(_, value)| !value.is_empty()).collect()
    }

    /// As one line that [`Self::read`] understands.
    #[must_use]
    pub fn line(&self) -> String {
        let word = |(name, value): (&str, &str)| {
            if value.contains(char::is_whitespace) {
                format!("{name}:\"{value}\"")
            } else {
                format!("{name}:{value}")
            }
        };
        self.set().into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// What it means at `now`.
    ///
    /// # Errors
    /// In words, when a value is not what its qualifier takes.
    pub fn filter(&self, now: DateTime<Utc>) -> Result<Filter, String> {
        let at = |text: &str| some(text).map(|text| moment(text, now)).transpose();
        Ok(Filter {
            kind: some(&self.kind).map(str::to_owned),
            state: some(&self.state).map(str::parse).transpose()?,
            queue: some(&self.queue).map(str::parse).transpose()?,
            group: some(&self.seller).map(str::to_owned),
            error_contains: some(&self.error).map(str::to_owned),
            pattern: some(&self.pattern).map(str::to_owned),
            since: at(&self.since)?,
            until: at(&self.until)?,
            ended_since: at(&self.ended_since)?,
            ended_until: at(&self.ended_until)?,
            batch: some(&self.batch).map(str::parse).transpose()?,
            caused_by: some(&self.caused_by).map(str::parse).transpose()?,
            cause: some(&self.cause).map(str::to_owned),
            before: some(&self.before).map(str::parse).transpose()?,
        })
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Words of a line; what stands between double quotes is one, with its spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => words.push(String::new()),
            other => words.last_mut().into_iter().for_each(|word| word.push(other)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A moment as people write it: so long ago (`2h`), a day, or a whole moment with its time zone.
///
/// # Errors
/// In words, when it is none of them.
pub fn moment(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Ok(Delay(delay)) = text.parse::<Delay>() {
        return Ok(now - delay);
    }
    let day = format!("{text}T00:00:00Z");
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_rfc3339(&day))
        .map(|at| at.to_utc())
        .map_err(|_| {
            format!("`{text}` is not a moment: 2h (so long ago), 2026-11-23 or 2026-11-23T10:00:00Z")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_written() {
        let line = r#"kind:sync_orders state:dead error:"timed out" since:2h"#;
        let search = Search::read(line).expect("it is right");
        assert_eq!(
            (search.kind.as_str(), search.state.as_str(), search.error.as_str(), search.since.as_str()),
            ("sync_orders", "dead", "timed out", "2h")
        );
        assert_eq!(search.line(), line);
        assert_eq!(Search::read(&search.line()), Ok(search));
        let free = Search::read("connection reset queue:sync").expect("it is right");
        assert_eq!((free.error.as_str(), free.queue.as_str()), ("connection reset", "sync"));
        assert_eq!(Search::read("http://x").map(|search| search.error), Err("there is no `http:`; look by kind, state, queue, seller, error, pattern, since, until, ended_since, ended_until, batch, caused_by, cause".to_owned()));
        assert!(Search::read("kind:a kind:b").is_err_and(|error| error.contains("twice")));
        assert_eq!(Search::read("  "), Ok(Search::default()));
    }

    #[test]
    fn moments_are_so_long_ago_or_on_the_clock() {
        let now: DateTime<Utc> = "2026-11-25T12:00:00Z".parse().expect("a moment");
        let read = |text: &str| moment(text, now).map(|at| at.to_rfc3339());
        assert_eq!(read("2h").as_deref(), Ok("2026-11-25T10:00:00+00:00"));
        assert_eq!(read("2026-11-23").as_deref(), Ok("2026-11-23T00:00:00+00:00"));
        assert_eq!(read("2026-11-23T10:00:00+01:00").as_deref(), Ok("2026-11-23T09:00:00+00:00"));
        assert!(read("yesterday").is_err_and(|error| error.contains("is not a moment")));
    }

    #[test]
    fn a_value_that_its_qualifier_does_not_take_is_named() {
        let now: DateTime<Utc> = "2026-11-25T12:00:00Z".parse().expect("a moment");
        let wrong = |line: &str| Search::read(line).and_then(|search| search.filter(now)).expect_err(line);
        assert!(wrong("state:sleepy").contains("the states are ready"));
        assert!(wrong("batch:seven").contains("seven"));
        assert!(wrong("since:soon").contains("is not a moment"));
    }
}
