//! Fetches a report's document and hands it to a parser as UTF-8, in constant memory: a document is never in memory as a
//! whole, however large it is.
//!
//! The place of a document is a secret, good for five minutes; so the client here sends no token and none of our headers,
//! follows no redirect, and no error holds an address. A document goes through these: HTTP → gzip, once, when either the
//! answer to `getReportDocument` or the header `Content-Encoding` names it → the charset of `Content-Type`, UTF-8 where it
//! names none that is known → the parser, on a thread for blocking work.
//!
//! What was cut short is an error, never a shorter document: a gzip stream without its trailer, fewer bytes than
//! `Content-Length`, and an answer whose end looks like a lost connection. Whoever stores what a parser hands over must wait
//! for [`OpenDocument::read`] to succeed before it commits.

use std::{
    io::{self, Read},
    time::Duration,
};

use encoding_rs::{Encoding, SHIFT_JIS, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::bufread::MultiGzDecoder;
use futures::stream;
use reqwest::{
    Response, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING},
};
use runtime::secret::ExposeSecret;
use thiserror::Error;
use tokio_util::{
    io::{StreamReader, SyncIoBridge},
    sync::CancellationToken,
};
use url::{Host, Url};

use crate::{config::AmazonSettings, sp_api::reports::DocumentPlace};

/// Most bytes of a document after decompression: a gigabyte is far beyond any report of ours, and below any disk.
pub const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes that a decoder holds at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Amazon keeps documents with its storage service, below this domain.
const STORAGE_DOMAIN: &str = ".amazonaws.com";

/// Why a document could not be read. Says nothing about where it is or what is in it.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// The place is not one that documents are fetched from.
    #[error("the document is not at a place of Amazon's: nothing was fetched")]
    NotAllowed,
    /// The place is no longer good: ask for a new one.
    #[error("the document's address is no longer good")]
    Expired,
    /// Any other answer but a success.
    #[error("fetching the document was refused with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// It could not be fetched whole.
    #[error("the document could not be fetched whole: {why}")]
    Fetch {
        /// What failed, without the address.
        why: String,
    },
    /// It ends too early.
    #[error("the document was cut short: {why}")]
    CutShort {
        /// What is missing.
        why: &'static str,
    },
    /// It is not what it says it is.
    #[error("the document is not readable: {why}")]
    Unreadable {
        /// What is wrong.
        why: String,
    },
    /// It is beyond what is read.
    #[error("the document has {what}: if that is right, the limit in the code must grow")]
    TooLarge {
        /// Which limit.
        what: &'static str,
    },
    /// Nobody wants it any more.
    #[error("reading the document was given up")]
    GivenUp,
}

/// Fetches documents.
#[derive(Debug, Clone)]
pub struct ReportDocuments {
    http: reqwest::Client,
    /// The stand-in for Amazon, whose own documents are fetched too.
    stand_in: Option<Url>,
}

/// A document of which the headers have come.
#[derive(Debug)]
pub struct OpenDocument {
    response: Response,
    gzip: bool,
    charset: &'static Encoding,
}

impl ReportDocuments {
    /// A client with these settings.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: &AmazonSettings) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5).min(settings.timeout))
            // For each piece: how long the whole takes depends on its size, and is bounded by the run's longest time.
            .read_timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Undone here, where the end of the stream can be seen.
            .no_gzip()
            .build()?;
        Ok(Self { http, stand_in: settings.endpoint.clone() })
    }

    /// Begins to fetch a document.
    ///
    /// # Errors
    /// [`DocumentError::Expired`] when the place has grown old, and when there is no whole document.
    pub async fn open(&self, place: &DocumentPlace) -> Result<OpenDocument, DocumentError> {
        let url = self.allowed(place.url.expose_secret())?;
        let response = self.http.get(url).send().await.map_err(fetch_failed)?;
        match response.status() {
            StatusCode::FORBIDDEN => return Err(DocumentError::Expired),
            status if !status.is_success() => return Err(DocumentError::Refused { status: status.as_u16() }),
            _ => {}
        }
        let gzip = is_gzip(place.gzip, response.headers())?;
        if !gzip && !tells_its_end(&response) {
            return Err(DocumentError::CutShort { why: "nothing tells where it ends" });
        }
        let charset = charset(header(response.headers(), CONTENT_TYPE));
        Ok(OpenDocument { response, gzip, charset })
    }

    /// The address, if documents may be fetched from there.
    fn allowed(&self, address: &str) -> Result<Url, DocumentError> {
        let url = Url::parse(address).map_err(|_| DocumentError::NotAllowed)?;
        let at_amazon = url.scheme() == "https"
            && url.port().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && matches!(url.host(), Some(Host::Domain(name)) if name.ends_with(STORAGE_DOMAIN));
        let at_the_stand_in =
            self.stand_in.as_ref().is_some_and(|stand_in| stand_in.origin() == url.origin());
        if at_amazon || at_the_stand_in { Ok(url) } else { Err(DocumentError::NotAllowed) }
    }
}

