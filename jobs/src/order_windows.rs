//! Which page of a seller's orders comes next, going on from where the sync has come, or back through the history.
//!
//! Pure: the kinds `sync_orders` and `backfill_orders` do what it says, and the simulation too. Orders are searched by when
//! they were last updated, in windows. Amazon wants the first page's filters with every page token, so both ends of a window
//! stay where they are until its last page. A token dies after a day; a window that takes longer than that is begun again at
//! half its length, so that even the largest seller comes through.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    sp_api::orders::SearchOrders,
    store::cursors::{Cursor, Window},
};

/// Amazon keeps orders for two years. Source: Orders API 2026-01-01, read 2026-11-23.
pub const HISTORY: TimeDelta = TimeDelta::days(2 * 365 - 1);
/// Amazon tells changes only when they are two minutes old; a few seconds more for clocks that differ.
pub const NOT_YET_TOLD: TimeDelta = TimeDelta::seconds(125);
/// A window starts before the end of the last one, because changes may be told out of order.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);
/// Amazon's page tokens die after a day; one that is nearly that old is not tried.
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(23);
/// The longest window of the history, and the shortest of any.
const LONGEST_BACK: TimeDelta = TimeDelta::days(30);
const SHORTEST: TimeDelta = TimeDelta::hours(1);

/// A page to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSearch {
    /// What to ask Amazon.
    pub search: SearchOrders,
    /// The window that the page is of: from where it was reached to its other end.
    reached: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl PageSearch {
    /// The cursor after this page, which named the token of a next one or was the window's last.
    #[must_use]
    pub fn moved(&self, cursor: &Cursor, next_token: Option<&str>, now: DateTime<Utc>) -> Cursor {
        match next_token {
            Some(token) => {
                let page = Some((token.to_owned(), now));
                cursor.moved_to(self.reached, Some(Window { end: self.end, page }))
            }
            None => cursor.moved_to(self.end, None),
        }
    }

    /// Where the window ends: reached, once its last page is stored.
    #[must_use]
    pub const fn end(&self) -> DateTime<Utc> {
        self.end
    }
}

/// The cursor of a seller who connects now, for both directions: what Amazon tells already is history.
#[must_use]
pub fn fresh(now: DateTime<Utc>) -> Cursor {
    Cursor::starting_at(now - NOT_YET_TOLD)
}

/// The page that comes next going on: one more of the window, or the first of a new one, which ends now.
#[must_use]
pub fn next_page(cursor: &Cursor, marketplaces: &[String], now: DateTime<Utc>) -> PageSearch {
    let (reached, end, token) = match alive(cursor, now) {
        Some(window) => (cursor.reached, window.end, token_of(&window)),
        None => {
            let reached = cursor.reached.max(now - HISTORY);
            (reached, now - NOT_YET_TOLD, None)
        }
    };
    page(reached, end, ((reached - OVERLAP).min(end), end), marketplaces, token)
}

/// The page that comes next going back; `None` when all that Amazon keeps is stored.
#[must_use]
pub fn next_page_back(cursor: &Cursor, marketplaces: &[String], now: DateTime<Utc>) -> Option<PageSearch> {
    let oldest = now - HISTORY;
    let (reached, end, token) = match alive(cursor, now) {
        Some(window) => (cursor.reached, window.end, token_of(&window)),
        None if cursor.reached <= oldest => return None,
        None => (cursor.reached, (cursor.reached - LONGEST_BACK).max(oldest), None),
    };
    Some(page(reached, end, (end, reached.min(now - NOT_YET_TOLD)), marketplaces, token))
}

/// The cursor when Amazon no longer takes the page token: the window from its first page, half as long.
#[must_use]
pub fn begun_again(cursor: &Cursor) -> Cursor {
    let window =
        cursor.window.as_ref().map(|window| Window { end: half_way(cursor.reached, window.end), page: None });
    cursor.moved_to(cursor.reached, window)
}

/// How far back the history is stored, from 0 to 1, for a seller who connected at `since`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "two years of seconds are exact")]
pub fn history_stored(reached: DateTime<Utc>, since: DateTime<Utc>) -> f64 {
    ((since - reached).num_seconds() as f64 / HISTORY.num_seconds() as f64).clamp(0.0, 1.0)
}

/// The window that was begun, unless its token is too old; then as [`begun_again`].
fn alive(cursor: &Cursor, now: DateTime<Utc>) -> Option<Window> {
    let window = cursor.window.clone()?;
    let dead = window.page.as_ref().is_some_and(|(_, given_at)| now - *given_at >= TOKEN_LIFE);
    if dead { begun_again(cursor).window } else { Some(window) }
}

