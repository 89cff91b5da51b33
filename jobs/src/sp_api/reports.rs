//! Reports API 2021-06-30: asks for a report, how far it is, and where its document is.
//!
//! Only the two types of [`ReportType`] can be expressed, so that a report with buyer details, prices or payments cannot be
//! asked for. `CANCELLED` is what Amazon says when there is nothing to report. Why a report is `FATAL` stands in its
//! document; of that text only a class is kept ([`fatal_class`]), because it may quote anything.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use runtime::secret::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::sp_api::{CallError, Operation, lenient, request::Request};

/// Most marketplaces of one report. Source: Reports API 2021-06-30, model of 2026-08-05.
pub const MARKETPLACES_A_REPORT: usize = 25;

/// Every type of report that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReportType {
    /// How Amazon judges the account, as JSON.
    AccountHealth,
    /// Neutral and negative feedback about the seller, as tab-separated lines.
    SellerFeedback,
}

impl ReportType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AccountHealth, Self::SellerFeedback];

    /// Amazon's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountHealth => "GET_V2_SELLER_PERFORMANCE_REPORT",
            Self::SellerFeedback => "GET_SELLER_FEEDBACK_DATA",
        }
    }

    /// The type of this name, if it is one of ours.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|report| report.name() == name)
    }
}

impl fmt::Display for ReportType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a report is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It waits, or is being made; or Amazon says a word that nobody knows here.
    NotYet,
    /// It can be fetched.
    Done {
        /// Amazon's id of the document.
        document_id: String,
    },
    /// There is nothing to report, or somebody cancelled it.
    NoData,
    /// Amazon has given it up.
    Fatal {
        /// Amazon's id of the document that says why, if there is one.
        document_id: Option<String>,
    },
}

/// Where a document can be fetched, for five minutes from now.
#[derive(Debug)]
pub struct DocumentPlace {
    /// Whoever has it can read the document: never logged, never stored.
    pub url: SecretString,
    /// Whether the document is compressed.
    pub gzip: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    report_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    processing_status: String,
    #[serde(default)]
    report_document_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    url: SecretString,
    #[serde(default)]
    compression_algorithm: Option<String>,
}

/// Asks for a report about these marketplaces; from this moment on, where the type has a beginning. Never with an end:
/// Amazon cancels the feedback report when it is given one (its documentation's issue 1101).
#[must_use]
pub fn create_request(
    report: ReportType,
    marketplace_ids: &[String],
    from: Option<DateTime<Utc>>,
) -> Request {
    let mut body = json!({"reportType": report.name(), "marketplaceIds": marketplace_ids});
    if let Some(from) = from {
        body["dataStartTime"] = from.to_rfc3339_opts(SecondsFormat::Secs, true).into();
    }
    Request::new(Operation::CreateReport).body(body)
}

/// Asks how far a report is.
#[must_use]
pub fn progress_request(report_id: &str) -> Request {
    Request::about(Operation::GetReport, report_id)
}

/// Asks where a document is.
#[must_use]
pub fn document_request(document_id: &str) -> Request {
    Request::about(Operation::GetReportDocument, document_id)
}

/// Amazon's id of the report that was asked for.
///
/// # Errors
/// When it does not parse.
pub fn parse_created(body: &[u8]) -> Result<String, CallError> {
    Ok(lenient::read::<Created>(Operation::CreateReport, body)?.report_id)
}

/// How far a report is.
///
/// # Errors
/// When it does not parse, or is done without a document.
pub fn parse_progress(body: &[u8]) -> Result<Progress, CallError> {
    let Told { processing_status, report_document_id } = lenient::read(Operation::GetReport, body)?;
    let document_id = report_document_id.filter(|id| !id.is_empty());
    match processing_status.as_str() {
        "DONE" => document_id.map(|document_id| Progress::Done { document_id }).ok_or_else(|| {
            let why = "the report is done and has no document".to_owned();
            CallError::NoAnswer { operation: Operation::GetReport, why }
        }),
        "CANCELLED" => Ok(Progress::NoData),
        "FATAL" => Ok(Progress::Fatal { document_id }),
        _ => Ok(Progress::NotYet),
    }
}

/// Where a document is.
///
/// # Errors
/// When it does not parse, or is compressed in a way that nobody knows here.
pub fn parse_document(body: &[u8]) -> Result<DocumentPlace, CallError> {
    let Place { url, compression_algorithm } = lenient::read(Operation::GetReportDocument, body)?;
    let gzip = match compression_algorithm.as_deref() {
        None | Some("") => false,
        Some("GZIP") => true,
        Some(_) => {
            let why = "the document is compressed in an unknown way".to_owned();
            return Err(CallError::NoAnswer { operation: Operation::GetReportDocument, why });
        }
    };
    Ok(DocumentPlace { url, gzip })
}