impl OpenDocument {
    /// Reads the document to its end with `parse`, which gets UTF-8 and runs on a thread for blocking work. Characters that
    /// the charset does not have become U+FFFD. When this future is dropped, the thread ends with the next piece.
    ///
    /// # Errors
    /// When the document is not whole, and whatever `parse` says.
    pub async fn read<T, F>(self, max_bytes: u64, parse: F) -> Result<T, DocumentError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Read) -> Result<T, DocumentError> + Send + 'static,
    {
        let Self { response, gzip, charset } = self;
        let given_up = CancellationToken::new();
        let _give_up_when_dropped = given_up.clone().drop_guard();
        let pieces = stream::try_unfold((response, given_up), |(mut response, given_up)| async move {
            let piece = tokio::select! {
                biased;
                () = given_up.cancelled() => Err(DocumentError::GivenUp),
                piece = response.chunk() => piece.map_err(fetch_failed),
            };
            Ok::<_, io::Error>(piece?.map(|piece| (piece, (response, given_up))))
        });
        let bytes = SyncIoBridge::new(StreamReader::new(Box::pin(pieces)));
        let reading = tokio::task::spawn_blocking(move || {
            let plain: Box<dyn Read> =
                if gzip { Box::new(Unzipped(MultiGzDecoder::new(bytes))) } else { Box::new(bytes) };
            let bounded = Bounded { inner: plain, left: max_bytes };
            let mut text = DecodeReaderBytesBuilder::new()
                .encoding(Some(charset))
                .bom_override(true)
                .build_with_buffer(bounded, vec![0; BUFFER_BYTES])
                .map_err(DocumentError::from)?;
            let parsed = parse(&mut text)?;
            // A parser that has what it wants may stop before the end; whether the document is whole shows only there.
            io::copy(&mut text, &mut io::sink()).map_err(DocumentError::from)?;
            Ok(parsed)
        });
        reading.await.map_err(|_| DocumentError::GivenUp)?
    }
}

/// Errors cross the readers of other libraries as `io::Error`; this takes ours out again.
impl From<io::Error> for DocumentError {
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            return match error.into_inner().map(|inner| inner.downcast::<Self>()) {
                Some(Ok(ours)) => *ours,
                _ => Self::GivenUp,
            };
        }
        // The words of others could quote the document.
        Self::Unreadable { why: format!("{:?}", error.kind()) }
    }
}

impl From<DocumentError> for io::Error {
    fn from(error: DocumentError) -> Self {
        Self::other(error)
    }
}

fn fetch_failed(error: reqwest::Error) -> DocumentError {
    DocumentError::Fetch { why: queue::failure::chain(&error.without_url()) }
}

/// Gunzips, and tells a stream that ends too early from a broken one.
struct Unzipped<R>(MultiGzDecoder<R>);

impl<R: io::BufRead> Read for Unzipped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            _ if error.get_ref().is_some_and(|inner| inner.is::<DocumentError>()) => error,
            io::ErrorKind::UnexpectedEof => {
                DocumentError::CutShort { why: "its compressed data have no end" }.into()
            }
            io::ErrorKind::Interrupted => error,
            _ => DocumentError::Unreadable { why: "its compressed data are broken".to_owned() }.into(),
        })
    }
}

/// Ends with an error after so many bytes: a few compressed ones can become terabytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(DocumentError::TooLarge { what: "more bytes than are read" }.into()),
        }
        Ok(count)
    }
}

/// Whether the bytes that come are compressed. Amazon lets both places name the same, single compression.
fn is_gzip(named_by_amazon: bool, headers: &HeaderMap) -> Result<bool, DocumentError> {
    match header(headers, CONTENT_ENCODING).map(str::trim) {
        None | Some("" | "identity") => Ok(named_by_amazon),
        Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => Ok(true),
        Some(_) => Err(DocumentError::Unreadable { why: "it is compressed in an unknown way".to_owned() }),
    }
}

/// Whether a lost connection would be noticed: not where the end of the connection is the end of the document.
fn tells_its_end(response: &Response) -> bool {
    response.content_length().is_some()
        || response.version() >= Version::HTTP_2
        || response.headers().contains_key(TRANSFER_ENCODING)
}

