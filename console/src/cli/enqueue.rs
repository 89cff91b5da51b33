//! `amzigo enqueue`: a job that a person asks for.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use jobs::store::sellers::SellerId;
use queue::{
    TraceContext,
    deadline::{Level, Outlook},
    outbox::{Cause, Enqueued, MAX_PAYLOAD_BYTES},
};
use serde_json::{Value, json};

use super::{
    answer::{self, Answers},
    database,
    deadlines::Deadline,
    stop::Stop,
};
use crate::ops::{
    deadlines,
    delay::Delay,
    enqueue::{self, Request},
};

/// Enqueue a job. Where one with the same unique or idempotency key is there already, the answer names it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo enqueue sync_orders --seller 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\n  amzigo enqueue sync_orders --payload '{\"seller\": \"0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\"}' --delay 10m\n  amzigo enqueue sync_orders --seller 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --deadline 24h\n  amzigo enqueue sync_orders --payload-file - --idempotency-key ticket-812 < payload.json\n\n`amzigo kinds` lists the kinds."
)]
pub(super) struct Enqueue {
    /// What sort of work, as `amzigo kinds` lists it.
    kind: String,
    /// The payload: a JSON object of ids and choices.
    #[arg(long, value_name = "JSON", group = "what")]
    payload: Option<String>,
    /// File with the payload; `-` reads standard input.
    #[arg(long, value_name = "FILE", group = "what")]
    payload_file: Option<PathBuf>,
    /// Short for the payload {"seller": "ID"}.
    #[arg(long, value_name = "ID", group = "what")]
    seller: Option<SellerId>,
    /// Run it this much later: 90s, 10m, 2h, 1d.
    #[arg(long)]
    delay: Option<Delay>,
    /// Must be done by then: 90s, 10m, 24h, 2d from now, or a moment as 2026-11-24T09:00:00Z. The answer says so when that
    /// cannot be.
    #[arg(long, value_name = "WHEN")]
    deadline: Option<Deadline>,
    /// At most one job ever carries this key: repeating the command is then safe.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Cancel it if no run has begun this much later than it could: 90s, 10m, 2h, 1d.
    #[arg(long, value_name = "DELAY")]
    expires_after: Option<Delay>,
    /// The trace it belongs to, as a W3C traceparent.
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceContext>,
}

impl Enqueue {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let payload = self.read_payload()?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let due_at = self.delay.map(|delay| now + delay.0);
        let request = Request {
            kind: self.kind.clone(),
            payload,
            cause: Cause::Cli,
            due_at,
            deadline_at: self.deadline.map(|deadline| deadline.moment(now)),
            idempotency_key: self.idempotency_key,
            expires_at: self.expires_after.map(|wait| due_at.unwrap_or(now) + wait.0),
            trace: self.traceparent,
        };
        let enqueued =
            enqueue::enqueue(&mut connection, request, now).await.map_err(|error| match error.refused() {
                true => Stop::refused(error),
                false => error.into(),
            })?;
        let id = enqueued.id();
        let new = matches!(enqueued, Enqueued::New(_));
        let mut said = json!({ "id": id, "new": new, "kind": self.kind });
        let mut outlook = None;
        if self.deadline.is_some() {
            outlook = deadlines::outlook(&mut connection, id, now).await?;
            // Of a job that was there already, this is its own deadline, which may be another one or none.
            said["deadline"] = outlook.as_ref().map_or(Value::Null, |seen| {
                json!({ "latest_safe_start": seen.latest_safe_start, "level": seen.level, "why": seen.why })
            });
        }
        answers.give(&said, |_| {
            let kind = answer::plain(&self.kind);
            let enqueued = match (new, self.delay) {
                (true, None) => format!("Enqueued {kind} as job {id}."),
                (true, Some(delay)) => {
                    format!("Enqueued {kind} as job {id}, to run at {}.", answer::moment(now + delay.0))
                }
                (false, _) => format!("Nothing new: job {id} is there already."),
            };
            match outlook {
                Some(seen) => format!("{enqueued}\n{}", about(&seen)),
                None if self.deadline.is_some() => format!("{enqueued}\nIt has no deadline."),
                None => enqueued,
            }
        })
    }

    fn read_payload(&self) -> Result<Value, Stop> {
        if let Some(seller) = self.seller {
            return Ok(json!({ "seller": seller }));
        }
        let text = match (&self.payload, &self.payload_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read_file(file)?,
            (None, None) => "{}".to_owned(),
        };
        // The parser's message names a line and a column, and never quotes the payload.
        serde_json::from_str(&text).map_err(|error| {
            Stop::Usage(anyhow::Error::new(error).context(
                "the payload is not JSON; write an object as {\"seller\": \"0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10\"}",
            ))
        })
    }
}

/// Whether a deadline can be kept, for the person who asked for it.
fn about(seen: &Outlook) -> String {
    let start = answer::moment(seen.latest_safe_start);
    match seen.level {
        Level::Fits | Level::Half | Level::ThreeQuarters | Level::NineTenths => {
            format!("It must begin by {start} to meet its deadline safely.")
        }
        Level::MustStartNow | Level::CannotFit | Level::Missed => {
            format!("Warning, {}: {}. It should have begun by {start}.", seen.level, seen.why)
        }
    }
}

/// Reads a file that a person names, or standard input, but never more than a payload may be.
fn read_file(file: &Path) -> Result<String, Stop> {
    let name = if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() };
    let mut bytes = Vec::new();
    // White space around the JSON is not part of the payload, so a file may be longer than one; ten times is generous.
    let most = 10 * MAX_PAYLOAD_BYTES;
    let limit = u64::try_from(most).unwrap_or(u64::MAX) + 1;
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(limit).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("could not read the payload from {name}")).map_err(Stop::Usage)?;
    if bytes.len() > most {
        return Err(Stop::refused(anyhow::anyhow!(
            "{name} has more than {most} bytes; a payload has at most {MAX_PAYLOAD_BYTES}: \
             store the data in a table and put its id into the payload"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Stop::usage(anyhow::anyhow!(
            "the payload in {name} is not UTF-8: the byte at position {at} does not belong; save the file as UTF-8"
        ))
    })
}
