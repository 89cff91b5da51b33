//! Destinations, subscriptions, and the queue that they lead to: Amazon's models, and the rules a client can break.

use crate::client::{Answer, Stage, read};
use crate::judge::{Model, check_errors, check_schema};
use chrono::TimeDelta;
use reqwest::Method;
use sandbox::{
    Fault, FaultScript, MessageRecord, NewMessage, Operation, OrderChanges, PLANTED, QueueRecord,
    SettingsChange,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const DESTINATIONS: &str = "/notifications/v1/destinations";
const SUBSCRIPTION: &str = "/notifications/v1/subscriptions/{notificationType}";
const OF_ORDERS: &str = "/notifications/v1/subscriptions/ORDER_CHANGE";
const OF_REPORTS: &str = "/notifications/v1/subscriptions/REPORT_PROCESSING_FINISHED";

impl Stage {
    /// A token that speaks for the application itself.
    async fn grantless_token(&self) -> String {
        let answer = self
            .sign_in_with(&[
                ("grant_type", "client_credentials"),
                ("scope", "sellingpartnerapi::notifications"),
                ("client_id", &self.seeded.client_id),
                ("client_secret", &self.seeded.client_secret),
            ])
            .await;
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    fn queue(&self) -> QueueRecord {
        self.control().queue()
    }

    async fn create_destination(&self) -> String {
        let body = json!({
            "name": "Amzigo",
            "resourceSpecification": {"sqs": {"arn": self.queue().arn}},
        });
        let answer = self.post_json(DESTINATIONS, &self.grantless_token().await, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["payload"]["destinationId"].as_str().expect("an id").to_owned()
    }

    async fn subscribe(&self, number: usize, path: &str, version: &str) {
        let wish = json!({"payloadVersion": version, "destinationId": self.create_destination().await});
        let answer = self.post_json(path, &self.access_token(number).await, &wish).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Asks the queue, as its official clients do.
    async fn sqs(&self, action: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}/", self.base_url)).body(body.to_string());
        let request = request
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .header("authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20270115/eu-west-1/sqs/aws4_request");
        read(request).await.expect("the queue answers")
    }

    async fn receive(&self, more: Value) -> Vec<Value> {
        let mut wish = json!({"QueueUrl": self.queue().url, "MaxNumberOfMessages": 10});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.sqs("ReceiveMessage", &wish).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["Messages"].as_array().cloned().unwrap_or_default()
    }

    fn change_orders(&self, number: usize, touch: usize) -> Vec<String> {
        let changes =
            OrderChanges { seller: self.seller(number).to_owned(), touch, ..OrderChanges::default() };
        self.control().change_orders(&changes).expect("a seller").touched
    }

    fn push(&self, body: &str) {
        self.control().push_message(&NewMessage { body: body.to_owned() });
    }
}

fn body(message: &Value) -> Value {
    serde_json::from_str(message["Body"].as_str().expect("a body")).expect("JSON")
}

#[tokio::test]
async fn every_answer_about_notifications_is_one_of_amazons() {
    let Some(mut model) = Model::read("notifications-api-model/notifications.json") else { return };
    model.leave_open(&[
        "/AggregationFilter",
        "/MarketplaceFilter",
        "/OrderChangeTypeFilter",
        "/TrackingFilter",
        "/EventFilter/allOf/4",
    ]);
    let stage = Stage::set().await;
    let (ours, token) = (stage.grantless_token().await, stage.access_token(0).await);
    let (get, post) = (Method::GET, Method::POST);
    let wish = json!({"name": "Amzigo", "resourceSpecification": {"sqs": {"arn": stage.queue().arn}}});
    let created = stage.post_json(DESTINATIONS, &ours, &wish).await;
    model.check(&post, DESTINATIONS, 200, &created);
    model.check(&post, DESTINATIONS, 409, &stage.post_json(DESTINATIONS, &ours, &wish).await);
    model.check(&post, DESTINATIONS, 400, &stage.post_json(DESTINATIONS, &ours, &json!({})).await);
    model.check(&get, DESTINATIONS, 200, &stage.get(DESTINATIONS, &ours).await);
    let destination = created.json()["payload"]["destinationId"].clone();

    model.check(&get, SUBSCRIPTION, 404, &stage.get(OF_ORDERS, &token).await);
    let mut wish = json!({
        "payloadVersion": "1.0",
        "destinationId": destination,
        "processingDirective": {"eventFilter": {
            "eventFilterType": "ORDER_CHANGE",
            "orderChangeTypes": ["OrderStatusChange", "BuyerRequestedChange"],
            "marketplaceIds": ["A1F83G8C2ARO7P"],
        }},
    });
    model.check(&post, SUBSCRIPTION, 200, &stage.post_json(OF_ORDERS, &token, &wish).await);
    model.check(&post, SUBSCRIPTION, 409, &stage.post_json(OF_ORDERS, &token, &wish).await);
    wish["payloadVersion"] = json!("2.0");
    model.check(&post, SUBSCRIPTION, 400, &stage.post_json(OF_ORDERS, &token, &wish).await);
    model.check(&get, SUBSCRIPTION, 200, &stage.get(OF_ORDERS, &token).await);
    stage.clock.advance(TimeDelta::seconds(10));
    check_errors(&model, &stage, &get, SUBSCRIPTION, OF_ORDERS).await;
    check_errors(&model, &stage, &get, DESTINATIONS, DESTINATIONS).await;
}

#[tokio::test]
async fn destinations_are_the_applications_and_subscriptions_the_sellers() {
    let stage = Stage::set().await;
    let (ours, token) = (stage.grantless_token().await, stage.access_token(0).await);
    assert_eq!(stage.get(DESTINATIONS, &token).await.status, 403, "a seller's token");
    assert_eq!(stage.get(OF_ORDERS, &ours).await.status, 403, "a token without a seller");
    let destination = stage.create_destination().await;
    let wish = json!({"payloadVersion": "1.0", "destinationId": destination});
    for other in ["ANY_OFFER_CHANGED", "PRICING_HEALTH", "TRANSACTION_UPDATE"] {
        let path = format!("/notifications/v1/subscriptions/{other}");
        assert_eq!(stage.post_json(&path, &token, &wish).await.status, 403, "{other}");
    }
    assert_eq!(
        stage.control().summary().refused,
        [
            "subscription to ANY_OFFER_CHANGED",
            "subscription to PRICING_HEALTH",
            "subscription to TRANSACTION_UPDATE"
        ]
    );
}

#[tokio::test]
async fn a_changed_order_is_told_once_to_whoever_subscribed() {
    let stage = Stage::set().await;
    stage.subscribe(0, OF_ORDERS, "1.0").await;
    let touched = stage.change_orders(0, 3);
    stage.change_orders(1, 3);
    let received = stage.receive(json!({})).await;
    let told: Vec<Value> = received.iter().map(body).collect();
    for notice in &told {
        check_schema("notifications/OrderChangeNotification.json", notice, &[]);
    }
    let about = |notice: &Value| {
        notice["Payload"]["OrderChangeNotification"]["AmazonOrderId"].as_str().unwrap().to_owned()
    };
    assert_eq!(told.iter().map(about).collect::<Vec<_>>(), touched);
    let text = told[0].to_string();
    let planted: Vec<_> = PLANTED.iter().filter(|value| text.contains(**value)).collect();
    assert_eq!(planted.len(), 1, "the postcode comes always: {planted:?}");

    stage
        .control()
        .change_settings(SettingsChange { leak_buyer_data: Some(true), ..SettingsChange::default() })
        .unwrap();
    stage.change_orders(0, 1);
    let careless = stage.receive(json!({})).await[0]["Body"].as_str().unwrap().to_owned();
    assert!(PLANTED.iter().filter(|value| careless.contains(**value)).count() > 5, "{careless}");
}

#[tokio::test]
async fn a_finished_report_is_told_without_anybody_asking_for_it() {
    let stage = Stage::set().await;
    stage.subscribe(0, OF_REPORTS, "2020-09-04").await;
    let token = stage.access_token(0).await;
    let wish = json!({"reportType": "GET_SELLER_FEEDBACK_DATA", "marketplaceIds": ["A1F83G8C2ARO7P"]});
    let id = stage.post_json("/reports/2021-06-30/reports", &token, &wish).await.json()["reportId"].clone();
    assert!(stage.receive(json!({})).await.is_empty());
    stage.clock.advance(TimeDelta::seconds(30));
    let received = stage.receive(json!({})).await;
    let notice = body(&received[0]);
    check_schema("notifications/ReportProcessingFinishedNotification.json", &notice, &[]);
    let told = &notice["payload"]["reportProcessingFinishedNotification"];
    assert_eq!((&told["reportId"], told["processingStatus"].as_str()), (&id, Some("DONE")));
    let queue = stage.queue();
    let [MessageRecord { about, notification_type, receives: 1, deleted: false, .. }] = &queue.messages[..]
    else {
        panic!("one message was sent and received: {:?}", queue.messages);
    };
    assert_eq!(
        (about.as_deref(), notification_type.as_deref()),
        (id.as_str(), Some("REPORT_PROCESSING_FINISHED"))
    );
}

#[tokio::test]
async fn what_is_received_comes_back_until_it_is_deleted() {
    let stage = Stage::set().await;
    for number in 0..12 {
        stage.push(&format!("message {number}"));
    }
    let visible_for = json!({"VisibilityTimeout": 60, "MessageSystemAttributeNames": ["All"]});
    let first = stage.receive(visible_for.clone()).await;
    assert_eq!(first.len(), 10, "never more than ten");
    assert_eq!(first[0]["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(first[0]["MD5OfBody"], "4fce64326221d1a246dcc5557e824cf3");
    let entries: Vec<Value> = first
        .iter()
        .take(9)
        .enumerate()
        .map(|(place, message)| json!({"Id": place.to_string(), "ReceiptHandle": message["ReceiptHandle"]}))
        .chain([json!({"Id": "wrong", "ReceiptHandle": "never given"})])
        .collect();
    let url = stage.queue().url;
    let deleted = stage.sqs("DeleteMessageBatch", &json!({"QueueUrl": url, "Entries": entries})).await.json();
    assert_eq!(deleted["Successful"].as_array().unwrap().len(), 9);
    assert_eq!(deleted["Failed"][0]["Id"], "wrong");

    assert_eq!(stage.receive(visible_for.clone()).await.len(), 2);
    stage.clock.advance(TimeDelta::seconds(60));
    let again = stage.receive(visible_for).await;
    assert_eq!(again.len(), 3, "the tenth, and the two that were not deleted");
    assert_eq!(again[0]["MessageId"], first[9]["MessageId"]);
    assert_eq!(again[0]["Attributes"]["ApproximateReceiveCount"], "2");
    let receipt = &again[0]["ReceiptHandle"];
    let one = json!({"QueueUrl": url, "ReceiptHandle": receipt});
    assert_eq!(stage.sqs("DeleteMessage", &one).await.status, 200);

    let wish = json!({"QueueUrl": url, "AttributeNames": ["All"]});
    let attributes = stage.sqs("GetQueueAttributes", &wish).await.json();
    let counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        .map(|name| attributes["Attributes"][name].as_str().unwrap().to_owned());
    assert_eq!(counts, ["0", "2"]);
    let found = stage.sqs("GetQueueUrl", &json!({"QueueName": "amzigo-notifications"})).await.json();
    assert_eq!(found["QueueUrl"], url.as_str());
}

#[tokio::test]
async fn a_client_that_waits_gets_a_message_as_soon_as_there_is_one() {
    let stage = Stage::set().await;
    let waiting = tokio::spawn({
        let stage = stage.clone();
        async move { stage.receive(json!({"WaitTimeSeconds": 20})).await }
    });
    crate::client::until("the call waits", || {
        stage.control().summary().calls.contains_key(&Operation::ReceiveMessage)
    })
    .await;
    let pushed_at = Instant::now();
    stage.push("now");
    assert_eq!(waiting.await.unwrap()[0]["Body"], "now");
    assert!(pushed_at.elapsed() < Duration::from_secs(10));

    let asked_at = Instant::now();
    assert!(stage.receive(json!({"WaitTimeSeconds": 1})).await.is_empty());
    assert!(asked_at.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn messages_come_twice_and_in_another_order_when_that_is_wanted() {
    let stage = Stage::set().await;
    let change = SettingsChange {
        queue_duplicates: Some(true),
        queue_out_of_order: Some(true),
        ..SettingsChange::default()
    };
    let settings = stage.control().change_settings(change).unwrap();
    assert!(settings.queue_duplicates && settings.queue_out_of_order);
    stage.subscribe(0, OF_ORDERS, "1.0").await;
    let touched = stage.change_orders(0, 5);
    let received: Vec<Value> = stage.receive(json!({})).await.iter().map(body).collect();
    let ids: BTreeSet<String> = received
        .iter()
        .map(|notice| notice["NotificationMetadata"]["NotificationId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((received.len(), ids.len()), (10, 5));
    let orders: Vec<&str> = received
        .iter()
        .map(|notice| notice["Payload"]["OrderChangeNotification"]["AmazonOrderId"].as_str().unwrap())
        .collect();
    let in_order: Vec<&String> = touched.iter().flat_map(|order| [order, order]).collect();
    assert_ne!(orders, in_order);
}

#[tokio::test]
async fn the_queue_breaks_in_its_own_words() {
    let stage = Stage::set().await;
    stage.push("once");
    let url = stage.queue().url;
    let wish = json!({"QueueUrl": url});
    for (fault, status, code) in [
        (Fault::Quota, 400, "RequestThrottled"),
        (Fault::Internal, 500, "InternalFailure"),
        (Fault::Unavailable, 503, "ServiceUnavailable"),
        (Fault::Denied, 403, "AccessDeniedException"),
    ] {
        stage.control().script_fault(FaultScript::new(Operation::ReceiveMessage, fault, 1)).unwrap();
        let answer = stage.sqs("ReceiveMessage", &wish).await;
        assert_eq!(answer.status, status, "{fault:?}");
        assert_eq!(answer.json()["__type"], format!("com.amazonaws.sqs#{code}"));
    }
    for (action, wish, code) in [
        ("ReceiveMessage", json!({"QueueUrl": format!("{url}-not")}), "QueueDoesNotExist"),
        ("ReceiveMessage", json!({"QueueUrl": url, "MaxNumberOfMessages": 11}), "InvalidParameterValue"),
        ("DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": "x"}), "ReceiptHandleIsInvalid"),
        ("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": []}), "EmptyBatchRequest"),
        ("GetQueueUrl", json!({"QueueName": "none"}), "QueueDoesNotExist"),
    ] {
        let answer = stage.sqs(action, &wish).await;
        assert_eq!(answer.status, 400, "{action}");
        assert_eq!(answer.json()["__type"], format!("com.amazonaws.sqs#{code}"), "{action}");
    }
    assert_eq!(stage.sqs("SendMessage", &wish).await.status, 404, "nobody here sends");
    let unsigned = stage.client.post(&stage.base_url).header("x-amz-target", "AmazonSQS.ReceiveMessage");
    assert_eq!(read(unsigned.body(wish.to_string())).await.unwrap().status, 403);
    assert_eq!(stage.receive(json!({})).await[0]["Body"], "once");
}

#[tokio::test]
async fn a_careless_amazon_names_the_buyer_in_every_answer() {
    let stage = Stage::set().await;
    let paths = [
        "/sellers/v1/marketplaceParticipations".to_owned(),
        "/fba/inventory/v1/summaries?granularityType=Marketplace&granularityId=A1F83G8C2ARO7P&marketplaceIds=A1F83G8C2ARO7P"
            .to_owned(),
        format!("/listings/2021-08-01/items/{}?marketplaceIds=A1F83G8C2ARO7P", stage.seller(0)),
        "/catalog/2022-04-01/items?identifiersType=ASIN&identifiers=B0&marketplaceIds=A1F83G8C2ARO7P".to_owned(),
        "/sales/v1/orderMetrics?marketplaceIds=A1F83G8C2ARO7P&granularity=Hour&interval=2027-01-14T00:00:00Z--2027-01-15T00:00:00Z"
            .to_owned(),
        stage.solicitation(0, true).actions,
    ];
    let token = stage.access_token(0).await;
    let planted = |answer: &Answer| PLANTED.iter().filter(|value| answer.text.contains(**value)).count();
    for (leak_buyer_data, least) in [(false, 0), (true, 10)] {
        let change = SettingsChange { leak_buyer_data: Some(leak_buyer_data), ..SettingsChange::default() };
        stage.control().change_settings(change).unwrap();
        for path in &paths {
            let answer = stage.get(path, &token).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            // The store's name comes always.
            let usual = usize::from(path.starts_with("/sellers/"));
            assert_eq!(planted(&answer), least + usual, "{path}: {}", answer.text);
        }
        stage.clock.advance(TimeDelta::seconds(10));
    }
}