/// The class of the reason that a `FATAL` report's document gives, in our own words.
#[must_use]
pub fn fatal_class(document: &str) -> &'static str {
    let text = document.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["internal error", "internal server", "try again", "unexpected"]) {
        "Amazon says that it failed itself"
    } else if says(&[
        "permission",
        "not authorized",
        "unauthorized",
        "access denied",
        "not eligible",
        "not allowed",
    ]) {
        "Amazon says that the seller, or our role, may not have it"
    } else if says(&["date", "time range", "starttime", "endtime"]) {
        "Amazon says that the days are wrong"
    } else if says(&["marketplace"]) {
        "Amazon says that the marketplace is wrong"
    } else if says(&["parameter", "option", "invalid", "report type", "reporttype"]) {
        "Amazon says that the request is wrong"
    } else {
        "Amazon gives a reason that is not known here"
    }
}

#[cfg(test)]
mod tests {
    use runtime::secret::ExposeSecret;

    use super::*;

    #[test]
    fn only_two_types_can_be_asked_for_and_never_with_an_end() {
        let from = DateTime::from_timestamp(1_790_000_000, 0);
        let one = ["A1F83G8C2ARO7P".to_owned()];
        for report in ReportType::ALL {
            let body = create_request(report, &one, from).body.expect("it has a body");
            assert_eq!(body["reportType"], report.name());
            assert_eq!(body["marketplaceIds"], json!(one));
            assert_eq!(body["dataStartTime"], "2026-09-21T14:13:20Z");
            assert_eq!(body.as_object().map(serde_json::Map::len), Some(3));
            assert_eq!(ReportType::of_name(report.name()), Some(report));
        }
        let body = create_request(ReportType::AccountHealth, &one, None).body.expect("it has a body");
        assert!(body.get("dataStartTime").is_none());
        assert_eq!(ReportType::of_name("GET_MERCHANT_LISTINGS_ALL_DATA"), None);
    }

    #[test]
    fn every_status_has_its_meaning() {
        let told = |status: &str, document: &str| {
            let body = format!(r#"{{"processingStatus":"{status}","reportId":"1"{document}}}"#);
            parse_progress(body.as_bytes())
        };
        let with_document = r#","reportDocumentId":"amzn1.tortuga.3.x""#;
        let document_id = "amzn1.tortuga.3.x".to_owned();
        for (status, document, expected) in [
            ("IN_QUEUE", "", Progress::NotYet),
            ("IN_PROGRESS", "", Progress::NotYet),
            ("A_NEW_WORD", "", Progress::NotYet),
            ("CANCELLED", "", Progress::NoData),
            ("DONE", with_document, Progress::Done { document_id: document_id.clone() }),
            ("FATAL", with_document, Progress::Fatal { document_id: Some(document_id) }),
            ("FATAL", r#","reportDocumentId":null"#, Progress::Fatal { document_id: None }),
        ] {
            assert_eq!(told(status, document).expect("an answer"), expected, "{status}");
        }
        told("DONE", "").expect_err("a document is missing");
    }

    #[test]
    fn where_a_document_is_stays_a_secret() {
        let body = br#"{"reportDocumentId":"d","url":"https://storage.example/r?X-Amz-Signature=planted",
            "compressionAlgorithm":"GZIP"}"#;
        let place = parse_document(body).expect("an answer");
        assert!(place.gzip && place.url.expose_secret().contains("planted"));
        assert!(!format!("{place:?}").contains("planted"));
        let error = parse_document(br#"{"url":["planted"#).expect_err("cut").to_string();
        assert!(!error.contains("planted"), "{error}");
        let odd = br#"{"url":"https://x","compressionAlgorithm":"ZSTD"}"#;
        assert!(parse_document(odd).expect_err("unknown").to_string().contains("unknown way"));
    }

    #[test]
    fn of_a_fatal_reason_only_a_class_is_kept() {
        for (text, class) in [
            (
                r#"{"errorDetails":"Error in report processing: internal error. Jane Planted"}"#,
                "failed itself",
            ),
            (r#"{"errorDetails":"The requested account is not eligible"}"#, "may not have it"),
            (r#"{"errorDetails":"dataStartTime is before 2 years"}"#, "days are wrong"),
            ("", "not known here"),
        ] {
            assert!(fatal_class(text).contains(class), "{text}: {}", fatal_class(text));
        }
    }
}
