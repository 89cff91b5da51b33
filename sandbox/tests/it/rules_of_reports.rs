//! Reports, from the wish to the bytes: what Amazon's models say of each answer, and the rules a client can break.

use crate::client::{Answer, Stage, read};
use crate::judge::{Model, check_errors, check_schema};
use chrono::{DateTime, TimeDelta, Utc};
use encoding_rs::{Encoding, SHIFT_JIS, UTF_8, WINDOWS_1252};
use flate2::read::GzDecoder;
use reqwest::Method;
use sandbox::{
    AccountHealthRecord, Fault, FaultScript, FeedbackRemoval, Operation, PLANTED, ReportCharset,
    SettingsChange,
};
use serde_json::{Value, json};
use std::io::Read;

const GB: &str = "A1F83G8C2ARO7P";
const DE: &str = "A1PA6795UKMFR9";
const REPORTS: &str = "/reports/2021-06-30/reports";
const REPORT: &str = "/reports/2021-06-30/reports/{reportId}";
const DOCUMENT: &str = "/reports/2021-06-30/documents/{reportDocumentId}";
const FEEDBACK: &str = "GET_SELLER_FEEDBACK_DATA";
const PERFORMANCE: &str = "GET_V2_SELLER_PERFORMANCE_REPORT";

fn wish(report_type: &str) -> Value {
    json!({"reportType": report_type, "marketplaceIds": [GB, DE]})
}

impl Stage {
    async fn create_report(&self, token: &str, report_type: &str) -> String {
        let answer = self.post_json(REPORTS, token, &wish(report_type)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["reportId"].as_str().expect("an id").to_owned()
    }

    async fn report(&self, token: &str, id: &str) -> Value {
        self.get(&format!("{REPORTS}/{id}"), token).await.json()
    }

    /// Creates a report, waits for it, and answers where its document is.
    async fn finished_report(&self, token: &str, report_type: &str) -> Value {
        let id = self.create_report(token, report_type).await;
        self.clock.advance(TimeDelta::seconds(30));
        let report = self.report(token, &id).await;
        assert_eq!(report["processingStatus"], "DONE", "{report}");
        self.place_of(token, &report).await
    }

    async fn place_of(&self, token: &str, report: &Value) -> Value {
        let document = report["reportDocumentId"].as_str().expect("there is a document");
        self.get(&format!("/reports/2021-06-30/documents/{document}"), token).await.json()
    }

    async fn fetch(&self, place: &Value) -> Answer {
        let url = place["url"].as_str().expect("it has an address");
        read(self.client.get(url)).await.expect("the store answers")
    }

    fn settle(&self, change: SettingsChange) {
        self.control().change_settings(change).expect("fitting settings");
    }
}

fn unpacked(place: &Value, answer: &Answer) -> Vec<u8> {
    if place["compressionAlgorithm"] != "GZIP" {
        return answer.bytes.clone();
    }
    let mut bytes = Vec::new();
    GzDecoder::new(&answer.bytes[..]).read_to_end(&mut bytes).expect("the document is whole");
    bytes
}

#[tokio::test]
async fn every_answer_about_reports_is_one_of_amazons() {
    let Some(model) = Model::read("reports-api-model/reports_2021-06-30.json") else { return };
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let (get, post) = (Method::GET, Method::POST);
    let mut full = wish(FEEDBACK);
    full["dataStartTime"] = json!("2026-10-01T00:00:00Z");
    full["dataEndTime"] = json!("2027-01-10T00:00:00Z");
    full["reportOptions"] = json!({"reportPeriod": "DAY"});
    let created = stage.post_json(REPORTS, &token, &full).await;
    model.check(&post, REPORTS, 202, &created);
    let id = created.json()["reportId"].as_str().unwrap().to_owned();
    for seconds in [0, 10, 20] {
        stage.clock.advance(TimeDelta::seconds(seconds));
        model.check(&get, REPORT, 200, &stage.get(&format!("{REPORTS}/{id}"), &token).await);
    }
    let report = stage.report(&token, &id).await;
    assert_eq!(report["processingStatus"], "DONE");
    let document = report["reportDocumentId"].as_str().unwrap();
    let path = format!("/reports/2021-06-30/documents/{document}");
    model.check(&get, DOCUMENT, 200, &stage.get(&path, &token).await);

    model.check(&post, REPORTS, 400, &stage.post_json(REPORTS, &token, &json!({})).await);
    let foreign = wish("GET_FLAT_FILE_ALL_ORDERS_DATA_BY_ORDER_DATE_GENERAL");
    model.check(&post, REPORTS, 403, &stage.post_json(REPORTS, &token, &foreign).await);
    model.check(&get, REPORT, 404, &stage.get(&format!("{REPORTS}/1"), &token).await);
    model.check(&get, REPORT, 400, &stage.get(&format!("{REPORTS}/{id}?x=1"), &token).await);
    model.check(&get, DOCUMENT, 404, &stage.get("/reports/2021-06-30/documents/none", &token).await);
    let other = stage.access_token(1).await;
    model.check(&get, DOCUMENT, 404, &stage.get(&path, &other).await);
    check_errors(&model, &stage, &get, REPORT, &format!("{REPORTS}/{id}")).await;
    check_errors(&model, &stage, &get, DOCUMENT, &path).await;
    check_errors(&model, &stage, &post, REPORTS, REPORTS).await;
}

#[tokio::test]
async fn a_report_waits_runs_and_ends_after_half_a_minute_of_amazons_time() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let id = stage.create_report(&token, PERFORMANCE).await;
    for (seconds, status) in [(9, "IN_QUEUE"), (1, "IN_PROGRESS"), (19, "IN_PROGRESS"), (1, "DONE")] {
        stage.clock.advance(TimeDelta::seconds(seconds));
        let report = stage.report(&token, &id).await;
        assert_eq!(report["processingStatus"], status);
        assert_eq!(report["reportDocumentId"].is_string(), status == "DONE");
    }

