//! Amazon's rule for the `user-agent` header: `AppId/Version (Language=Rust/1.95; Platform=Linux)`.
//!
//! The header is mandatory, names the language, and has at most 500 characters. Only what Amazon says it checks is checked.

const LONGEST: usize = 500;

/// Why a header is refused, or nothing if Amazon would take it.
pub(crate) fn complaint(user_agent: Option<&str>) -> Option<&'static str> {
    let Some(user_agent) = user_agent.filter(|value| !value.trim().is_empty()) else {
        return Some("The user-agent header is missing.");
    };
    if user_agent.chars().count() > LONGEST {
        return Some("The user-agent header is longer than 500 characters.");
    }
    let attributes = user_agent.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    let names_language = attributes.is_some_and(|(attributes, _)| {
        attributes.split(';').any(|attribute| {
            attribute.trim().strip_prefix("Language=").is_some_and(|language| !language.is_empty())
        })
    });
    (!names_language).then_some("The user-agent header has no Language attribute.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_as_amazon_describes_it_is_taken() {
        for header in
            ["Amzigo/1.0 (Language=Rust/1.95; Platform=Linux)", "A/1 (Platform=Linux; Language=Rust)"]
        {
            assert_eq!(complaint(Some(header)), None, "{header}");
        }
    }

    #[test]
    fn a_header_without_language_or_none_or_a_long_one_is_not() {
        let long = format!("Amzigo/1.0 (Language=Rust; Comment={})", "x".repeat(LONGEST));
        for (header, expected) in [
            (None, "The user-agent header is missing."),
            (Some(" "), "The user-agent header is missing."),
            (Some("reqwest/0.13"), "The user-agent header has no Language attribute."),
            (Some("Amzigo/1.0 (Platform=Linux)"), "The user-agent header has no Language attribute."),
            (Some("Amzigo/1.0 (Language=)"), "The user-agent header has no Language attribute."),
            (Some(long.as_str()), "The user-agent header is longer than 500 characters."),
        ] {
            assert_eq!(complaint(header), Some(expected), "{header:?}");
        }
    }
}
