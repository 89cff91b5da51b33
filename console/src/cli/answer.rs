//! Shows answers: one JSON document for programs, tables and sentences for people, colours only on a terminal.

use std::io::{ErrorKind, IsTerminal, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use super::stop::Stop;

/// How this command answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answers {
    pub(super) json: bool,
}

impl Answers {
    /// Shows one answer; `text` makes the form for people.
    pub(super) fn give<T: Serialize>(self, answer: &T, text: impl FnOnce(&T) -> String) -> Result<(), Stop> {
        let mut shown = if self.json { serde_json::to_string_pretty(answer)? } else { text(answer) };
        shown.push('\n');
        let mut out = std::io::stdout().lock();
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            // The reader has seen enough, as in `amzigo jobs | head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Tells a person why the command stopped, causes included.
pub(super) fn complain(stop: &Stop) {
    let error = plain(&queue::failure::chain(stop.error().as_ref()));
    let start = if std::io::stderr().is_terminal() { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    eprintln!("{start} {error}");
}

/// A table with these headings, as wide as the terminal.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.iter().map(|heading| Cell::new(heading).fg(Color::DarkGrey)));
    if !std::io::stdout().is_terminal() {
        table.force_no_tty();
    }
    table
}

/// A cell of text that comes from elsewhere.
pub(super) fn text(text: &str) -> Cell {
    Cell::new(plain(text))
}

/// A cell with a state, coloured by what it asks of the reader.
pub(super) fn state(name: &str) -> Cell {
    let cell = text(name);
    match name {
        "dead" | "needs_reauthorisation" => cell.fg(Color::Red),
        "running" => cell.fg(Color::Cyan),
        "delayed" => cell.fg(Color::Yellow),
        "done" | "active" => cell.fg(Color::Green),
        _ => cell,
    }
}

/// A moment in UTC, to the second.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Text without control characters: an error that quotes an answer could otherwise steer the reader's terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => ' ',
            control if control.is_control() => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// The beginning of a text that is too long for a line.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb c");
        assert_eq!(short("ééééé", 3), "ééé…");
        assert_eq!(short("ééé", 3), "ééé");
    }
}
