//! `createReport` and `getReport`: a report is asked for, waits, is processed, and ends in one of three ways.
//!
//! It takes half a minute of Amazon's time. Ids count up for each seller, so that two sellers have reports with the same id. What
//! nobody has a role for is refused, and the attempt is kept for the test to see.

use crate::account_health::{account_health, account_health_report};
use crate::answer::Answer;
use crate::ask::Ask;
use crate::charsets::ReportCharset;
use crate::faults::Fault;
use crate::feedback::{feedback_of, feedback_report};
use crate::orders::iso8601;
use crate::pace::AmazonTime;
use crate::query::InvalidQuery;
use crate::report_documents::Document;
use crate::sellers::{Marketplace, Seller};
use crate::state::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const QUEUED_SECONDS: f64 = 10.0;
const FINISHED_SECONDS: f64 = 30.0;
const MARKETPLACES: usize = 25;

/// The reports that the application has a role for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReportType {
    /// How Amazon judges the account.
    #[serde(rename = "GET_V2_SELLER_PERFORMANCE_REPORT")]
    SellerPerformance,
    /// What buyers said of the seller.
    #[serde(rename = "GET_SELLER_FEEDBACK_DATA")]
    SellerFeedback,
}

/// How a report ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is there.
    Done {
        /// The id of its document.
        document_id: String,
    },
    /// There was nothing to report.
    Cancelled,
    /// It failed.
    Fatal {
        /// The id of a document that says why.
        document_id: String,
    },
}

impl Outcome {
    /// Amazon's word for it.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Outcome::Done { .. } => "DONE",
            Outcome::Cancelled => "CANCELLED",
            Outcome::Fatal { .. } => "FATAL",
        }
    }

    /// The id of its document, if it has one.
    pub(crate) fn document_id(&self) -> Option<&str> {
        match self {
            Outcome::Done { document_id } | Outcome::Fatal { document_id } => Some(document_id),
            Outcome::Cancelled => None,
        }
    }
}

/// A report that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The seller's id.
    pub(crate) seller: String,
    /// Its id among the seller's.
    pub(crate) id: String,
    /// What it tells.
    pub(crate) report_type: ReportType,
    /// How it ended, once it has.
    pub(crate) outcome: Option<Outcome>,
    marketplaces: Vec<&'static Marketplace>,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    asked_at: AmazonTime,
    is_doomed: bool,
}

/// All reports that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    by_seller: HashMap<String, BTreeMap<String, Report>>,
    /// Sellers and ids of those that have not ended.
    running: Vec<(String, String)>,
}

impl Reports {
    fn enter(&mut self, mut report: Report) -> String {
        let of_seller = self.by_seller.entry(report.seller.clone()).or_default();
        let id = format!("{}", 50_001_018_000 + of_seller.len());
        report.id = id.clone();
        self.running.push((report.seller.clone(), id.clone()));
        of_seller.insert(id.clone(), report);
        id
    }

    fn get(&self, seller: &str, id: &str) -> Option<&Report> {
        self.by_seller.get(seller)?.get(id)
    }

    /// Takes those whose time is over off the list of those that run.
    fn take_due(&mut self, at: AmazonTime) -> Vec<Report> {
        let by_seller = &self.by_seller;
        let report = |(seller, id): &(String, String)| by_seller.get(seller)?.get(id);
        let is_due = |report: &Report| at.seconds_since(report.asked_at) >= FINISHED_SECONDS;
        let due: Vec<Report> =
            self.running.iter().filter_map(report).filter(|report| is_due(report)).cloned().collect();
        self.running.retain(|place| report(place).is_some_and(|report| !is_due(report)));
        due
    }

