//! `amzigo audit`: what people did, all of it as a file, and whether it is as it was written.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    path::PathBuf,
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
};
use crate::ops::{
    audit::{self, Filter, Place},
    audit_chain::{Checker, Entry, Finding, Hash, Verdict},
};

/// See what people did, and make sure that nobody has changed it.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    List(List),
    Export(Export),
    Verify(Verify),
}

impl Audit {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::List(list) => list.run(answers).await,
            Self::Export(export) => export.run().await,
            Self::Verify(verify) => verify.run(answers).await,
        }
    }
}

/// List acts, the newest first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo audit list\n  amzigo audit list --actor ann.lee --action dead --since 2026-11-23T00:00:00Z\n  amzigo audit list --target 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --json"
)]
pub(super) struct List {
    /// Only by this member of staff or service.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only these, as dead.requeue; dead stands for all that begin so.
    #[arg(long)]
    action: Option<String>,
    /// Only on this: a job's id, a queue, the name of a member of staff.
    #[arg(long)]
    target: Option<String>,
    /// Only at this moment or later, as 2026-11-23T10:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    since: Option<DateTime<Utc>>,
    /// Only those with a smaller id: the next page.
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let filter = Filter {
            actor: self.actor,
            action: self.action,
            target: self.target,
            since: self.since,
            before: self.before,
        };
        let acts = audit::list(&mut *pool.acquire().await?, &filter, self.limit).await?;
        answers.give(&json!({ "acts": acts }), |_| {
            if acts.is_empty() {
                return "No such acts.".to_owned();
            }
            let mut table = answer::table(&["id", "when", "who", "via", "what", "target", "reason"]);
            for act in &acts {
                let entry = &act.entry;
                table.add_row([
                    answer::text(&entry.id.to_string()),
                    answer::text(&answer::moment(entry.at)),
                    answer::text(&entry.actor),
                    answer::text(entry.via.as_deref().unwrap_or("?")),
                    answer::text(&if act.intact {
                        entry.action.clone()
                    } else {
                        format!("{} CHANGED", entry.action)
                    }),
                    answer::text(&answer::short(act.person.as_deref().unwrap_or(&entry.target), 60)),
                    answer::text(&answer::short(&entry.reason, 100)),
                ]);
            }
            table.trim_fmt()
        })
    }
}

/// Print the whole log, oldest first, one JSON document a line: for an archive, and for `amzigo audit verify FILE` there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo audit export > audit.jsonl && amzigo audit verify audit.jsonl")]
pub(super) struct Export {}

impl Export {
    async fn run(self) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let mut after = 0;
        loop {
            let places = audit::places_after(&mut connection, after).await?;
            if places.is_empty() {
                return Ok(());
            }
            let mut lines = Vec::new();
            for place in places {
                match place {
                    Place::Kept(entry) => {
                        serde_json::to_writer(&mut lines, &entry)?;
                        lines.push(b'\n');
                        after = entry.position;
                    }
                    // What is gone is missing in the file too, and is found there.
                    Place::Lost { position, .. } => after = position,
                }
            }
            let mut out = std::io::stdout().lock();
            match out.write_all(&lines).and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                other => other?,
            }
        }
    }
}

/// Check that no act was changed, taken out or put elsewhere since it was written: in the database, or in a file that was
/// exported, for which no database is needed. Says what is wrong where; exit code 1 then.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo audit verify\n  amzigo audit verify audit.jsonl\n  amzigo audit verify --head 5c0e…   # 64 digits: the hash in `head` of an earlier answer\n\nThe chain alone does not show that its end was cut off, or all of it written anew. Keep the head that this command\nanswers where whoever could change the database cannot reach, and pass it as --head later."
)]
pub(super) struct Verify {
    /// A file that `amzigo audit export` has printed; - is standard input.
    file: Option<PathBuf>,
    /// A head that was written down earlier: one of the acts must have this hash.
    #[arg(long, value_name = "HASH")]
    head: Option<Hash>,
}

/// Findings that people are shown; programs get all.
const SHOWN: usize = 20;

impl Verify {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let verdict = match &self.file {
            Some(file) => self.verify_file(file)?,
            None => {
                let pool = database::migrated_pool().await?;
                audit::verify(&mut *pool.acquire().await?, self.head).await?
            }
        };
        answers.give(&verdict, in_words)?;
        if verdict.intact {
            Ok(())
        } else {
            Err(anyhow::anyhow!("the audit log is not as it was written").into())
        }
    }

    fn verify_file(&self, file: &PathBuf) -> Result<Verdict, Stop> {
        let input: Box<dyn Read> = if file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            let opened = File::open(file).with_context(|| format!("could not open {}", file.display()));
            Box::new(opened.map_err(Stop::usage)?)
        };
        let mut checker = Checker::new(self.head);
        for (n, line) in BufReader::new(input).split(b'\n').enumerate() {
            let line = line.with_context(|| format!("could not read {}", file.display()))?;
            match serde_json::from_slice::<Entry>(&line) {
                Ok(entry) => checker.look(&entry),
                Err(_) => checker.found(Finding::Unreadable { line: n + 1 }),
            }
        }
        Ok(checker.verdict())
    }
}

fn in_words(verdict: &Verdict) -> String {
    let mut lines = Vec::new();
    let entries = verdict.entries;
    if verdict.intact {
        lines.push(format!("All {entries} entries are as they were written."));
    } else {
        lines.push(format!("Of {entries} entries, not all are as they were written:"));
        lines.extend(verdict.findings.iter().take(SHOWN).map(|finding| format!("  {finding}")));
        if verdict.findings.len() > SHOWN {
            lines.push(format!("  … and {} more; --json shows all", verdict.findings.len() - SHOWN));
        }
    }
    if let Some(head) = verdict.head {
        lines.push(format!("Head: entry {}, {}", head.position, head.hash));
    }
    lines.join("\n")
}
