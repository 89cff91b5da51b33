//! Page tokens of what is listed by id: the list is frozen at its first page, and each token is good for one seller, one
//! operation and one set of parameters, as often as the client likes, until it dies.
//!
//! What is deleted in between is missing from its page, as it is with Amazon. Searches for orders have tokens of their own.

use crate::query::{InvalidQuery, Query};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Clone, Debug)]
struct Bookmark {
    seller: String,
    parameters: Vec<(String, String)>,
    ids: Arc<[String]>,
    next: usize,
    dies_at: DateTime<Utc>,
}

/// The tokens that live.
#[derive(Debug, Default)]
pub(crate) struct PageTokens {
    bookmarks: HashMap<String, Bookmark>,
}

/// Whose page is asked for, with which parameters, and when.
pub(crate) struct PageWanted<'a> {
    /// The seller's id.
    pub(crate) seller: &'a str,
    /// The query, with the token in it if there is one.
    pub(crate) query: &'a Query,
    /// What the parameter with the token is called.
    pub(crate) parameter: &'static str,
    /// The wall clock.
    pub(crate) now: DateTime<Utc>,
    /// How many ids a page has.
    pub(crate) size: usize,
    /// How long a token lives, in seconds of the wall clock.
    pub(crate) life_seconds: f64,
}

/// A page of ids.
#[derive(Debug)]
pub(crate) struct Page {
    /// The ids.
    pub(crate) ids: Vec<String>,
    /// How many there are on all pages.
    pub(crate) total: usize,
    /// The token of the next page, if there is one.
    pub(crate) next_token: Option<String>,
}

impl PageTokens {
    /// The page that is wanted: behind a token, or the first one of `list`.
    pub(crate) fn page(
        &mut self,
        wanted: &PageWanted<'_>,
        list: impl FnOnce() -> Vec<String>,
    ) -> Result<Page, InvalidQuery> {
        self.bookmarks.retain(|_, kept| kept.dies_at > wanted.now);
        let parameters = wanted.query.without(wanted.parameter);
        let (ids, from) = match wanted.query.one(wanted.parameter)? {
            Some(token) => {
                let refuse = |why: &str| InvalidQuery(format!("{} {why}.", wanted.parameter));
                let kept = self.bookmarks.get(token).filter(|kept| kept.seller == wanted.seller);
                let kept = kept.ok_or_else(|| refuse("is invalid or has expired"))?;
                if kept.parameters != parameters {
                    return Err(refuse("belongs to a request with other parameters"));
                }
                (Arc::clone(&kept.ids), kept.next)
            }
            None => (Arc::from(list()), 0),
        };
        let to = (from + wanted.size).min(ids.len());
        let page = ids[from..to].to_vec();
        let total = ids.len();
        let next_token = (to < total).then(|| {
            let token = Uuid::new_v4().simple().to_string();
            let life = TimeDelta::milliseconds((wanted.life_seconds * 1e3) as i64);
            let bookmark = Bookmark {
                seller: wanted.seller.to_owned(),
                parameters,
                ids,
                next: to,
                dies_at: wanted.now + life,
            };
            self.bookmarks.insert(token.clone(), bookmark);
            token
        });
        Ok(Page { ids: page, total, next_token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    fn page(
        tokens: &mut PageTokens,
        seller: &str,
        query: &str,
        now: DateTime<Utc>,
    ) -> Result<Page, InvalidQuery> {
        let query = Query::parse(query);
        let wanted =
            PageWanted { seller, query: &query, parameter: "pageToken", now, size: 2, life_seconds: 30.0 };
        tokens.page(&wanted, || ["a", "b", "c"].map(str::to_owned).to_vec())
    }

    #[test]
    fn pages_follow_each_other_until_the_last() {
        let mut tokens = PageTokens::default();
        let first = page(&mut tokens, "A1", "x=1", now()).expect("a page");
        assert_eq!((first.ids, first.total), (vec!["a".to_owned(), "b".to_owned()], 3));
        let token = first.next_token.expect("there is more");
        for _ in 0..2 {
            let last = page(&mut tokens, "A1", &format!("x=1&pageToken={token}"), now()).expect("a page");
            assert_eq!((last.ids, last.next_token), (vec!["c".to_owned()], None));
        }
    }

    #[test]
    fn a_token_is_refused_to_others_for_other_parameters_and_after_its_life() {
        let mut tokens = PageTokens::default();
        let token = page(&mut tokens, "A1", "x=1", now()).expect("a page").next_token.expect("more");
        let resumed = format!("x=1&pageToken={token}");
        assert!(page(&mut tokens, "A2", &resumed, now()).is_err());
        assert!(page(&mut tokens, "A1", &format!("x=2&pageToken={token}"), now()).is_err());
        assert!(page(&mut tokens, "A1", &resumed, now() + TimeDelta::milliseconds(29_999)).is_ok());
        assert!(page(&mut tokens, "A1", &resumed, now() + TimeDelta::seconds(30)).is_err());
    }
}