    stage.settle(SettingsChange { speed: Some(30.0), ..SettingsChange::default() });
    let id = stage.create_report(&token, PERFORMANCE).await;
    stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(stage.report(&token, &id).await["processingStatus"], "DONE");
}

#[tokio::test]
async fn two_sellers_have_reports_with_the_same_id() {
    let stage = Stage::set().await;
    let (one, other) = (stage.access_token(0).await, stage.access_token(1).await);
    let id = stage.create_report(&one, FEEDBACK).await;
    assert_eq!(stage.get(&format!("{REPORTS}/{id}"), &other).await.status, 404);
    assert_eq!(stage.create_report(&other, PERFORMANCE).await, id);
    assert_eq!(stage.report(&one, &id).await["reportType"], FEEDBACK);
    assert_eq!(stage.report(&other, &id).await["reportType"], PERFORMANCE);
}

#[tokio::test]
async fn feedback_comes_in_every_charset_compressed_or_not() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let known = stage.control().feedback(stage.seller(0)).unwrap();
    let known: Vec<_> =
        known.into_iter().filter(|one| [GB, DE].contains(&one.marketplace_id.as_str())).collect();
    assert!(known.len() > 5, "the seed has some");
    let charsets: [(Option<ReportCharset>, &'static Encoding, &str); 4] = [
        (None, WINDOWS_1252, "windows-1252"),
        (Some(ReportCharset::Utf8), UTF_8, "UTF-8"),
        (Some(ReportCharset::Windows1252), WINDOWS_1252, "windows-1252"),
        (Some(ReportCharset::ShiftJis), SHIFT_JIS, "Shift_JIS"),
    ];
    for (report_charset, encoding, name) in charsets {
        for gzip in [true, false] {
            stage.settle(SettingsChange { report_charset, report_gzip: Some(gzip), ..Default::default() });
            let place = stage.finished_report(&token, FEEDBACK).await;
            assert_eq!(place["compressionAlgorithm"].is_string(), gzip);
            let answer = stage.fetch(&place).await;
            assert_eq!(answer.header("content-type"), Some(format!("text/plain;charset={name}").as_str()));
            let bytes = unpacked(&place, &answer);
            let (text, _, had_errors) = encoding.decode(&bytes);
            assert!(!had_errors, "{name}");
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("Date\tRating\tComments\tYour Response\tOrder ID\tRater Email"));
            let told: Vec<(String, String)> = lines
                .map(|line| {
                    let cells: Vec<&str> = line.split('\t').collect();
                    (cells[4].to_owned(), cells[1].to_owned())
                })
                .collect();
            let expected: Vec<_> =
                known.iter().map(|one| (one.order_id.clone(), one.rating.to_string())).collect();
            assert_eq!(told, expected);
            let planted = PLANTED.iter().filter(|value| text.contains(**value)).count();
            assert!(planted >= 2, "comments and addresses are planted");
            assert_eq!(std::str::from_utf8(&bytes).is_ok(), name == "UTF-8", "the charset matters");
        }
    }
}