fn token_of(window: &Window) -> Option<String> {
    window.page.as_ref().map(|(token, _)| token.clone())
}

fn half_way(reached: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
    let length = end - reached;
    if length.abs() <= SHORTEST { end } else { reached + length / 2 }
}

fn page(
    reached: DateTime<Utc>,
    end: DateTime<Utc>,
    (after, before): (DateTime<Utc>, DateTime<Utc>),
    marketplaces: &[String],
    page_token: Option<String>,
) -> PageSearch {
    let search = SearchOrders {
        last_updated_after: after,
        last_updated_before: before,
        marketplace_ids: marketplaces.to_vec(),
        page_token,
    };
    PageSearch { search, reached, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a moment")
    }

    fn days(count: i64) -> DateTime<Utc> {
        now() - TimeDelta::days(count)
    }

    /// Every window of a walk back in which each window has so many pages, as days before now.
    fn walk_back(from: DateTime<Utc>) -> Vec<(i64, i64)> {
        let mut cursor = Cursor::starting_at(from);
        let mut windows = Vec::new();
        while let Some(page) = next_page_back(&cursor, &[], now()) {
            let search = &page.search;
            windows.push((
                (now() - search.last_updated_after).num_days(),
                (now() - search.last_updated_before).num_days(),
            ));
            cursor = page.moved(&cursor, None, now());
        }
        windows
    }

    #[test]
    fn going_back_covers_all_that_amazon_keeps_without_a_gap() {
        let windows = walk_back(now());
        assert_eq!(windows.first(), Some(&(30, 0)));
        assert_eq!(windows.last().map(|window| window.0), Some(HISTORY.num_days()));
        assert!(windows.windows(2).all(|two| two[0].0 == two[1].1), "{windows:?}");
        assert_eq!(walk_back(days(HISTORY.num_days())), []);
    }

    #[test]
    fn both_ends_stay_until_the_last_page() {
        for back in [false, true] {
            let next = |cursor: &Cursor, now| match back {
                true => next_page_back(cursor, &[], now).expect("there is more"),
                false => next_page(cursor, &[], now),
            };
            let cursor = Cursor::starting_at(days(3));
            let first = next(&cursor, now());
            assert_eq!(first.search.page_token, None);
            let cursor = first.moved(&cursor, Some("two"), now());
            let second = next(&cursor, now() + TimeDelta::hours(22));
            let expected = SearchOrders { page_token: Some("two".to_owned()), ..first.search };
            assert_eq!(second.search, expected, "back: {back}");
            let cursor = second.moved(&cursor, None, now());
            assert_eq!((cursor.reached, cursor.window), (second.end(), None));
        }
    }

    #[test]
    fn a_window_whose_token_died_is_begun_again_at_half_its_length_until_it_fits() {
        let cursor = Cursor::starting_at(days(8)).moved_to(
            days(8),
            Some(Window { end: days(0), page: Some(("old".to_owned(), now() - TimeDelta::hours(23))) }),
        );
        let page = next_page(&cursor, &[], now());
        assert_eq!((page.search.page_token.clone(), page.end()), (None, days(4)));
        assert_eq!(begun_again(&cursor).window, Some(Window { end: days(4), page: None }));
        // What was cut off is the next window.
        let cursor = page.moved(&cursor, None, now());
        assert_eq!(cursor.reached, days(4));

        let mut cursor =
            Cursor::starting_at(days(8)).moved_to(days(8), Some(Window { end: days(0), page: None }));
        for _ in 0..100 {
            cursor = begun_again(&cursor);
        }
        let shortest = cursor.window.expect("it is begun").end - days(8);
        assert!(shortest > TimeDelta::zero() && shortest <= SHORTEST, "{shortest}");
    }

    #[test]
    fn what_changed_in_the_last_two_minutes_is_left_for_later() {
        let told = now() - NOT_YET_TOLD;
        for reached in [now(), fresh(now()).reached, days(1)] {
            let page = next_page(&Cursor::starting_at(reached), &[], now());
            let (after, before) = (page.search.last_updated_after, page.search.last_updated_before);
            assert_eq!((after, before, page.end()), ((reached - OVERLAP).min(told), told, told));
            let back = next_page_back(&Cursor::starting_at(reached), &[], now()).expect("there is more");
            assert_eq!(back.search.last_updated_before, reached.min(told));
        }
    }

    #[test]
    fn the_history_is_as_much_as_it_reaches_back() {
        assert_eq!(history_stored(now(), now()), 0.0);
        assert_eq!(history_stored(now() - HISTORY, now()), 1.0);
        assert_eq!(history_stored(now() - HISTORY * 2, now()), 1.0);
    }
}
