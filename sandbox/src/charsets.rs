//! The charsets Amazon writes reports in, by marketplace, and text that each of them can write.

use encoding_rs::{Encoding, SHIFT_JIS, UTF_8, WINDOWS_1252};
use serde::{Deserialize, Serialize};

/// How the text of a report becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportCharset {
    /// UTF-8
    #[serde(rename = "utf-8")]
    Utf8,
    /// As Western Europe's reports come.
    #[serde(rename = "windows-1252")]
    Windows1252,
    /// As Japan's reports come.
    #[serde(rename = "shift_jis")]
    ShiftJis,
}

impl ReportCharset {
    /// What reports about a country come in.
    pub(crate) fn of_country(country_code: &str) -> ReportCharset {
        match country_code {
            "JP" => ReportCharset::ShiftJis,
            "GB" | "DE" | "FR" | "IE" => ReportCharset::Windows1252,
            _ => ReportCharset::Utf8,
        }
    }

    /// As `Content-Type` names it.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            ReportCharset::Utf8 => "text/plain;charset=UTF-8",
            ReportCharset::Windows1252 => "text/plain;charset=windows-1252",
            ReportCharset::ShiftJis => "text/plain;charset=Shift_JIS",
        }
    }

    /// Words whose bytes are no UTF-8, unless this is UTF-8. The second byte of the sign for "table" is a backslash.
    pub(crate) fn flavour(self) -> &'static str {
        match self {
            ReportCharset::Utf8 => "tr\u{e8}s bien \u{2014} \u{1f426}",
            ReportCharset::Windows1252 => "tr\u{e8}s bien \u{2013} \u{20ac}5",
            ReportCharset::ShiftJis => "\u{8868}\u{793a}\u{3069}\u{304a}\u{308a}",
        }
    }

    /// The bytes of a text.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        self.encoding().encode(text).0.into_owned()
    }

    fn encoding(self) -> &'static Encoding {
        match self {
            ReportCharset::Utf8 => UTF_8,
            ReportCharset::Windows1252 => WINDOWS_1252,
            ReportCharset::ShiftJis => SHIFT_JIS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_charset_can_write_its_own_words_and_only_utf_8_is_utf_8() {
        for charset in [ReportCharset::Utf8, ReportCharset::Windows1252, ReportCharset::ShiftJis] {
            let bytes = charset.encode(charset.flavour());
            let (back, _, had_errors) = charset.encoding().decode(&bytes);
            assert_eq!((back.as_ref(), had_errors), (charset.flavour(), false));
            assert_eq!(std::str::from_utf8(&bytes).is_ok(), charset == ReportCharset::Utf8, "{charset:?}");
        }
    }
}
