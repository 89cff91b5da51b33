//! `amzigo sellers`: connecting Amazon accounts, and disconnecting them.

use std::io::{IsTerminal, Read};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use jobs::{
    sp_api::Region,
    store::sellers::{Connection, SellerId},
};
use queue::outbox::Cause;
use runtime::{env::ProcessEnvironment, secret::SecretString};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, freshness,
    stop::Stop,
    why,
};
use crate::ops::sellers::{self, DisconnectError, SyncError};

/// Connect, disconnect and list sellers.
#[derive(Debug, Subcommand)]
pub(super) enum Sellers {
    Connect(Connect),
    Disconnect(Disconnect),
    Sync(Sync),
    List(List),
    Data(freshness::Data),
}

impl Sellers {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::Connect(connect) => connect.run(answers).await,
            Self::Disconnect(disconnect) => disconnect.run(answers).await,
            Self::Sync(sync) => sync.run(answers).await,
            Self::List(list) => list.run(answers).await,
            Self::Data(data) => data.run(answers).await,
        }
    }
}

/// Connect an Amazon account, or renew its authorisation, and sync it at once. Prints our id of the seller.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo sellers connect --selling-partner-id A2EXAMPLE --region eu --marketplace A1F83G8C2ARO7P --refresh-token-stdin < token.txt\n\nThe token never stands on the command line, where other users of the host could read it."
)]
pub(super) struct Connect {
    /// Amazon's id of the account.
    #[arg(long, value_name = "ID", value_parser = amazon_id)]
    selling_partner_id: String,
    /// Where it sells: na, eu or fe.
    #[arg(long)]
    region: Region,
    /// Amazon's ids of the marketplaces to sync.
    #[arg(long = "marketplace", value_name = "ID", num_args = 1.., required = true, value_parser = amazon_id)]
    marketplaces: Vec<String>,
    /// Read the Login with Amazon refresh token from standard input.
    #[arg(long, required = true)]
    refresh_token_stdin: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "the seller authorised us")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

/// Amazon's ids are capital letters and digits; a pasted token or name is none.
fn amazon_id(text: &str) -> Result<String, String> {
    let fits = (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if fits { Ok(text.to_owned()) } else { Err("Amazon's ids are capital letters and digits".to_owned()) }
}

/// Longest token that is read; Amazon's have some hundred letters.
const MAX_TOKEN_BYTES: u64 = 8_192;

fn read_token() -> Result<SecretString, Stop> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("Paste the refresh token, then press Enter and Ctrl-D:");
    }
    let mut token = String::new();
    stdin
        .lock()
        .take(MAX_TOKEN_BYTES)
        .read_to_string(&mut token)
        .context("could not read the refresh token from standard input")
        .map_err(Stop::Usage)?;
    let trimmed = token.trim();
    if trimmed.is_empty() || trimmed.contains(char::is_whitespace) || trimmed.contains(char::is_control) {
        return Err(Stop::Usage(anyhow!(
            "standard input must hold the refresh token alone, as Atzr|… on one line"
        )));
    }
    Ok(SecretString::from(trimmed))
}

impl Connect {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let keyring = jobs::config::keyring(&ProcessEnvironment).map_err(Stop::usage)?;
        let seller = Connection {
            selling_partner_id: self.selling_partner_id,
            region: self.region,
            marketplace_ids: self.marketplaces,
            refresh_token: read_token()?,
        };
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let id = sellers::connect(&mut connection, &keyring, &seller, &act, now).await?;
        answers.give(&json!({ "id": id }), |_| id.to_string())
    }
}

/// Disconnect an Amazon account: its authorisation is wiped, its jobs are cancelled, and what we had from Amazon about it is
/// deleted within 30 days. Prints the job that does it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo sellers disconnect 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'asked for by the seller, ticket 812'\n\nAsks nothing. A seller that connects again within three weeks keeps its data; `amzigo sellers list` shows until when."
)]
pub(super) struct Disconnect {
    /// Our id of the seller.
    id: SellerId,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Disconnect {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let id = self.id;
        let said = sellers::disconnect(&mut connection, id, Cause::Cli, &act, now).await.map_err(
            |error| match error {
                DisconnectError::Unknown(_) | DisconnectError::Already { .. } => Stop::refused(error),
                DisconnectError::Enqueue(_) | DisconnectError::Database(_) => error.into(),
            },
        )?;
        let job = said.job;
        answers.give(&json!({ "id": id, "job": job, "new": said.new }), |_| match said.new {
            true => format!("Job {job} disconnects seller {id}; `amzigo job {job}` shows how far it is."),
            false => format!("Nothing new: job {job} is there already to disconnect seller {id}."),
        })
    }
}

/// Sync all data sets of a seller now. What waits already is brought forward; each call waits for the seller's budgets, as always.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo sellers sync 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the seller waits for it, ticket 813'\n\n`amzigo pause sync --group ID` pauses all of a seller's syncs."
)]
pub(super) struct Sync {
    /// Our id of the seller.
    id: SellerId,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are, for the audit log.
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
}

impl Sync {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = why::act(self.actor.as_deref(), &self.reason)?;
        let pool = database::migrated_pool().await?;
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let id = self.id;
        sellers::sync_now(&mut connection, id, Cause::Cli, &act, now).await.map_err(|error| match error {
            SyncError::Unknown(_) | SyncError::NotActive { .. } => Stop::refused(error),
            SyncError::Enqueue(_) | SyncError::Database(_) => error.into(),
        })?;
        answers.give(&json!({ "id": id }), |_| {
            format!("The syncs of seller {id} are enqueued; `amzigo jobs --seller {id}` shows them.")
        })
    }
}

/// List the connected accounts. The authorisations themselves are never shown.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo sellers list")]
pub(super) struct List {}

impl List {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let sellers = sellers::list(&mut *pool.acquire().await?).await?;
        answers.give(&json!({ "sellers": sellers }), |_| {
            if sellers.is_empty() {
                return "No seller is connected; `amzigo sellers connect --help` shows how.".to_owned();
            }
            let mut table = answer::table(&[
                "id",
                "Amazon's id",
                "region",
                "marketplaces",
                "state",
                "connected",
                "authorised until",
                "data",
            ]);
            for seller in &sellers {
                let data = match (seller.data_deleted_at, seller.data_deleted_by) {
                    (Some(at), _) => format!("deleted {}", answer::moment(at)),
                    (None, Some(by)) => format!("to be deleted by {}", answer::moment(by)),
                    (None, None) => "kept".to_owned(),
                };
                table.add_row([
                    answer::text(&seller.id.to_string()),
                    answer::text(&seller.selling_partner_id),
                    answer::text(&seller.region),
                    answer::text(&seller.marketplace_ids.join(" ")),
                    answer::state(&seller.state),
                    answer::text(&answer::moment(seller.connected_at)),
                    answer::text(&answer::moment(seller.authorised_until)),
                    answer::text(&data),
                ]);
            }
            table.trim_fmt()
        })
    }
}
