//! `amzigo sellers data`: how fresh each seller's data are.

use chrono::{DateTime, Utc};
use clap::Args;
use jobs::store::sellers::SellerId;
use serde_json::json;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
};
use crate::ops::freshness;

/// Show how fresh the data of each seller are, and how much of its order history is stored.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo sellers data\n  amzigo sellers data 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --json\n\nA moment says: everything that Amazon told until then is stored. A dash: nothing yet."
)]
pub(super) struct Data {
    /// Only this seller, by our id.
    seller: Option<SellerId>,
}

impl Data {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let found = freshness::of(&mut connection, self.seller, i64::MAX).await?;
        if let (Some(seller), true) = (self.seller, found.is_empty()) {
            return Err(Stop::refused(anyhow::anyhow!(
                "there is no seller {seller}; `amzigo sellers list` shows them"
            )));
        }
        answers.give(&json!({ "sellers": found }), |_| {
            if found.is_empty() {
                return "No seller is connected; `amzigo sellers connect --help` shows how.".to_owned();
            }
            let headings = [
                "seller",
                "orders",
                "history",
                "stock",
                "listings",
                "sales",
                "sells in",
                "reviews open",
                "sent",
            ];
            let mut table = answer::table(&headings);
            for seller in &found {
                table.add_row([
                    answer::text(&seller.seller.to_string()),
                    answer::text(&moment(seller.orders)),
                    answer::text(&format!("{:.0} %", seller.order_history_part * 100.0)),
                    answer::text(&moment(seller.inventory)),
                    answer::text(&moment(seller.listings)),
                    answer::text(&moment(seller.performance)),
                    answer::text(&moment(seller.participations)),
                    answer::text(&seller.review_requests_open.to_string()),
                    answer::text(&seller.review_requests_sent.to_string()),
                ]);
            }
            table.trim_fmt()
        })
    }
}

fn moment(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), answer::moment)
}