#[tokio::test]
async fn a_seller_without_feedback_gets_no_report() {
    let stage = Stage::set().await;
    let token = stage.access_token(2).await;
    let wish = json!({"reportType": FEEDBACK, "marketplaceIds": [GB]});
    let id = stage.post_json(REPORTS, &token, &wish).await.json()["reportId"].as_str().unwrap().to_owned();
    stage.clock.advance(TimeDelta::seconds(30));
    let report = stage.report(&token, &id).await;
    assert_eq!(
        (report["processingStatus"].as_str(), report.get("reportDocumentId")),
        (Some("CANCELLED"), None)
    );
    assert!(report["processingEndTime"].is_string());
}

#[tokio::test]
async fn feedback_is_that_of_the_time_that_was_asked_for() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let from = stage.clock.now() - TimeDelta::days(20);
    let wish = json!({"reportType": FEEDBACK, "marketplaceIds": [GB], "dataStartTime": from.to_rfc3339()});
    let id = stage.post_json(REPORTS, &token, &wish).await.json()["reportId"].as_str().unwrap().to_owned();
    stage.clock.advance(TimeDelta::seconds(30));
    let report = stage.report(&token, &id).await;
    let place = stage.place_of(&token, &report).await;
    let text = String::from_utf8_lossy(&unpacked(&place, &stage.fetch(&place).await)).into_owned();
    let told: Vec<&str> = text.lines().skip(1).map(|line| line.split('\t').nth(4).unwrap()).collect();
    let known = stage.control().feedback(stage.seller(0)).unwrap();
    let within = |at: &DateTime<Utc>| *at >= from;
    let expected: Vec<&str> = known
        .iter()
        .filter(|one| one.marketplace_id == GB && within(&one.given_at))
        .map(|one| one.order_id.as_str())
        .collect();
    assert_eq!(told, expected);
    assert!(told.len() < known.iter().filter(|one| one.marketplace_id == GB).count());
}

#[tokio::test]
async fn removed_feedback_is_missing_from_the_next_report() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let removal = FeedbackRemoval { seller: stage.seller(0).to_owned(), count: 2 };
    let removed = stage.control().remove_feedback(&removal).unwrap();
    let place = stage.finished_report(&token, FEEDBACK).await;
    let text = String::from_utf8_lossy(&unpacked(&place, &stage.fetch(&place).await)).into_owned();
    assert_eq!(removed.len(), 2);
    assert!(removed.iter().all(|order| !text.contains(order)), "{removed:?} in {text}");
}

#[tokio::test]
async fn account_health_is_told_in_the_shape_of_amazons_schema() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let place = stage.finished_report(&token, PERFORMANCE).await;
    let told: Value = serde_json::from_slice(&unpacked(&place, &stage.fetch(&place).await)).unwrap();
    // Both require a property that they do not name.
    let contradict_themselves = [
        "/properties/performanceMetrics/items/properties/accountHealthRating",
        "/definitions/OrderDefectRate",
    ];
    check_schema("reports/accountHealthReport-2020-11-18.json", &told, &contradict_themselves);

    let known: Vec<AccountHealthRecord> = stage.control().account_health(stage.seller(0)).unwrap();
    for (place, marketplace) in [GB, DE].into_iter().enumerate() {
        let known = known.iter().find(|one| one.marketplace_id == marketplace).unwrap();
        let metrics = &told["performanceMetrics"][place];
        assert_eq!(metrics["marketplaceId"], marketplace);
        assert_eq!(told["accountStatuses"][place]["status"], known.status.as_str());
        assert_eq!(metrics["lateShipmentRate"]["lateShipmentCount"], known.late_shipments);
        assert_eq!(metrics["orderDefectRate"]["afn"]["orderCount"], known.orders_by_amazon);
        assert_eq!(metrics["orderDefectRate"]["mfn"]["orderWithDefects"]["count"], known.defects_by_seller);
        assert_eq!(metrics["listingPolicyViolations"]["defectsCount"], known.policy_violations);
    }
}

#[tokio::test]
async fn an_address_is_good_for_five_minutes_however_fast_the_sandbox_runs() {
    let stage = Stage::set().await;
    stage.settle(SettingsChange { speed: Some(60.0), ..Default::default() });
    let token = stage.access_token(0).await;
    let place = stage.finished_report(&token, PERFORMANCE).await;
    stage.clock.advance(TimeDelta::seconds(299));
    for _ in 0..2 {
        assert_eq!(stage.fetch(&place).await.status, 200, "as often as one likes");
    }
    stage.clock.advance(TimeDelta::seconds(1));
    let late = stage.fetch(&place).await;
    assert_eq!((late.status.as_u16(), late.header("content-type")), (403, Some("application/xml")));
    assert!(late.text.contains("<Code>AccessDenied</Code><Message>Request has expired</Message>"));

    stage.settle(SettingsChange { document_url_seconds: Some(2.0), ..Default::default() });
    let place = stage.finished_report(&stage.access_token(0).await, PERFORMANCE).await;
    stage.clock.advance(TimeDelta::seconds(2));
    assert_eq!(stage.fetch(&place).await.status, 403);
}

