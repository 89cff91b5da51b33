//! `amzigo jobs cancel`: a job that nobody wants any more.

use clap::Args;
use queue::{
    JobId,
    cancel::{CancelError, GRACE},
};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
    why,
};
use crate::ops::cancel::{self, Answer};

/// Cancel a job: at once while it waits; one that runs is asked to stop, and dropped if it does not.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo jobs cancel 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'enqueued by mistake'\n\nA job that has ended is refused; a dead letter is given up with `amzigo dead discard`."
)]
pub(super) struct Cancel {
    /// Its id.
    id: JobId,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Cancel {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let id = self.id;
        let answer = cancel::cancel(&mut connection, id, &act, now).await.map_err(|error| match error {
            CancelError::Database(_) => error.into(),
            CancelError::Ended { .. } | CancelError::Unknown(_) => Stop::refused(error),
        })?;
        let seconds = GRACE.as_secs();
        let (cancelled, asked_before) = match answer {
            Answer::AtOnce => (true, None),
            Answer::Asked => (false, None),
            Answer::AskedBefore { at } => (false, Some(at)),
        };
        let said = json!({ "id": id, "cancelled": cancelled, "asked_to_stop": !cancelled, "asked_before": asked_before });
        answers.give(&said, |_| match answer {
            Answer::AtOnce => format!("Cancelled job {id}: it waited."),
            Answer::Asked => format!(
                "Job {id} runs: it is asked to stop within about a second, and dropped {seconds} s later if it has not. \
                 If it ends well before, it stays done; `amzigo job {id}` shows."
            ),
            Answer::AskedBefore { at } => format!(
                "Nothing new: job {id} was asked to stop at {}. If it still runs, its worker is away: a lost one's lease ends within seconds, and the job with it.",
                answer::moment(at)
            ),
        })
    }
}
