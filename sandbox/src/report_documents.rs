//! `getReportDocument`, and the store that its addresses lead to: there a document is fetched without a token.
//!
//! An address is good for five minutes of the wall clock, whatever the speed. The store answers in its own language, XML. A request
//! that brings credentials is refused, as the real one refuses two ways to prove who one is, and kept for the test to see.

use crate::answer::Answer;
use crate::ask::Ask;
use crate::query::{InvalidQuery, Query};
use crate::state::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, Write};
use uuid::Uuid;

/// What a report tells, as bytes.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The seller's id.
    pub(crate) seller: String,
    /// The bytes, compressed if it says so.
    pub(crate) bytes: Vec<u8>,
    /// What they are, before they were compressed.
    pub(crate) content_type: &'static str,
    /// Whether they are compressed with gzip.
    pub(crate) is_compressed: bool,
}

impl Document {
    /// A document in JSON.
    pub(crate) fn json(seller: &str, bytes: Vec<u8>) -> Document {
        Document {
            seller: seller.to_owned(),
            bytes,
            content_type: "application/json;charset=UTF-8",
            is_compressed: false,
        }
    }

    fn compressed(mut self) -> Document {
        let compress = |bytes: &[u8]| -> io::Result<Vec<u8>> {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        };
        // Memory does not refuse what is written to it; were it to, the document would come uncompressed and say so.
        if let Ok(bytes) = compress(&self.bytes) {
            self.bytes = bytes;
            self.is_compressed = true;
        }
        self
    }
}

#[derive(Clone, Debug)]
struct Address {
    document_id: String,
    signature: String,
    dies_at: DateTime<Utc>,
    names_encoding: bool,
}

/// All documents, and the addresses that were given out.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    by_id: HashMap<String, Document>,
    addresses: HashMap<String, Address>,
}

impl Documents {
    /// Keeps a document, compressed if that is wanted. Returns its id.
    pub(crate) fn enter(&mut self, document: Document, gzip: bool) -> String {
        let id = format!("amzn1.spdoc.1.4.eu.{}.T1SANDBOX", Uuid::new_v4());
        self.by_id.insert(id.clone(), if gzip { document.compressed() } else { document });
        id
    }
}

/// `getReportDocument`
pub(crate) fn get_report_document(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&["enableContentEncodingUrlHeader"])?;
    let names_encoding = ask.query.flag("enableContentEncodingUrlHeader")?;
    let id = ask.first_subject();
    let Some(document) = state.documents.by_id.get(id).filter(|document| document.seller == ask.seller)
    else {
        return Ok(Answer::not_found("The report document was not found."));
    };
    let (path, signature) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    let life = TimeDelta::milliseconds((state.document_url_seconds * 1e3) as i64);
    let mut body = json!({
        "reportDocumentId": id,
        "url": format!("{}/documents/{path}?signature={signature}", state.base_url),
    });
    if document.is_compressed {
        body["compressionAlgorithm"] = json!("GZIP");
    }
    let address = Address { document_id: id.to_owned(), signature, dies_at: ask.now + life, names_encoding };
    state.documents.addresses.insert(path, address);
    Ok(Answer::json(StatusCode::OK, &body))
}

/// A request to the store, as far as the store looks at it.
pub(crate) struct Download<'a> {
    /// The last part of the path.
    pub(crate) path: &'a str,
    /// The query.
    pub(crate) query: &'a Query,
    /// Whether it brings a token or an authorisation.
    pub(crate) has_credentials: bool,
    /// The wall clock.
    pub(crate) now: DateTime<Utc>,
}

/// Answers in the store's place.
pub(crate) fn download(state: &mut State, wanted: &Download<'_>) -> Answer {
    if wanted.has_credentials {
        state.calls.refuse("GET /documents with credentials".to_owned());
        let message = "Only one auth mechanism allowed; only the query parameter is expected.";
        return store_error(StatusCode::BAD_REQUEST, "InvalidArgument", message);
    }
    let Some(address) = state.documents.addresses.get(wanted.path) else {
        return store_error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    };
    if wanted.query.list("signature") != [address.signature.as_str()] {
        let message = "The request signature we calculated does not match the signature you provided.";
        return store_error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message);
    }
    if address.dies_at <= wanted.now {
        return store_error(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired");
    }
    let Some(document) = state.documents.by_id.get(&address.document_id) else {
        return store_error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    };
    let answer = Answer::bytes(StatusCode::OK, document.bytes.clone(), document.content_type);
    if document.is_compressed && address.names_encoding { answer.named_gzip() } else { answer }
}

/// An error in the store's shape.
pub(crate) fn store_error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Answer::bytes(status, body.into_bytes(), "application/xml")
}
