//! The steps of a report, from the asking to the storing. Each is noted in `amazon_reports`, so that a run that is stopped,
//! or another worker, goes on with the next one.
//!
//! Safe to repeat: what is read is stored in the transaction that ends the report, and only by the run that ends it. Where
//! a run is stopped between Amazon's answer to `createReport` and the note of it, Amazon makes one report that nobody
//! fetches, and a second one is asked for: that costs a call and nothing else.

use chrono::Days;
use queue::{Failure, Outcome};
use tokio::sync::mpsc;

use crate::{
    connected::Connected,
    performance::{Report, ReportState, data_from, next_look},
    sp_api::{
        CallError,
        account_health::{MAX_HEALTH_BYTES, read_health},
        answer::Refusal,
        marketplaces::time_zone,
        report_document::{DocumentError, MAX_DOCUMENT_BYTES, OpenDocument},
        reports::{
            MARKETPLACES_A_REPORT, Progress, ReportType, create_request, document_request, fatal_class,
            parse_created, parse_document, parse_progress, progress_request,
        },
        seller_feedback::{Feedback, FeedbackRead, read_feedback},
    },
    store::{
        account_health,
        amazon_reports::{self, End},
        seller_feedback,
    },
};

/// An address is good for five minutes. When it is not by the time it is used, it is asked for anew, so often in a run.
const ADDRESSES_A_RUN: usize = 2;
/// Batches that are read ahead of what is stored.
const BATCHES_AHEAD: usize = 2;
/// Most bytes of the document that says why a report is fatal.
const MAX_REASON_BYTES: u64 = 64 * 1024;

const NEVER_READY: &str = "Amazon had not made it after twelve hours";
const GONE: &str = "Amazon no longer knows it";
const NOT_READABLE: &str = "its document is not one that can be read";
const UNKNOWN_REASON: &str = "Amazon's reason could not be read";

/// Asks for a report and writes it down, or that Amazon refuses to make it.
pub(crate) async fn ask(
    connected: &Connected<'_>,
    report_type: ReportType,
    marketplace_id: &str,
) -> Outcome<()> {
    let (seller, now) = (&connected.seller, connected.context.clock.now());
    let mut about = match marketplace_id {
        "" => seller.marketplace_ids.clone(),
        one => vec![one.to_owned()],
    };
    about.truncate(MARKETPLACES_A_REPORT);
    let from = data_from(report_type, now);
    let asked = connected.call(&create_request(report_type, &about, from)).await;
    let report_id = match asked.and_then(|answer| parse_created(&answer.body)) {
        Ok(report_id) => report_id,
        Err(error) => return refused(connected, report_type, marketplace_id, error).await,
    };
    let report = Report {
        report_type,
        marketplace_id: marketplace_id.to_owned(),
        report_id,
        asked_at: now,
        data_from: from,
        state: ReportState::Asked { looks: 0, next_look_at: next_look(0, now) },
    };
    let mut connection = connected.context.pool.acquire().await?;
    amazon_reports::asked(&mut connection, seller.id, &report).await?;
    Ok(())
}

/// One report that Amazon would not make must not hold up what else there is to do; the end of the job tells of it.
async fn refused(
    connected: &Connected<'_>,
    report_type: ReportType,
    marketplace_id: &str,
    error: CallError,
) -> Outcome<()> {
    let Some(refusal @ (Refusal::InvalidInput | Refusal::AccessDenied | Refusal::NotFound)) = error.refusal()
    else {
        return Err(connected.failed(error).await);
    };
    count(report_type, "refused");
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    let mut connection = connected.context.pool.acquire().await?;
    let reason = refusal.to_string();
    amazon_reports::refused(&mut connection, seller, report_type, marketplace_id, &reason, now).await?;
    Ok(())
}