    fn settle(&mut self, seller: &str, id: &str, outcome: Outcome) {
        if let Some(report) = self.by_seller.get_mut(seller).and_then(|reports| reports.get_mut(id)) {
            report.outcome = Some(outcome);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Specification {
    report_type: String,
    marketplace_ids: Vec<String>,
    data_start_time: Option<DateTime<Utc>>,
    data_end_time: Option<DateTime<Utc>>,
    #[serde(rename = "reportOptions")]
    _report_options: Option<BTreeMap<String, String>>,
}

/// `createReport`
pub(crate) fn create_report(state: &mut State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&[])?;
    let Some(seller) = state.sellers.get(ask.seller) else { return Ok(Answer::access_denied("")) };
    let wanted: Specification = ask.json()?;
    let Ok(report_type) = serde_json::from_value(json!(wanted.report_type)) else {
        state.calls.refuse(format!("POST /reports/2021-06-30/reports {}", wanted.report_type));
        return Ok(Answer::access_denied(""));
    };
    let marketplaces = marketplaces(seller, &wanted.marketplace_ids)?;
    if wanted.data_start_time.zip(wanted.data_end_time).is_some_and(|(from, until)| until < from) {
        return Err(InvalidQuery("dataEndTime is before dataStartTime.".to_owned()));
    }
    let report_id = state.reports.enter(Report {
        seller: ask.seller.to_owned(),
        id: String::new(),
        report_type,
        outcome: None,
        marketplaces,
        from: wanted.data_start_time,
        until: wanted.data_end_time,
        created_at: ask.now,
        asked_at: state.pace.at(ask.now),
        is_doomed: ask.fault == Some(Fault::Fatal),
    });
    Ok(Answer::json(StatusCode::ACCEPTED, &json!({"reportId": report_id})))
}

fn marketplaces(seller: &Seller, ids: &[String]) -> Result<Vec<&'static Marketplace>, InvalidQuery> {
    if ids.is_empty() || ids.len() > MARKETPLACES {
        return Err(InvalidQuery(format!("marketplaceIds must have 1 to {MARKETPLACES} values.")));
    }
    let known = |id: &String| {
        let foreign = || InvalidQuery(format!("marketplaceIds names {id}, where the seller does not sell."));
        seller.marketplace(id).ok_or_else(foreign)
    };
    ids.iter().map(known).collect()
}

/// `getReport`
pub(crate) fn get_report(state: &State, ask: &Ask<'_>) -> Result<Answer, InvalidQuery> {
    ask.query.allow_only(&[])?;
    let Some(report) = state.reports.get(ask.seller, ask.first_subject()) else {
        return Ok(Answer::not_found("The report was not found."));
    };
    let elapsed = state.pace.at(ask.now).seconds_since(report.asked_at);
    let wall = |seconds: f64| {
        report.created_at + TimeDelta::milliseconds((seconds * 1e3 / state.pace.speed()) as i64)
    };
    let mut body = json!({
        "reportId": report.id,
        "reportType": report.report_type,
        "marketplaceIds": report.marketplaces.iter().map(|marketplace| marketplace.id).collect::<Vec<_>>(),
        "createdTime": iso8601(report.created_at),
        "processingStatus": match &report.outcome {
            Some(outcome) => outcome.status(),
            None if elapsed < QUEUED_SECONDS => "IN_QUEUE",
            None => "IN_PROGRESS",
        },
    });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    put("dataStartTime", report.from.map(|from| json!(iso8601(from))));
    put("dataEndTime", report.until.map(|until| json!(iso8601(until))));
    put("processingStartTime", (elapsed >= QUEUED_SECONDS).then(|| json!(iso8601(wall(QUEUED_SECONDS)))));
    put("processingEndTime", report.outcome.as_ref().map(|_| json!(iso8601(wall(FINISHED_SECONDS)))));
    let document_id = report.outcome.as_ref().and_then(Outcome::document_id);
    put("reportDocumentId", document_id.map(|id| json!(id)));
    Ok(Answer::json(StatusCode::OK, &body))
}

impl State {
    /// Ends the reports whose time is over, and tells whoever subscribed. Nothing runs by itself here, so every call does this
    /// first.
    pub(crate) fn finish_reports(&mut self, now: DateTime<Utc>) {
        for mut report in self.reports.take_due(self.pace.at(now)) {
            let outcome = self.outcome(&report, now);
            self.reports.settle(&report.seller, &report.id, outcome.clone());
            report.outcome = Some(outcome);
            self.tell_of_report(&report, now);
        }
    }

    fn outcome(&mut self, report: &Report, now: DateTime<Utc>) -> Outcome {
        let Some(seller) = self.sellers.get(&report.seller) else { return Outcome::Cancelled };
        if report.is_doomed {
            let reason = json!({"errorDetails": "The report could not be made: the data are not available."});
            let document = Document::json(&report.seller, reason.to_string().into_bytes());
            return Outcome::Fatal { document_id: self.documents.enter(document, self.report_gzip) };
        }
        let document = match report.report_type {
            ReportType::SellerPerformance => {
                let health = account_health(&self.orders, seller, &report.marketplaces, now);
                Document::json(&report.seller, account_health_report(&health, now))
            }
            ReportType::SellerFeedback => {
                let mut feedback = feedback_of(&self.orders, &self.removed_feedback, seller, now);
                feedback.retain(|one| report.covers(one.marketplace, one.at));
                let Some(first) = feedback.first() else { return Outcome::Cancelled };
                let of_country = ReportCharset::of_country(first.marketplace.country_code);
                let charset = self.report_charset.unwrap_or(of_country);
                Document {
                    seller: report.seller.clone(),
                    bytes: feedback_report(&feedback, charset),
                    content_type: charset.content_type(),
                    is_compressed: false,
                }
            }
        };
        Outcome::Done { document_id: self.documents.enter(document, self.report_gzip) }
    }
}

impl Report {
    fn covers(&self, marketplace: &Marketplace, at: DateTime<Utc>) -> bool {
        self.marketplaces.iter().any(|wanted| wanted.id == marketplace.id)
            && self.from.is_none_or(|from| at >= from)
            && self.until.is_none_or(|until| at < until)
    }
}
