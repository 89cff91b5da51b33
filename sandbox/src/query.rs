//! Reading query parameters as Amazon does: a list is comma-separated or repeated, an enumeration has no other values.
//!
//! Stricter than Amazon in one point: a parameter that the operation does not know is refused instead of ignored, so that a
//! misspelt one does not go unnoticed.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NotAName;
use std::collections::BTreeSet;

/// Why a query was refused; becomes `details` of a 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidQuery(pub(crate) String);

/// The parameters of a request, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes the part of a URI behind the question mark.
    pub(crate) fn parse(query: &str) -> Query {
        Query { pairs: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    /// Refuses parameters that the operation does not know.
    pub(crate) fn allow_only(&self, known: &[&str]) -> Result<(), InvalidQuery> {
        match self.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(InvalidQuery(format!("Unknown parameter {name}."))),
            None => Ok(()),
        }
    }

    /// All values of a list parameter.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.pairs
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// The value of a parameter that may be given once.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, InvalidQuery> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.next() {
            Some(_) => Err(InvalidQuery(format!("{name} may be given once."))),
            None => Ok(first),
        }
    }

    /// A moment in ISO 8601 with its offset.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<DateTime<Utc>>, InvalidQuery> {
        let parse = |value: &str| {
            DateTime::parse_from_rfc3339(value)
                .map(|moment| moment.to_utc())
                .map_err(|_| InvalidQuery(format!("{name} is not a date and time in ISO 8601.")))
        };
        self.one(name)?.map(parse).transpose()
    }

    /// A whole number within a range.
    pub(crate) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, InvalidQuery> {
        let parse = |value: &str| {
            let number = value.parse().ok().filter(|number| range.contains(number));
            let (least, most) = (range.start(), range.end());
            number.ok_or_else(|| InvalidQuery(format!("{name} must be between {least} and {most}.")))
        };
        self.one(name)?.map(parse).transpose()
    }

    /// `true` or `false`, where that is what it says; `false` where it says nothing.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, InvalidQuery> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(InvalidQuery(format!("{name} must be true or false."))),
        }
    }

    /// All parameters but one, in an order of their own.
    pub(crate) fn without(&self, name: &str) -> Vec<(String, String)> {
        let mut others: Vec<_> = self.pairs.iter().filter(|(key, _)| key != name).cloned().collect();
        others.sort();
        others
    }

    /// A list of the names of an enumeration.
    pub(crate) fn names<T>(&self, name: &str) -> Result<BTreeSet<T>, InvalidQuery>
    where
        T: Ord + for<'de> Deserialize<'de>,
    {
        let parse = |value: &str| {
            T::deserialize(value.into_deserializer())
                .map_err(|_: NotAName| InvalidQuery(format!("{name} has no value {value}.")))
        };
        self.list(name).into_iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_be_separated_by_commas_or_repeated() {
        let query = Query::parse("a=1,2&a=3&b=4&c=5%2C6");
        assert_eq!(query.list("a"), ["1", "2", "3"]);
        assert_eq!(query.list("b"), ["4"]);
        assert_eq!(query.list("c"), ["5", "6"]);
        assert!(query.list("d").is_empty());
    }

    #[test]
    fn a_moment_needs_an_offset() {
        let query = Query::parse("good=2026-11-01T10:00:00%2B01:00&bare=2026-11-01&none=2026-11-01T10:00:00");
        let good = query.moment("good").expect("it parses").expect("it is there");
        assert_eq!(good.to_rfc3339(), "2026-11-01T09:00:00+00:00");
        assert!(query.moment("bare").is_err());
        assert!(query.moment("none").is_err());
        assert_eq!(query.moment("absent"), Ok(None));
    }

    #[test]
    fn a_misspelt_parameter_is_named() {
        let refused = Query::parse("marketplaceIDs=A1").allow_only(&["marketplaceIds"]);
        assert_eq!(refused, Err(InvalidQuery("Unknown parameter marketplaceIDs.".to_owned())));
    }
}