#[tokio::test]
async fn the_store_wants_its_signature_and_no_other_credentials() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let place = stage.finished_report(&token, PERFORMANCE).await;
    let url = place["url"].as_str().unwrap();
    for (name, value) in [("x-amz-access-token", token.as_str()), ("authorization", "Bearer x")] {
        let refused = read(stage.client.get(url).header(name, value)).await.unwrap();
        assert_eq!(refused.status, 400, "{name}");
        assert!(refused.text.contains("<Code>InvalidArgument</Code>"), "{}", refused.text);
    }
    assert_eq!(stage.control().summary().refused, ["GET /documents with credentials"; 2]);
    let forged = read(stage.client.get(format!("{url}0"))).await.unwrap();
    assert!(forged.status == 403 && forged.text.contains("SignatureDoesNotMatch"), "{}", forged.text);
    let nowhere = read(stage.client.get(url.replace("/documents/", "/documents/0"))).await.unwrap();
    assert!(nowhere.status == 404 && nowhere.text.contains("NoSuchKey"), "{}", nowhere.text);
}

#[tokio::test]
async fn the_store_names_the_compression_when_that_was_asked_for() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let id = stage.create_report(&token, PERFORMANCE).await;
    stage.clock.advance(TimeDelta::seconds(30));
    let report = stage.report(&token, &id).await;
    let document = report["reportDocumentId"].as_str().unwrap();
    let path = format!("/reports/2021-06-30/documents/{document}?enableContentEncodingUrlHeader=true");
    let place = stage.get(&path, &token).await.json();
    // This client undoes what is named.
    let answer = stage.fetch(&place).await;
    assert!(serde_json::from_slice::<Value>(&answer.bytes).is_ok(), "{}", answer.text);
    let silent = stage.fetch(&stage.place_of(&token, &report).await).await;
    assert_eq!(silent.bytes[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn a_report_may_fail_and_say_why_in_its_document() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    stage.control().script_fault(FaultScript::new(Operation::CreateReport, Fault::Fatal, 1)).unwrap();
    let id = stage.create_report(&token, PERFORMANCE).await;
    stage.clock.advance(TimeDelta::seconds(30));
    let report = stage.report(&token, &id).await;
    assert_eq!(report["processingStatus"], "FATAL");
    let place = stage.place_of(&token, &report).await;
    let text = String::from_utf8(unpacked(&place, &stage.fetch(&place).await)).unwrap();
    assert!(text.contains("errorDetails"), "{text}");
    stage.finished_report(&token, PERFORMANCE).await;
}

#[tokio::test]
async fn a_document_may_be_half_and_the_store_breaks_in_its_own_words() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    let place = stage.finished_report(&token, FEEDBACK).await;
    let whole = stage.fetch(&place).await.bytes;
    let store = Operation::DownloadDocument;
    stage.control().script_fault(FaultScript::new(store, Fault::Truncated, 1)).unwrap();
    let half = stage.fetch(&place).await;
    assert_eq!((half.status.as_u16(), &half.bytes[..]), (200, &whole[..whole.len() / 2]));
    for (fault, status, code) in [
        (Fault::Quota, 503, "SlowDown"),
        (Fault::Internal, 500, "InternalError"),
        (Fault::Unavailable, 503, "ServiceUnavailable"),
        (Fault::Denied, 403, "AccessDenied"),
    ] {
        stage.control().script_fault(FaultScript::new(store, fault, 1)).unwrap();
        let answer = stage.fetch(&place).await;
        assert_eq!(answer.status, status, "{fault:?}");
        assert!(answer.text.contains(&format!("<Code>{code}</Code>")), "{}", answer.text);
    }
    assert_eq!(stage.fetch(&place).await.bytes, whole);
}

#[tokio::test]
async fn a_report_that_nobody_has_a_role_for_is_refused_and_remembered() {
    let stage = Stage::set().await;
    let token = stage.access_token(0).await;
    for report_type in ["GET_SALES_AND_TRAFFIC_REPORT", "GET_V2_SETTLEMENT_REPORT_DATA_FLAT_FILE"] {
        let answer = stage.post_json(REPORTS, &token, &wish(report_type)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.complaint().0.as_str()),
            (403, "Access to requested resource is denied.")
        );
        let noted = format!("POST {REPORTS} {report_type}");
        assert!(stage.control().summary().refused.contains(&noted));
    }
}
