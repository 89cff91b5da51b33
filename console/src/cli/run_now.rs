//! `amzigo jobs run-now`: a delayed job that is wanted before its moment.

use clap::Args;
use queue::{JobId, hurry::HurryError};
use serde_json::json;

use super::{answer::Answers, database, stop::Stop, why};
use crate::ops::run_now;

/// Let a delayed job run now, whatever moment it waits for. Where it waits for a budget, its run asks and waits again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo jobs run-now 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'Amazon is well again'"
)]
pub(super) struct RunNow {
    /// Its id.
    id: JobId,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl RunNow {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let id = self.id;
        run_now::run_now(&mut connection, id, &act, now).await.map_err(|error| match error {
            HurryError::Database(_) => error.into(),
            HurryError::NotDelayed { .. } | HurryError::Unknown(_) => Stop::refused(error),
        })?;
        answers.give(&json!({ "id": id }), |_| format!("Job {id} is ready: a worker takes it in its turn."))
    }
}
