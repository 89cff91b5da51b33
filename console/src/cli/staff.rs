//! `amzigo staff`: who may use the console.

use clap::{Args, Subcommand};
use runtime::env::{Environment, ProcessEnvironment};
use serde_json::json;

use super::{
    answer::{self, Answers},
    database, people,
    stop::Stop,
    why::Why,
};
use crate::{
    auth::{Role, Roles, invitations},
    config,
    ops::invite::{self, InviteError},
    origin::Origin,
};

/// Who may use the console: invite people, change what they may do, end their sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Staff {
    Invite(Invite),
    #[command(flatten)]
    People(people::People),
}

impl Staff {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        match self {
            Self::Invite(invite) => invite.run(answers).await,
            Self::People(people) => people.run(answers).await,
        }
    }
}

/// Invite somebody. Prints the one-time link by which they choose how they will sign in: once, good for a day. Give it to
/// them by a way that others do not read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo staff invite ann.lee --role admin --reason 'the first admin'\n  amzigo staff invite bob --role operator --role oncall --reason 'joins the rotation'\n\nThe roles are viewer, operator, oncall, approver, auditor and admin; duties that watch each other do not go together. Inviting somebody again who has not accepted makes a new link and ends the old one."
)]
pub(super) struct Invite {
    /// Their handle, as the audit log will show it.
    name: String,
    /// What they may do; may be given several times.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// Where browsers find the console; without it AMZIGO_CONSOLE_ORIGIN holds.
    #[arg(long)]
    origin: Option<Origin>,
    #[command(flatten)]
    why: Why,
}

impl Invite {
    async fn run(self, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let roles = Roles::new(&self.roles).map_err(|error| Stop::usage(anyhow::anyhow!(error)))?;
        let origin = origin(self.origin, &ProcessEnvironment)?;
        let pool = database::migrated_pool().await?;
        let mut transaction = pool.begin().await?;
        let now = database::now(&mut transaction).await?;
        let invited = invite::invite(&mut transaction, &self.name, &roles, &act, now).await.map_err(
            |error| match error {
                name @ InviteError::Name(_) => Stop::usage(name),
                InviteError::Database(error) => error.into(),
                refused @ (InviteError::Enrolled(_) | InviteError::Disabled(_)) => Stop::refused(refused),
            },
        )?;
        transaction.commit().await?;
        let link = invitations::link(&origin, &invited.token);
        let said = json!({
            "id": invited.staff,
            "name": self.name,
            "roles": roles,
            "link": link,
            "expires_at": invited.expires_at,
        });
        answers.give(&said, |_| {
            format!(
                "{link}\n\nFor {} ({roles}), once, until {}. It is not shown again.",
                self.name,
                answer::moment(invited.expires_at)
            )
        })
    }
}

/// Where browsers find the console: as given, else as the environment says.
pub(super) fn origin(given: Option<Origin>, environment: &dyn Environment) -> Result<Origin, Stop> {
    match given {
        Some(origin) => Ok(origin),
        None => config::ORIGIN.parse(environment).map_err(|error| {
            Stop::usage(anyhow::Error::new(error).context(
                "a link needs to know where browsers find the console: pass --origin, as in --origin http://localhost:8480",
            ))
        }),
    }
}