/// The charset that a content type names. Amazon uses Java's names at times.
fn charset(content_type: Option<&str>) -> &'static Encoding {
    let named = content_type.into_iter().flat_map(|text| text.split(';')).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_lowercase())
    });
    let Some(named) = named else { return UTF_8 };
    match named.as_str() {
        "cp932" | "x-ms932" | "ms_kanji" => SHIFT_JIS,
        label => Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8),
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use encoding_rs::WINDOWS_1252;
    use flate2::{Compression, write::GzEncoder};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Storage that gives one answer and keeps what it was asked.
    struct Storage {
        documents: ReportDocuments,
        place: DocumentPlace,
        asked: tokio::task::JoinHandle<String>,
    }

    async fn storage(gzip: bool, head: &str, body: &[u8]) -> Storage {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let origin = format!("http://{}", listener.local_addr().expect("it listens"));
        let answer = [format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat();
        let asked = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("somebody comes");
            let mut asked = vec![0; 4096];
            let count = socket.read(&mut asked).await.expect("it asks");
            // Whoever has read enough hangs up: that is its right.
            let _gone = socket.write_all(&answer).await;
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        let documents = ReportDocuments::new(&settings(&origin)).expect("TLS can be set up");
        let place = DocumentPlace { url: format!("{origin}/r?X-Amz-Signature=planted").into(), gzip };
        Storage { documents, place, asked }
    }

    fn settings(endpoint: &str) -> AmazonSettings {
        AmazonSettings {
            client_id: String::new(),
            client_secret: String::new().into(),
            token_url: "https://api.amazon.com".parse().expect("a URL"),
            endpoint: Some(endpoint.parse().expect("a URL")),
            timeout: Duration::from_secs(5),
        }
    }

    async fn read_whole(gzip: bool, head: &str, body: &[u8]) -> Result<String, DocumentError> {
        let Storage { documents, place, .. } = storage(gzip, head, body).await;
        let read = documents.open(&place).await?.read(MAX_DOCUMENT_BYTES, |text| {
            let mut whole = String::new();
            text.read_to_string(&mut whole)?;
            Ok(whole)
        });
        read.await
    }

    fn ok(content_type: &str, length: usize) -> String {
        format!("200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}")
    }

    fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    #[tokio::test]
    async fn every_charset_becomes_utf_8() {
        for (content_type, bytes, expected) in [
            ("text/plain", "Zoë ショップ".as_bytes().to_vec(), "Zoë ショップ"),
            ("text/plain; charset=utf-8", "\u{feff}Zoë".as_bytes().to_vec(), "Zoë"),
            ("text/plain;charset=ISO-8859-1", WINDOWS_1252.encode("Zoë – €").0.into_owned(), "Zoë – €"),
            ("text/plain; Charset=\"Cp1252\"", WINDOWS_1252.encode("Müller").0.into_owned(), "Müller"),
            ("text/tab-separated-values; charset=Cp932", SHIFT_JIS.encode("評価 ①").0.into_owned(), "評価 ①"),
            ("text/plain; charset=Shift_JIS", SHIFT_JIS.encode("表示").0.into_owned(), "表示"),
            ("text/plain; charset=klingon", b"ok".to_vec(), "ok"),
            ("text/plain", b"a\xffb".to_vec(), "a\u{fffd}b"),
            ("text/plain; charset=windows-31j", b"a\x81".to_vec(), "a\u{fffd}"),
        ] {
            let plain = read_whole(false, &ok(content_type, bytes.len()), &bytes).await;
            assert_eq!(plain.expect("it is whole"), expected, "{content_type}");
            let small = gzipped(&bytes);
            let unzipped = read_whole(true, &ok(content_type, small.len()), &small).await;
            assert_eq!(unzipped.expect("it is whole"), expected, "{content_type}, compressed");
        }
    }

    #[tokio::test]
    async fn what_is_compressed_is_undone_once_whoever_names_it() {
        let small = gzipped(b"Date\tRating\n");
        let head = format!("{}\r\ncontent-encoding: gzip", ok("text/plain", small.len()));
        for named_by_amazon in [true, false] {
            let text = read_whole(named_by_amazon, &head, &small).await.expect("it is whole");
            assert_eq!(text, "Date\tRating\n");
        }
        let head = format!("{}\r\ncontent-encoding: br", ok("text/plain", 1));
        let error = read_whole(false, &head, b"x").await.expect_err("unknown").to_string();
        assert!(error.contains("unknown way"), "{error}");
    }

    #[tokio::test]
    async fn what_is_cut_short_is_an_error_wherever_it_is_cut() {
        let small = gzipped("Date\tRating\n1\t2\n".repeat(1_000).as_bytes());
        for cut in [0, 5, 30, small.len() - 8, small.len() - 1] {
            let error = read_whole(true, &ok("text/plain", cut), &small[..cut]).await;
            let error = error.expect_err("it has no end").to_string();
            assert!(error.contains("cut short"), "{cut}: {error}");
        }
        let error = read_whole(false, &ok("text/plain", 100), b"Date\tRating\n").await;
        let error = error.expect_err("it is shorter than told");
        assert!(matches!(error, DocumentError::Fetch { .. }), "{error}");
        let error = read_whole(false, "200 OK", b"Date\tRating\n").await.expect_err("it has no end");
        assert!(error.to_string().contains("nothing tells where it ends"), "{error}");
        let mut broken = small.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 0xff;
        let error = read_whole(true, &ok("text/plain", broken.len()), &broken).await.expect_err("broken");
        assert!(matches!(error, DocumentError::Unreadable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_few_bytes_that_become_very_many_are_an_error() {
        let bomb = gzipped(&vec![b'\n'; 1_000_000]);
        assert!(bomb.len() < 10_000);
        let Storage { documents, place, .. } = storage(true, &ok("text/plain", bomb.len()), &bomb).await;
        let open = documents.open(&place).await.expect("it is there");
        let error = open.read(999_999, |_| Ok(())).await.expect_err("too many").to_string();
        assert!(error.contains("more bytes than are read"), "{error}");
    }

    #[tokio::test]
    async fn storage_is_told_nothing_about_us() {
        let Storage { documents, place, asked } = storage(false, &ok("text/plain", 0), b"").await;
        documents.open(&place).await.expect("it is there");
        let asked = asked.await.expect("it was asked").to_lowercase();
        for header in ["x-amz-access-token", "authorization", "user-agent", "accept-encoding", "cookie"] {
            assert!(!asked.contains(header), "{header}: {asked}");
        }
    }

    #[tokio::test]
    async fn an_old_address_is_told_from_other_refusals_and_no_error_has_an_address() {
        let old = storage(false, "403 Forbidden\r\ncontent-length: 0", b"").await;
        let error = old.documents.open(&old.place).await.expect_err("it is old");
        assert!(matches!(error, DocumentError::Expired), "{error}");
        let moved = "302 Found\r\nlocation: https://shop.example/planted\r\ncontent-length: 0";
        let moved = storage(false, moved, b"").await;
        let error = moved.documents.open(&moved.place).await.expect_err("nobody follows it");
        assert!(matches!(error, DocumentError::Refused { status: 302 }), "{error}");

        let nobody = ReportDocuments::new(&settings("http://127.0.0.1:1")).expect("TLS can be set up");
        let place =
            DocumentPlace { url: "http://127.0.0.1:1/r?signature=planted".to_owned().into(), gzip: false };
        let error = nobody.open(&place).await.expect_err("nobody is there");
        let told = format!("{error} {error:?}");
        assert!(
            told.contains("could not be fetched") && !told.contains("planted") && !told.contains("127."),
            "{told}"
        );
    }

    #[test]
    fn documents_are_fetched_from_amazons_storage_alone() {
        let documents = ReportDocuments::new(&settings("http://127.0.0.1:8080")).expect("TLS can be set up");
        let at =
            |scheme: &str, before: &str, after: &str| format!("{scheme}://{before}{STORAGE_DOMAIN}{after}");
        for (address, allowed) in [
            (at("https", "tortuga.s3-eu-west-1", "/x?X-Amz-Expires=300"), true),
            ("http://127.0.0.1:8080/documents/1".to_owned(), true),
            ("http://127.0.0.1:8081/documents/1".to_owned(), false),
            (at("http", "tortuga.s3", "/x"), false),
            (at("https", "tortuga.s3", ".shop.example/x"), false),
            (at("https", "user@tortuga.s3", "/x"), false),
            (at("https", "tortuga.s3", ":8443/x"), false),
            (at("https", "shop.example/x", ""), false),
            (at("https", "not", "/x").replace("not.", "not"), false),
            (at("file", "tortuga.s3", "/x"), false),
            ("https://shop.example/x".to_owned(), false),
            ("file:///etc/passwd".to_owned(), false),
            ("string".to_owned(), false),
        ] {
            assert_eq!(documents.allowed(&address).is_ok(), allowed, "{address}");
        }
    }
}
