//! `amzigo batch`: how far a batch is.

use clap::Args;
use queue::batch::{self, BatchId, Progress};

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
};

/// Show how far a batch is: how many of its jobs have ended, and how.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo batch 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10")]
pub(super) struct Batch {
    /// Its id, as `amzigo job` shows it.
    id: BatchId,
}

impl Batch {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        match batch::progress(&mut *pool.acquire().await?, self.id).await? {
            Some(progress) => answers.give(&progress, describe),
            None => Err(Stop::refused(anyhow::anyhow!(
                "there is no batch {}; finished ones are deleted when their last job is",
                self.id
            ))),
        }
    }
}

fn describe(progress: &Progress) -> String {
    let mut facts = answer::table(&["batch", &progress.id.to_string()]);
    let mut fact = |name: &str, value: String| {
        facts.add_row([answer::text(name), answer::text(&value)]);
    };
    fact("jobs", progress.total.to_string());
    fact("done", progress.done.to_string());
    fact("dead", progress.dead.to_string());
    fact("cancelled", progress.cancelled.to_string());
    fact("unfinished", progress.unfinished.to_string());
    fact("sealed", progress.sealed_at.map_or_else(|| "no: more jobs may join".to_owned(), answer::moment));
    fact("finished", progress.finished_at.map_or_else(|| "not yet".to_owned(), answer::moment));
    fact("followed by", progress.follow_up.map_or_else(|| "–".to_owned(), |job| job.to_string()));
    facts.trim_fmt()
}
