//! `amzigo jobs explain`: why a job waits, and what to do about it.

use clap::Args;
use queue::{JobId, explain::ExplainError};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, redis,
    stop::Stop,
};
use crate::ops::explain::{self, Explained};

/// Say why a job waits, the strongest reason first, and what to do. All moments are UTC.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo jobs explain 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\n  amzigo jobs explain 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --json"
)]
pub(super) struct Explain {
    /// Its id.
    id: JobId,
}

impl Explain {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let engine = redis::engine().await.map_err(redis::from_redis)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let why = explain::why(&mut connection, &engine, self.id).await.map_err(|error| match error {
            ExplainError::Database(_) | ExplainError::Redis(_) => error.into(),
            ExplainError::Unknown(_) | ExplainError::Queue { .. } => Stop::refused(error),
        })?;
        answers.give(&json!({ "id": self.id, "reasons": why }), |_| {
            let lines: Vec<_> = why.iter().map(sentence).collect();
            format!("Job {}:\n{}", self.id, lines.join("\n"))
        })
    }
}

fn sentence(why: &Explained) -> String {
    let advice = why.advice.as_ref().map(|advice| format!("\n  → {}", answer::plain(advice)));
    format!("- {}{}", answer::plain(&why.says), advice.unwrap_or_default())
}
