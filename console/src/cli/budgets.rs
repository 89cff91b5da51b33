//! `amzigo budgets`: how many calls sellers have at Amazon now.

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use clap::Args;
use jobs::store::sellers::SellerId;
use queue::limit::{Budgets as All, Level};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, redis,
    stop::Stop,
};
use crate::ops::{
    budgets::{self, SellerBudget},
    sellers,
};

/// Show how many calls each seller has at Amazon now, and when the next one is free. Asking takes none. All moments are UTC.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo budgets\n  amzigo budgets --seller 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\n\nA rate is what Amazon documents, until Amazon itself has named another one: that is believed for a day. Where Amazon refuses calls again and again, another application uses the seller's quota too: then a part of the rate is used for an hour."
)]
pub(super) struct Budgets {
    /// Only this seller's; needed when many are connected.
    #[arg(long, value_name = "ID")]
    seller: Option<SellerId>,
}

/// More sellers than this are not listed together.
const MOST_SELLERS: usize = 20;

impl Budgets {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut ids: Vec<_> =
            sellers::list(&mut *pool.acquire().await?).await?.into_iter().map(|seller| seller.id).collect();
        if let Some(only) = self.seller {
            if !ids.contains(&only) {
                return Err(Stop::refused(anyhow!(
                    "there is no seller {only}; `amzigo sellers list` shows them"
                )));
            }
            ids = vec![only];
        }
        if ids.len() > MOST_SELLERS {
            return Err(Stop::usage(anyhow!(
                "{} sellers are connected: name one with --seller ID",
                ids.len()
            )));
        }
        let (redis, clock) = redis::connect().await.map_err(redis::from_redis)?;
        let now = clock.now();
        let seen = budgets::of_sellers(&All::new(redis, clock), &ids).await?;
        answers.give(&json!({ "now": now, "budgets": seen }), |_| {
            if seen.is_empty() {
                return "No seller is connected, so there are no budgets.".to_owned();
            }
            table(&seen, now)
        })
    }
}

fn table(seen: &[SellerBudget], now: DateTime<Utc>) -> String {
    let headings = [
        "seller",
        "operation",
        "calls now",
        "per second",
        "told until",
        "used of it",
        "next free",
        "set aside",
    ];
    let mut table = answer::table(&headings);
    for budget in seen {
        let next = if budget.level.next_free_at <= now {
            "now".to_owned()
        } else {
            answer::moment(budget.level.next_free_at)
        };
        let told = budget.level.told_until.map_or_else(|| "(documented)".to_owned(), answer::moment);
        table.add_row([
            answer::text(&budget.seller.to_string()),
            answer::text(budget.operation),
            answer::text(&format!("{} of {}", budget.level.calls, budget.level.burst)),
            answer::text(&budget.level.rate.to_string()),
            answer::text(&told),
            answer::text(&share(&budget.level)),
            answer::text(&next),
            answer::text(&budget.level.set_aside.to_string()),
        ]);
    }
    table.trim_fmt()
}

/// The part of the rate that is used; less than all while another application uses the seller's quota too.
fn share(level: &Level) -> String {
    level.shared_until.map_or_else(
        || "all".to_owned(),
        |until| {
            format!(
                "{:.0} % until {}: somebody else uses the rest",
                level.share * 100.0,
                answer::moment(until)
            )
        },
    )
}
