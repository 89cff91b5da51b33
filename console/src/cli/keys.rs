//! `amzigo keys`: the keys by which programs use the HTTP API.

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database,
    stop::Stop,
    why::Why,
};
use crate::{
    auth::api_key::{KeyId, KeyText, Scope},
    ops::{
        delay::Delay,
        keys::{self, KeyError, KeyLine, NewKey},
    },
};

/// Make, list, rotate and revoke the keys by which programs use the HTTP API.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    Create(Create),
    List(List),
    Rotate(Rotate),
    Revoke(Revoke),
}

impl Keys {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::Create(create) => create.run(answers).await,
            Self::List(list) => list.run(answers).await,
            Self::Rotate(rotate) => rotate.run(answers).await,
            Self::Revoke(revoke) => revoke.run(answers).await,
        }
    }
}

/// Make a key. It is shown this once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo keys create platform.orders --scope enqueue --scope read --reason 'order import'\n  amzigo keys create reports --scope read --kind sync_orders --rate 10 --expires-after 30d --reason 'weekly report'"
)]
pub(super) struct Create {
    /// The program that will have it, as platform.orders.
    owner: String,
    /// What it may do: enqueue, read, cancel, batches, schedules. Repeat for several.
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// A kind that it may enqueue and see; repeat for several, leave out for all.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Requests a second, in the long run.
    #[arg(long, value_name = "REQUESTS", default_value_t = keys::RATE)]
    rate: i32,
    /// Requests at once.
    #[arg(long, value_name = "REQUESTS", default_value_t = keys::BURST)]
    burst: i32,
    /// How long it holds: 1d, 30d, at most 365d. Without it 90 days.
    #[arg(long, value_name = "DELAY")]
    expires_after: Option<Delay>,
    #[command(flatten)]
    why: Why,
}

/// List keys, without their secrets.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo keys list")]
pub(super) struct List {}

/// Give a key a new secret, which is shown this once; the one before goes on for a while.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo keys rotate 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --overlap 1d --reason 'every quarter'\n\nA key whose secret others may have seen is revoked instead: `amzigo keys revoke`."
)]
pub(super) struct Rotate {
    /// Its id, as `amzigo keys list` shows it.
    id: KeyId,
    /// How long the secret before goes on: 0s, 12h, 7d. Without it 7 days.
    #[arg(long, value_name = "DELAY")]
    overlap: Option<Delay>,
    /// How long the key holds from now on: 1d, 30d, at most 365d. Without it 90 days.
    #[arg(long, value_name = "DELAY")]
    expires_after: Option<Delay>,
    #[command(flatten)]
    why: Why,
}

/// End a key within a second, with all its secrets.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo keys revoke 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'was in a public repository'"
)]
pub(super) struct Revoke {
    /// Its id, as `amzigo keys list` shows it.
    id: KeyId,
    #[command(flatten)]
    why: Why,
}

impl Create {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let lifetime = length(self.expires_after, keys::LIFETIME);
        let new = NewKey {
            owner: self.owner,
            scopes: self.scopes,
            kinds: self.kinds,
            lifetime,
            rate_per_second: self.rate,
            burst: self.burst,
        };
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let key = keys::create(&mut connection, &new, &act, now).await.map_err(stop)?;
        show(answers, &key, now + lifetime)
    }
}

impl Rotate {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let lifetime = length(self.expires_after, keys::LIFETIME);
        let overlap = length(self.overlap, keys::OVERLAP);
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let key = keys::rotate(&mut connection, self.id, overlap, lifetime, &act, now).await.map_err(stop)?;
        show(answers, &key, now + lifetime)
    }
}

impl Revoke {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        keys::revoke(&mut connection, self.id, &act, now).await.map_err(stop)?;
        answers.give(&json!({ "id": self.id, "revoked": true }), |_| {
            format!("Revoked key {}: it opens nothing any more.", self.id)
        })
    }
}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let keys = keys::list(&mut connection, now).await?;
        answers.give(&keys, |keys| describe(keys, now))
    }
}

fn describe(keys: &[KeyLine], now: DateTime<Utc>) -> String {
    if keys.is_empty() {
        return "No keys. `amzigo keys create --help` shows how to make one.".to_owned();
    }
    let mut table = answer::table(&["id", "owner", "state", "may", "kinds", "rate", "expires", "last used"]);
    for key in keys {
        table.add_row([
            answer::text(&key.id.to_string()),
            answer::text(&key.owner),
            answer::state(key.state(now).name()),
            answer::text(&key.scopes.join(" ")),
            answer::text(&key.kinds.as_ref().map_or_else(|| "all".to_owned(), |kinds| kinds.join(" "))),
            answer::text(&format!("{}/s, {} at once", key.rate_per_second, key.burst)),
            answer::text(&answer::moment(key.expires_at)),
            answer::text(&key.last_used_at.map_or_else(|| "never".to_owned(), answer::moment)),
        ]);
    }
    table.trim_fmt()
}

fn show(answers: Answers, key: &KeyText, expires_at: DateTime<Utc>) -> Result<(), Stop> {
    let said = json!({ "id": key.id, "key": key.text(), "expires_at": expires_at });
    answers.give(&said, |_| {
        format!(
            "Key {}, until {}. It is shown this once; keep it where programs keep secrets:\n\n{}",
            key.id,
            answer::moment(expires_at),
            key.text()
        )
    })
}

/// As given, else as usual.
fn length(given: Option<Delay>, usual: TimeDelta) -> TimeDelta {
    given.map_or(usual, |delay| TimeDelta::from_std(delay.0).unwrap_or(TimeDelta::MAX))
}

fn stop(error: KeyError) -> Stop {
    if error.refused() { Stop::refused(error) } else { error.into() }
}
