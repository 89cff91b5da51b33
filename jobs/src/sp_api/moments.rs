//! Moments as Amazon writes them: with or without seconds, with an offset or a Z.

use chrono::{DateTime, Utc};

/// The moment, if it is one.
#[must_use]
pub(super) fn moment(text: &str) -> Option<DateTime<Utc>> {
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(&text.replace('Z', "+00:00"), "%Y-%m-%dT%H:%M%:z"));
    Some(parsed.ok()?.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_missing() {
        for (text, expected) in [
            ("2026-11-01T00:00-07:00", Some("2026-11-01T07:00:00Z")),
            ("2026-11-01T00:00Z", Some("2026-11-01T00:00:00Z")),
            ("2026-11-01T00:00:05.250+01:00", Some("2026-10-31T23:00:05.250Z")),
            ("2026-11-01", None),
            ("string", None),
        ] {
            assert_eq!(moment(text), expected.map(|text| text.parse().expect("a moment")), "{text}");
        }
    }
}
