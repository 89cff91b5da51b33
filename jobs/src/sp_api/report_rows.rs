//! The rows of a report of tab-separated lines, one at a time.
//!
//! Quotes are data: Amazon's flat files quote nothing, and a lone quote in a comment would swallow the lines after it. A line
//! that does not have the header's columns is passed over and counted, because one odd comment must not hold up a report;
//! a last line with too few of them is a document that was cut short.

use std::io::{self, Read};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use memchr::{memchr, memrchr};

use crate::sp_api::report_document::DocumentError;

/// Longest line, in bytes of UTF-8: what a row may make us hold.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Most columns; Amazon's widest report of a seller has fewer than a hundred.
pub const MAX_COLUMNS: usize = 512;
/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The rows of a report.
#[derive(Debug)]
pub struct ReportRows<R> {
    lines: Reader<ShortLines<R>>,
    columns: Vec<String>,
    record: ByteRecord,
    passed_over: u64,
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a>(&'a ByteRecord);

impl<R: Read> ReportRows<R> {
    /// Reads the header line.
    ///
    /// # Errors
    /// When there is none, it has too many columns, or the document cannot be read.
    pub fn open(text: R) -> Result<Self, DocumentError> {
        let mut lines = ReaderBuilder::new()
            .delimiter(b'\t')
            .quoting(false)
            .flexible(true)
            .has_headers(false)
            // A carriage return alone may be part of a comment.
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(ShortLines { inner: text, since_line_end: 0 });
        let mut record = ByteRecord::new();
        if !lines.read_byte_record(&mut record).map_err(unreadable)? {
            return Err(DocumentError::CutShort { why: "it has no header line" });
        }
        if record.len() > MAX_COLUMNS {
            return Err(DocumentError::TooLarge { what: "more columns than are read" });
        }
        let columns = record.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        Ok(Self { lines, columns, record, passed_over: 0 })
    }

    /// How many columns the header has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The place of a column by its name, whatever its case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }

    /// Lines so far that do not have the header's columns.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Whether what was read so far ends with the end of a line. A document that does not may still have been cut within the
    /// last column of its last line, which nothing else shows.
    #[must_use]
    pub fn ends_with_a_line(&self) -> bool {
        self.lines.get_ref().since_line_end == 0
    }

    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// When the document cannot be read to its end.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, DocumentError> {
        let mut too_short = false;
        loop {
            if !self.lines.read_byte_record(&mut self.record).map_err(unreadable)? {
                return match too_short {
                    true => Err(DocumentError::CutShort { why: "its last line is not whole" }),
                    false => Ok(None),
                };
            }
            if is_blank(&self.record) {
                continue;
            }
            if self.record.len() == self.columns.len() {
                return Ok(Some(Row(&self.record)));
            }
            too_short = self.record.len() < self.columns.len();
            self.passed_over += 1;
        }
    }
}

impl<'a> Row<'a> {
    /// The text in a column, without spaces around it.
    #[must_use]
    pub fn text(self, column: usize) -> Option<&'a str> {
        std::str::from_utf8(self.0.get(column)?).ok().map(str::trim)
    }
}

fn is_blank(record: &ByteRecord) -> bool {
    record.len() == 1 && record[0].trim_ascii().is_empty()
}

fn unreadable(error: csv::Error) -> DocumentError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        _ => DocumentError::Unreadable { why: "its lines cannot be told apart".to_owned() },
    }
}

/// Ends with an error when a line is too long to be held.
#[derive(Debug)]
struct ShortLines<R> {
    inner: R,
    since_line_end: usize,
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = &buffer[..count];
        // Lines that begin and end in one piece are shorter than a piece.
        let to_line_end = memchr(b'\n', read).unwrap_or(count);
        if self.since_line_end + to_line_end > MAX_LINE_BYTES {
            return Err(DocumentError::TooLarge { what: "a line longer than is read" }.into());
        }
        self.since_line_end = match memrchr(b'\n', read) {
            Some(last) => count - 1 - last,
            None => self.since_line_end + count,
        };
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<(Vec<Vec<String>>, u64), DocumentError> {
        let mut rows = ReportRows::open(text.as_bytes())?;
        let (width, mut read) = (rows.width(), Vec::new());
        while let Some(row) = rows.next_row()? {
            read.push((0..width).map(|column| row.text(column).expect("UTF-8").to_owned()).collect());
        }
        Ok((read, rows.passed_over()))
    }

    #[test]
    fn quotes_and_carriage_returns_are_data() {
        let (read, passed_over) =
            rows("Date\tRating\r\n1\t\"three\r\n2\ta\rb\"c\"\r\n\r\n").expect("it is whole");
        assert_eq!(read, [["1", "\"three"], ["2", "a\rb\"c\""]]);
        assert_eq!(passed_over, 0);
    }

    #[test]
    fn an_odd_line_is_passed_over_and_counted() {
        let (read, passed_over) = rows("a\tb\n1\t2\n1\t2\t3\nshort\n3\t4").expect("it is whole");
        assert_eq!(read, [["1", "2"], ["3", "4"]]);
        assert_eq!(passed_over, 2);
    }

    #[test]
    fn a_last_line_without_its_columns_is_cut_short() {
        for text in ["", "a\tb\tc\n1\t2\t3\n4\t5", "a\tb\n1\t2\nx\n"] {
            let error = rows(text).expect_err("it is not whole").to_string();
            assert!(error.contains("cut short"), "{text:?}: {error}");
        }
    }

    #[test]
    fn whether_the_last_line_has_its_end_can_be_told() {
        for (text, ends) in [("a\tb\n1\t2\n", true), ("a\tb\r\n1\t2\r\n", true), ("a\tb\n1\t2", false)] {
            let mut rows = ReportRows::open(text.as_bytes()).expect("it has a header");
            while rows.next_row().expect("it is whole").is_some() {}
            assert_eq!(rows.ends_with_a_line(), ends, "{text:?}");
        }
    }

    #[test]
    fn lines_and_columns_have_limits() {
        let long = format!("a\tb\n1\t{}\n", "x".repeat(MAX_LINE_BYTES));
        assert!(rows(&long).expect_err("too long").to_string().contains("a line longer"));
        let wide = "x\t".repeat(MAX_COLUMNS);
        assert!(rows(&wide).expect_err("too wide").to_string().contains("more columns"));
        let fits = format!("a\tb\n1\t{}\n", "x".repeat(MAX_LINE_BYTES - 10));
        assert_eq!(rows(&fits).expect("it fits").0.len(), 1);
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let rows = ReportRows::open("\u{feff}Date\tOrder ID\n".as_bytes()).expect("it has a header");
        assert_eq!((rows.column("order id"), rows.column("Rating"), rows.width()), (Some(1), None, 2));
    }
}
