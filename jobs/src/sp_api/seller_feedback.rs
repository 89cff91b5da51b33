//! The report GET_SELLER_FEEDBACK_DATA: neutral and negative feedback about a seller, as tab-separated lines.
//!
//! Of a line only the day, the stars and the order are read. The buyer's words, the seller's answer and the buyer's address
//! are personal: nothing here has a field for them.
//!
//! Columns are found by their English names, and else by their place, because Amazon translates names: it has used two
//! layouts, of six columns and of nine. Days are written as the marketplace's country does.

use std::io::Read;

use chrono::{Datelike, NaiveDate};

use crate::sp_api::{
    marketplaces::marketplace,
    report_document::DocumentError,
    report_rows::{ReportRows, Row},
};

/// Rows that are handed over at a time.
const BATCH: usize = 500;

/// Feedback about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The order.
    pub order_id: String,
    /// When it was given.
    pub day: NaiveDate,
    /// Stars, 1 to 5.
    pub rating: i16,
}

/// What was read of a report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FeedbackRead {
    /// Lines that were handed over.
    pub rows: u64,
    /// Lines that nobody could make sense of.
    pub passed_over: u64,
    /// Whether what the report does not have is gone: not when a line made no sense, or the last one has no end.
    pub tells_all: bool,
}

/// Reads a marketplace's report to its end and hands its rows over in batches, until `take` says that it wants no more.
///
/// # Errors
/// When the document cannot be read to its end, or its columns are not known.
pub fn read_feedback(
    text: impl Read,
    marketplace_id: &str,
    mut take: impl FnMut(Vec<Feedback>) -> bool,
) -> Result<FeedbackRead, DocumentError> {
    let mut rows = ReportRows::open(text)?;
    let columns = Columns::of(&rows)?;
    let month_first = writes_the_month_first(marketplace_id);
    let (mut read, mut batch) = (FeedbackRead::default(), Vec::with_capacity(BATCH));
    while let Some(row) = rows.next_row()? {
        match columns.feedback(row, month_first) {
            Some(feedback) => batch.push(feedback),
            None => read.passed_over += 1,
        }
        if batch.len() == BATCH {
            read.rows += BATCH as u64;
            if !take(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))) {
                return Err(DocumentError::GivenUp);
            }
        }
    }
    read.rows += batch.len() as u64;
    read.passed_over += rows.passed_over();
    read.tells_all = read.passed_over == 0 && rows.ends_with_a_line();
    if !batch.is_empty() && !take(batch) {
        return Err(DocumentError::GivenUp);
    }
    Ok(read)
}

/// Where in a line the parts are.
struct Columns {
    day: usize,
    rating: usize,
    order_id: usize,
}

impl Columns {
    fn of<R: Read>(rows: &ReportRows<R>) -> Result<Self, DocumentError> {
        let by_place = match rows.width() {
            6 => Some(4),
            9 => Some(7),
            _ => None,
        };
        let unknown = || DocumentError::Unreadable { why: "its columns are not known".to_owned() };
        Ok(Self {
            day: rows.column("Date").unwrap_or(0),
            rating: rows.column("Rating").unwrap_or(1),
            order_id: rows.column("Order ID").or(by_place).ok_or_else(unknown)?,
        })
    }

    fn feedback(&self, row: Row<'_>, month_first: bool) -> Option<Feedback> {
        let order_id = row.text(self.order_id).filter(|id| is_order_id(id))?.to_owned();
        let day = day(row.text(self.day)?, month_first)?;
        let rating = row.text(self.rating)?.parse().ok().filter(|stars| (1..=5).contains(stars))?;
        Some(Feedback { order_id, day, rating })
    }
}

