//! A feedback report of any size, made while it is served over HTTP on loopback, read as a job reads it; and how fast that
//! went and how much memory it took.

use std::{io::Write, time::Duration};

use encoding_rs::{Encoding, SHIFT_JIS, UTF_8, WINDOWS_1252};
use flate2::{Compression, write::GzEncoder};
use jobs::{
    config::AmazonSettings,
    sp_api::{
        report_document::{MAX_DOCUMENT_BYTES, ReportDocuments},
        reports::DocumentPlace,
        seller_feedback::read_feedback,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

const GB: &str = "A1F83G8C2ARO7P";
const JP: &str = "A1VC38T7YXB528";
/// Lines in the piece that a report repeats.
const LINES: usize = 8_000;
/// Memory is looked at once in so many batches of rows.
const BATCHES_A_LOOK: u32 = 8;

/// A report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// How it is called in the output.
    pub(crate) name: &'static str,
    content_type: &'static str,
    charset: &'static Encoding,
    gzip: bool,
    marketplace: &'static str,
    comment: &'static str,
}

/// One report for each charset, and one that is compressed.
pub(crate) const CASES: [Case; 4] = [
    Case {
        name: "utf-8",
        content_type: "text/plain; charset=UTF-8",
        charset: UTF_8,
        gzip: false,
        marketplace: GB,
        comment: "The parcel came late – and \"opened\", which is not what I paid £20 for.",
    },
    Case {
        name: "windows-1252",
        content_type: "text/plain; charset=ISO-8859-1",
        charset: WINDOWS_1252,
        gzip: false,
        marketplace: GB,
        comment: "Das Päckchen kam spät und war geöffnet, für 20 € nicht schön.",
    },
    Case {
        name: "shift_jis",
        content_type: "text/plain; charset=Cp932",
        charset: SHIFT_JIS,
        gzip: false,
        marketplace: JP,
        comment: "商品の到着が遅く、箱が開いていました。残念です。",
    },
    Case {
        name: "utf-8, gzip",
        content_type: "text/plain; charset=UTF-8",
        charset: UTF_8,
        gzip: true,
        marketplace: GB,
        comment: "The parcel came late – and \"opened\", which is not what I paid £20 for.",
    },
];

/// How it went.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Bytes of the report, decompressed, in its charset.
    pub(crate) bytes: u64,
    /// Rows that were read.
    pub(crate) rows: u64,
    /// Rows that the report has.
    pub(crate) rows_served: u64,
    /// How long it took.
    pub(crate) took: Duration,
    /// How much more memory the process had at most than before, the server's included.
    pub(crate) rss_growth_bytes: u64,
}

/// Serves a report of about so many bytes and reads it.
pub(crate) async fn measure(case: Case, about_bytes: usize) -> Measured {
    let header = "Date\tRating\tComments\tYour Response\tOrder ID\tRater Email\r\n";
    let (header, piece) = (encoded(case, header), encoded(case, &lines(case)));
    let pieces = about_bytes.div_ceil(piece.len());
    let bytes = (header.len() + pieces * piece.len()) as u64;
    let wire = if case.gzip { [gzipped(&header), gzipped(&piece)] } else { [header, piece] };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let origin = format!("http://{}", listener.local_addr().expect("it listens"));
    let server = tokio::spawn(serve(listener, case.content_type, wire, pieces));

    let before = rss_bytes();
    let started = Instant::now();
    let place = DocumentPlace { url: format!("{origin}/report").into(), gzip: case.gzip };
    let documents = ReportDocuments::new(&settings(&origin)).expect("a client can be made");
    let document = documents.open(&place).await.expect("the report is there");
    let read = document.read(MAX_DOCUMENT_BYTES, move |text| {
        let (mut most, mut batches) = (before, 0);
        let read = read_feedback(text, case.marketplace, |_| {
            batches += 1;
            if batches % BATCHES_A_LOOK == 0 {
                most = most.max(rss_bytes());
            }
            true
        })?;
        Ok((read, most))
    });
    let (read, most) = read.await.expect("the report is whole");
    let took = started.elapsed();
    server.await.expect("the server ends well");
    assert_eq!(read.passed_over, 0, "every line is one");
    Measured {
        bytes,
        rows: read.rows,
        rows_served: (pieces * LINES) as u64,
        took,
        rss_growth_bytes: most.max(rss_bytes()) - before,
    }
}

async fn serve(listener: TcpListener, content_type: &str, [header, piece]: [Vec<u8>; 2], pieces: usize) {
    let (mut socket, _) = listener.accept().await.expect("somebody comes");
    let mut asked = [0; 4096];
    let count = socket.read(&mut asked).await.expect("it asks");
    assert!(count > 0, "it asks something");
    let length = header.len() + pieces * piece.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("it reads");
    socket.write_all(&header).await.expect("it reads");
    for _ in 0..pieces {
        socket.write_all(&piece).await.expect("it reads");
    }
}

fn lines(case: Case) -> String {
    let line = |number: usize| {
        let (month, day, rating) = (number % 12 + 1, number % 28 + 1, number % 3 + 1);
        let comment = case.comment;
        format!(
            "2026/{month:02}/{day:02}\t{rating}\t{comment}\t\t026-{number:07}-0000001\tx{number}@marketplace.example\r\n"
        )
    };
    (0..LINES).map(line).collect()
}

fn encoded(case: Case, text: &str) -> Vec<u8> {
    let (bytes, _, lost) = case.charset.encode(text);
    assert!(!lost, "{} has every character", case.name);
    bytes.into_owned()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn settings(endpoint: &str) -> AmazonSettings {
    AmazonSettings {
        client_id: String::new(),
        client_secret: String::new().into(),
        token_url: endpoint.parse().expect("a URL"),
        endpoint: Some(endpoint.parse().expect("a URL")),
        timeout: Duration::from_secs(30),
    }
}

/// What the process has in memory, as Linux counts it.
fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has the line");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kilobytes * 1024
}