/// Asks how far a report is, and writes that down. Says how it ended, if it did.
pub(crate) async fn look(connected: &Connected<'_>, report: &Report) -> Outcome<Option<End>> {
    let answer = connected.call(&progress_request(&report.report_id)).await;
    let progress = match answer.and_then(|answer| parse_progress(&answer.body)) {
        Ok(progress) => progress,
        Err(error) if error.refusal() == Some(Refusal::NotFound) => {
            return end(connected, report, End::Failed(GONE)).await;
        }
        Err(error) => return Err(connected.failed(error).await),
    };
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    let noted = match progress {
        Progress::NoData => return end(connected, report, End::NoData).await,
        Progress::Fatal { document_id } => {
            let reason = match document_id {
                Some(document_id) => fatal_reason(connected, &document_id).await?,
                None => UNKNOWN_REASON,
            };
            return end(connected, report, End::Failed(reason)).await;
        }
        Progress::NotYet => {
            let ReportState::Asked { looks, .. } = report.state else { return Ok(None) };
            let looks = looks.saturating_add(1);
            let mut connection = connected.context.pool.acquire().await?;
            let next = next_look(looks, now);
            amazon_reports::looked(&mut connection, seller, report, looks, next).await?
        }
        Progress::Done { document_id } => {
            let mut connection = connected.context.pool.acquire().await?;
            amazon_reports::ready(&mut connection, seller, report, &document_id).await?
        }
    };
    if noted { Ok(None) } else { Err(another_run()) }
}

/// Gives a report up that Amazon does not make.
pub(crate) async fn give_up(connected: &Connected<'_>, report: &Report) -> Outcome<Option<End>> {
    end(connected, report, End::Failed(NEVER_READY)).await
}

/// Fetches a report that is ready, and stores it.
pub(crate) async fn fetch(connected: &Connected<'_>, report: &Report) -> Outcome<Option<End>> {
    let ReportState::Ready { document_id } = &report.state else { return Ok(None) };
    let document = match open(connected, document_id).await? {
        Opened::Document(document) => document,
        Opened::Gone => return end(connected, report, End::Failed(GONE)).await,
    };
    let stored = match report.report_type {
        ReportType::AccountHealth => store_health(connected, report, document).await,
        ReportType::SellerFeedback => store_feedback(connected, report, document).await,
    };
    match stored {
        Ok(()) => {
            count(report.report_type, "stored");
            Ok(Some(End::Stored))
        }
        // Fetching it again would not make it better; the next report may be.
        Err(Unstored::Document(DocumentError::Unreadable { .. } | DocumentError::TooLarge { .. })) => {
            end(connected, report, End::Failed(NOT_READABLE)).await
        }
        Err(Unstored::Document(error)) => Err(Failure::retry(error)),
        Err(Unstored::Other(failure)) => Err(failure),
    }
}

/// Why a document was not stored.
enum Unstored {
    Document(DocumentError),
    Other(Failure),
}

impl From<DocumentError> for Unstored {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}

