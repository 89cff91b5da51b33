//! Copies where a seller sells into `participations`, and lets `sellers.marketplace_ids`, which is what is synced, follow.
//!
//! When: daily for each connected seller, and on request.
//! Safe to repeat: rows are upserted by marketplace, an earlier answer never over a later one; what is synced changes only
//! from what the run found.
//! Limits: `getMarketplaceParticipations`, one budget a seller; an empty one snoozes.
//! Does not promise: to sync a marketplace that `sp_api/marketplaces.rs` does not list (Amazon tells of some that are no shop
//! of its own), or that another region answers for. Where nothing would be left to sync, everything stays as it is.
//! In dead letters: deploy/runbooks/sync_participations.md.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue::{Failure, Job, Outcome, Policy, Run, Schedule, limit::Budget, policy::minutes};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    connected::{Connected, NOT_CONNECTED},
    context::Context,
    sp_api::{
        Operation, Region,
        budgets::budget,
        marketplaces::marketplace,
        participations::{self as questions, Participation},
    },
    store::{inventory, listings, participations, sellers, sellers::SellerId, walks},
};

/// The seller whose marketplaces are looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncParticipations {
    /// Our id of the seller.
    pub seller: SellerId,
}

/// What a run found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct ParticipationsSynced {
    /// Marketplaces that Amazon told of.
    pub marketplaces: usize,
    /// Those that are synced from now on.
    pub joined: Vec<String>,
    /// Those that are no longer synced.
    pub left: Vec<String>,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

impl Job for SyncParticipations {
    const KIND: &'static str = "sync_participations";
    const SUMMARY: &'static str =
        "Copies in which marketplaces a seller sells, so that only those are synced.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(2))
        // A day of Amazon being ill, at half an hour each.
        .max_attempts(60)
        .delays(Duration::from_secs(2), Duration::from_secs(1_800))
        .unique();
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("40 3 * * *"));

    type Context = Context;
    type Report = ParticipationsSynced;

    fn group(&self) -> String {
        self.seller.to_string()
    }

    fn budgets(&self) -> Vec<Budget> {
        vec![budget(self.seller, Operation::GetMarketplaceParticipations)]
    }

    async fn run(&self, context: &Context, run: &Run) -> Outcome<ParticipationsSynced> {
        let Some(amazon) = Connected::open(context, self.seller, run).await? else {
            return Ok(ParticipationsSynced {
                skipped: Some(NOT_CONNECTED),
                ..ParticipationsSynced::default()
            });
        };
        let asked_at = context.clock.now();
        let answer = amazon.call(&questions::request()).await.and_then(|answer| questions::parse(&answer));
        match answer {
            Ok(told) => save(&amazon, &told, asked_at).await,
            Err(error) => Err(amazon.failed(error).await),
        }
    }

    async fn tick(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(sellers::active(connection).await?.into_iter().map(|seller| Self { seller }).collect())
    }
}

/// What is to be synced: where the seller sells, of what its region answers for. What stays keeps its order, so that nothing
/// changes where nothing is new. `None` where nothing would be left.
pub(crate) fn to_sync(present: &[String], told: &[Participation], region: Region) -> Option<Vec<String>> {
    let sells_in = |id: &str| {
        marketplace(id).is_some_and(|known| known.region == region)
            && told.iter().any(|told| told.marketplace.id == id && told.participation.is_participating)
    };
    let mut wanted: Vec<_> = present.iter().filter(|id| sells_in(id)).cloned().collect();
    for told in told {
        let id = &told.marketplace.id;
        if sells_in(id) && !wanted.contains(id) {
            wanted.push(id.clone());
        }
    }
    (!wanted.is_empty()).then_some(wanted)
}

/// Stores the answer and what follows from it in one transaction.
async fn save(
    amazon: &Connected<'_>,
    told: &[Participation],
    asked_at: DateTime<Utc>,
) -> Outcome<ParticipationsSynced> {
    let seller = &amazon.seller;
    let present = &seller.marketplace_ids;
    let wanted = to_sync(present, told, seller.region).unwrap_or_else(|| {
        tracing::warn!(
            seller.id = %seller.id,
            "Amazon says that the seller sells nowhere; what is synced stays as it is"
        );
        present.clone()
    });
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|id| !those.contains(id)).cloned().collect()
    };
    let (joined, left) = (only(&wanted, present), only(present, &wanted));
    let now = amazon.context.clock.now();
    let mut transaction = amazon.context.pool.begin().await?;
    if !sellers::change_marketplaces(&mut transaction, seller, &wanted, now).await? {
        return Err(Failure::retry(
            "the seller connected again or left meanwhile; the answer was not stored",
        ));
    }
    participations::save(&mut transaction, seller.id, told, asked_at).await?;
    walks::forget(&mut transaction, seller.id, &left).await?;
    for marketplace_id in &left {
        inventory::mark_gone(&mut transaction, seller.id, marketplace_id, now).await?;
        listings::mark_all_gone(&mut transaction, seller.id, marketplace_id, now).await?;
    }
    transaction.commit().await?;
    Ok(ParticipationsSynced { marketplaces: told.len(), joined, left, skipped: None })
}