/// As 123-1234567-1234567: whatever else stands there is not an order, and might be a buyer's words.
fn is_order_id(text: &str) -> bool {
    let mut parts = text.split('-');
    let digits = |part: Option<&str>, count: usize| {
        part.is_some_and(|part| part.len() == count && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    digits(parts.next(), 3) && digits(parts.next(), 7) && digits(parts.next(), 7) && parts.next().is_none()
}

/// Whether 3/4/26 is the fourth of March there.
fn writes_the_month_first(marketplace_id: &str) -> bool {
    marketplace(marketplace_id).is_some_and(|marketplace| marketplace.country == "US")
}

/// A day, written with the year first or last, and the month before or after the day.
fn day(text: &str, month_first: bool) -> Option<NaiveDate> {
    // A time may follow.
    let date = text.split([' ', 'T']).next()?;
    let parts: Vec<u32> = date.split(['/', '.', '-']).map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[first, second, third] = parts.as_slice() else { return None };
    let (year, month, day) = match (first, second, third) {
        (year, month, day) if year > 31 => (year, month, day),
        // Only one of the two can be a month.
        (day, month, year) if day > 12 => (year, month, day),
        (month, day, year) if day > 12 => (year, month, day),
        (month, day, year) if month_first => (year, month, day),
        (day, month, year) => (year, month, day),
    };
    let year = i32::try_from(if year < 100 { year + 2_000 } else { year }).ok()?;
    NaiveDate::from_ymd_opt(year, month, day).filter(|day| (2_000..2_100).contains(&day.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: &str = "A1F83G8C2ARO7P";
    const US: &str = "ATVPDKIKX0DER";

    fn read(text: &str, marketplace: &str) -> (Vec<(String, String, i16)>, FeedbackRead) {
        let mut all = Vec::new();
        let read = read_feedback(text.as_bytes(), marketplace, |batch| {
            all.extend(batch.into_iter().map(|row| (row.order_id, row.day.to_string(), row.rating)));
            true
        });
        (all, read.expect("it is whole"))
    }

    fn row(order: &str, day: &str, rating: i16) -> (String, String, i16) {
        (order.to_owned(), day.to_owned(), rating)
    }

    #[test]
    fn both_layouts_are_read_and_nothing_of_the_buyer() {
        let six = "Date\tRating\tComments\tYour Response\tOrder ID\tRater Email\n\
            03/04/26\t2\tPlanted \"words\tsorry\t026-0000001-0000001\tplanted@mail.example\n";
        let (rows, _) = read(six, GB);
        assert_eq!(rows, [row("026-0000001-0000001", "2026-04-03", 2)]);
        let (rows, _) = read(six, US);
        assert_eq!(rows, [row("026-0000001-0000001", "2026-03-04", 2)]);
        let nine = "Datum\tBewertung\tKommentare\tAntwort\tPünktlich\tWie beschrieben\tService\tBestellnummer\tE-Mail\n\
            24.12.2025\t1\tPlanted\t\tnein\tja\tja\t302-0000001-0000001\tplanted@mail.example\n";
        let (rows, _) = read(nine, "A1PA6795UKMFR9");
        assert_eq!(rows, [row("302-0000001-0000001", "2025-12-24", 1)]);
        assert!(!format!("{rows:?}").contains("lanted"));
        assert!(read(six, GB).1.tells_all && !read(six.trim_end(), GB).1.tells_all);
    }

    #[test]
    fn lines_without_sense_are_passed_over_and_counted() {
        let text = "Date\tRating\tComments\tYour Response\tOrder ID\tRater Email\n\
            03/04/26\t9\tx\t\t026-0000001-0000001\t\n\
            yesterday\t2\tx\t\t026-0000002-0000001\t\n\
            03/04/26\t2\tx\t\tmy address is\t\n\
            03/04/26\t2\tx\t\t026-0000003-0000001\t\n";
        let (rows, told) = read(text, GB);
        assert_eq!(rows, [row("026-0000003-0000001", "2026-04-03", 2)]);
        assert_eq!(told, FeedbackRead { rows: 1, passed_over: 3, tells_all: false });
    }

    #[test]
    fn days_are_read_as_the_country_writes_them() {
        for (text, month_first, expected) in [
            ("2026-11-03", false, Some("2026-11-03")),
            ("2026/11/03", true, Some("2026-11-03")),
            ("11/3/26", true, Some("2026-11-03")),
            ("11/3/26", false, Some("2026-03-11")),
            ("25/3/2026", true, Some("2026-03-25")),
            ("3-25-26", false, Some("2026-03-25")),
            ("03.11.26 10:15", false, Some("2026-11-03")),
            ("31/31/26", false, None),
            ("26", false, None),
            ("1/2/99999", false, None),
        ] {
            let expected = expected.map(|day| day.parse::<NaiveDate>().expect("a day"));
            assert_eq!(day(text, month_first), expected, "{text}");
        }
    }

    #[test]
    fn a_report_with_other_columns_is_refused() {
        let error = read_feedback("a\tb\n1\t2\n".as_bytes(), GB, |_| true).expect_err("not known");
        assert!(error.to_string().contains("columns are not known"), "{error}");
    }

    #[test]
    fn rows_come_in_batches_and_end_when_nobody_wants_them() {
        let line = "03/04/26\t2\tx\t\t026-0000003-0000001\t\n";
        let header = "Date\tRating\tComments\tYour Response\tOrder ID\tRater Email\n";
        let text = format!("{header}{}", line.repeat(BATCH + 1));
        let mut sizes = Vec::new();
        let read = read_feedback(text.as_bytes(), GB, |batch| {
            sizes.push(batch.len());
            true
        });
        assert_eq!((sizes, read.expect("whole").rows), (vec![BATCH, 1], BATCH as u64 + 1));
        let given_up = read_feedback(text.as_bytes(), GB, |_| false).expect_err("nobody wants it");
        assert!(matches!(given_up, DocumentError::GivenUp));
    }
}