impl From<sqlx::Error> for Unstored {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

async fn store_health(
    connected: &Connected<'_>,
    report: &Report,
    document: OpenDocument,
) -> Result<(), Unstored> {
    let judgements = document.read(MAX_HEALTH_BYTES, |text| read_health(text)).await?;
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    let mut transaction = connected.context.pool.begin().await?;
    if !amazon_reports::end(&mut transaction, seller, report, End::Stored, now).await? {
        return Err(Unstored::Other(another_run()));
    }
    account_health::replace(&mut transaction, seller, &judgements, report.asked_at, now).await?;
    Ok(transaction.commit().await?)
}

/// Rows are stored while others are still read, in one transaction that is committed only when the document was whole.
async fn store_feedback(
    connected: &Connected<'_>,
    report: &Report,
    document: OpenDocument,
) -> Result<(), Unstored> {
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    let marketplace = report.marketplace_id.clone();
    let mut transaction = connected.context.pool.begin().await?;
    if !amazon_reports::end(&mut transaction, seller, report, End::Stored, now).await? {
        return Err(Unstored::Other(another_run()));
    }
    let (sender, mut batches) = mpsc::channel::<Vec<Feedback>>(BATCHES_AHEAD);
    let reading = document.read(MAX_DOCUMENT_BYTES, move |text| {
        read_feedback(text, &marketplace, |batch| sender.blocking_send(batch).is_ok())
    });
    let storing = {
        let transaction = &mut transaction;
        // The receiver is moved in, so that a store that fails ends the reading.
        async move {
            while let Some(batch) = batches.recv().await {
                seller_feedback::save(transaction, seller, &report.marketplace_id, &batch, now).await?;
            }
            Ok::<_, sqlx::Error>(())
        }
    };
    let (read, stored) = tokio::join!(reading, storing);
    stored?;
    let FeedbackRead { passed_over, tells_all, .. } = read?;
    if passed_over > 0 {
        tracing::warn!(seller.id = %seller, report.lines = passed_over, "lines of a feedback report make no sense");
    }
    if let Some(from) = report.data_from.filter(|_| tells_all) {
        // The first day may be told in part only, and is counted in Amazon's time zone.
        let whole = from.with_timezone(&time_zone(&report.marketplace_id)).date_naive() + Days::new(2);
        seller_feedback::forget_missing(&mut transaction, seller, &report.marketplace_id, whole, now).await?;
    }
    Ok(transaction.commit().await?)
}

/// A document whose headers have come, or the news that Amazon no longer has it.
enum Opened {
    Document(OpenDocument),
    Gone,
}

async fn open(connected: &Connected<'_>, document_id: &str) -> Outcome<Opened> {
    let mut addresses = 0;
    loop {
        addresses += 1;
        let answer = connected.call(&document_request(document_id)).await;
        let place = match answer.and_then(|answer| parse_document(&answer.body)) {
            Ok(place) => place,
            Err(error) if error.refusal() == Some(Refusal::NotFound) => return Ok(Opened::Gone),
            Err(error) => return Err(connected.failed(error).await),
        };
        match connected.context.documents.open(&place).await {
            Ok(document) => return Ok(Opened::Document(document)),
            Err(DocumentError::Expired) if addresses < ADDRESSES_A_RUN => {}
            Err(error) => return Err(Failure::retry(error)),
        }
    }
}

/// Why Amazon gave a report up, as a class: its own words may quote anything and are not kept.
async fn fatal_reason(connected: &Connected<'_>, document_id: &str) -> Outcome<&'static str> {
    let document = match open(connected, document_id).await? {
        Opened::Document(document) => document,
        Opened::Gone => return Ok(UNKNOWN_REASON),
    };
    let read = document.read(MAX_REASON_BYTES, |text| {
        let mut reason = Vec::new();
        text.read_to_end(&mut reason)?;
        Ok(fatal_class(&String::from_utf8_lossy(&reason)))
    });
    match read.await {
        Ok(class) => Ok(class),
        Err(DocumentError::Unreadable { .. } | DocumentError::TooLarge { .. }) => Ok(UNKNOWN_REASON),
        Err(error) => Err(Failure::retry(error)),
    }
}

async fn end(connected: &Connected<'_>, report: &Report, end: End) -> Outcome<Option<End>> {
    let (seller, now) = (connected.seller.id, connected.context.clock.now());
    let mut connection = connected.context.pool.acquire().await?;
    if !amazon_reports::end(&mut connection, seller, report, end, now).await? {
        return Err(another_run());
    }
    match end {
        End::Failed(reason) => {
            count(report.report_type, "failed");
            tracing::warn!(seller.id = %seller, report.type = report.report_type.name(), report.reason = reason, "a report comes to nothing");
        }
        End::NoData => count(report.report_type, "no_data"),
        End::Stored => {}
    }
    Ok(Some(end))
}

fn another_run() -> Failure {
    Failure::retry("another run took this step of a report meanwhile; what was read here was not stored")
}

fn count(report: ReportType, outcome: &'static str) {
    metrics::counter!("amazon_reports_total", "report" => report.name(), "outcome" => outcome).increment(1);
}
