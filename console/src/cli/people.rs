//! `amzigo staff list` and what follows it: who may use the console, where they are signed in, and whether somebody has looked
//! at that lately. The same as the page `/people`.

use clap::{Args, Subcommand};
use runtime::env::ProcessEnvironment;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::{
    answer::{self, Answers},
    database, staff,
    stop::Stop,
    why::Why,
};
use crate::{
    auth::{
        Role, Roles, invitations,
        session::{self, SessionId},
        staff::StaffId,
    },
    ops::{
        Act,
        people::{self, PeopleError},
    },
    origin::Origin,
};

/// Who may use the console, and where they are signed in.
#[derive(Debug, Subcommand)]
pub(super) enum People {
    List(List),
    Roles(ChangeRoles),
    Disable(Disable),
    Enable(Enable),
    Review(Review),
    Reset(Reset),
    Sessions(Sessions),
    Revoke(Revoke),
}

impl People {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        match self {
            Self::List(list) => list.run(&pool, answers).await,
            Self::Roles(change) => change.run(&pool, answers).await,
            Self::Disable(disable) => disable.change.run(&pool, answers, Change::Disable).await,
            Self::Enable(enable) => enable.change.run(&pool, answers, Change::Enable).await,
            Self::Review(review) => review.change.run(&pool, answers, Change::Review).await,
            Self::Reset(reset) => reset.run(&pool, answers).await,
            Self::Sessions(sessions) => sessions.run(&pool, answers).await,
            Self::Revoke(revoke) => revoke.run(&pool, answers).await,
        }
    }
}

/// Why it stopped.
fn stop(error: PeopleError) -> Stop {
    match error {
        PeopleError::Database(error) => error.into(),
        refused => Stop::refused(refused),
    }
}

/// List members of staff: roles, when they were last there, and whether their access was reviewed within 90 days.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amzigo staff list\n  amzigo staff list --due --json")]
pub(super) struct List {
    /// Only those whose access is to be reviewed.
    #[arg(long)]
    due: bool,
}

impl List {
    async fn run(self, pool: &PgPool, answers: Answers) -> Result<(), Stop> {
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let mut members = people::list(&mut connection, now).await?;
        members.retain(|member| member.review_is_due || !self.due);
        answers.give(&json!({ "staff": members }), |_| {
            if members.is_empty() {
                return match self.due {
                    true => "No review is due.".to_owned(),
                    false => "Nobody. `amzigo staff invite --help` shows how to begin.".to_owned(),
                };
            }
            let mut table = answer::table(&["name", "roles", "state", "last there", "reviewed"]);
            for member in &members {
                let seen = member.last_seen_at.map_or_else(|| "never".to_owned(), answer::moment);
                let reviewed = match (member.reviewed_at, &member.reviewed_by) {
                    (Some(at), Some(by)) => format!("{} by {by}", answer::moment(at)),
                    _ => "not yet".to_owned(),
                };
                let due = if member.review_is_due { ", due" } else { "" };
                table.add_row([
                    answer::text(&member.name),
                    answer::text(&member.roles.to_string()),
                    answer::text(if member.disabled_at.is_some() { "disabled" } else { "may sign in" }),
                    answer::text(&seen),
                    answer::text(&format!("{reviewed}{due}")),
                ]);
            }
            table.trim_fmt()
        })
    }
}

/// Give somebody these roles instead of those they have. Their sessions end.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo staff roles ann.lee --role operator --role oncall --reason 'joins the rotation'\n  amzigo staff roles bob --role viewer --reason 'has left the team'\n\nThe roles are viewer, operator, oncall, approver, auditor and admin; duties that watch each other do not go together."
)]
pub(super) struct ChangeRoles {
    /// Their name.
    name: String,
    /// What they may do; may be given several times.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    #[command(flatten)]
    why: Why,
}

impl ChangeRoles {
    async fn run(self, pool: &PgPool, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let roles = Roles::new(&self.roles).map_err(|error| Stop::usage(anyhow::anyhow!(error)))?;
        let mut transaction = pool.begin().await?;
        let now = database::now(&mut transaction).await?;
        let staff = people::named(&mut transaction, &self.name).await.map_err(stop)?;
        people::change_roles(&mut transaction, staff, &roles, &act, now).await.map_err(stop)?;
        transaction.commit().await?;
        answers.give(&json!({ "id": staff, "name": self.name, "roles": roles }), |_| {
            format!("{} is now: {roles}. Their sessions have ended.", self.name)
        })
    }
}

/// End somebody's sessions at once, and let them open none.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo staff disable bob --reason 'has left the company'")]
pub(super) struct Disable {
    #[command(flatten)]
    change: Changed,
}

/// Let somebody sign in again, with the roles and factors they had.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amzigo staff enable bob --reason 'is back from parental leave'")]
pub(super) struct Enable {
    #[command(flatten)]
    change: Changed,
}

/// Confirm that somebody still needs their roles. Due every 90 days; nobody confirms their own.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo staff list --due\n  amzigo staff review bob --reason 'still in the rotation'"
)]
pub(super) struct Review {
    #[command(flatten)]
    change: Changed,
}

/// Take every factor from somebody who has lost them, and print a new one-time link. Their sessions end. Give the link to them by a
/// way that others do not read, and make sure that it is them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo staff reset bob --reason 'lost his phone; called back on his number'\n\nThe link is shown once and good for a day."
)]
pub(super) struct Reset {
    /// Their name.
    name: String,
    /// Where browsers find the console; without it AMZIGO_CONSOLE_ORIGIN holds.
    #[arg(long)]
    origin: Option<Origin>,
    #[command(flatten)]
    why: Why,
}

impl Reset {
    async fn run(self, pool: &PgPool, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let origin = staff::origin(self.origin, &ProcessEnvironment)?;
        let mut transaction = pool.begin().await?;
        let now = database::now(&mut transaction).await?;
        let staff = people::named(&mut transaction, &self.name).await.map_err(stop)?;
        let token = people::reset(&mut transaction, staff, &act, now).await.map_err(stop)?;
        transaction.commit().await?;
        let (link, expires_at) = (invitations::link(&origin, &token), now + invitations::GOOD_FOR);
        let said = json!({ "id": staff, "name": self.name, "link": link, "expires_at": expires_at });
        answers.give(&said, |_| {
            format!(
                "{link}\n\nFor {}, once, until {}. It is not shown again.",
                self.name,
                answer::moment(expires_at)
            )
        })
    }
}

/// Of whom something is changed, and why.
#[derive(Debug, Args)]
struct Changed {
    /// Their name.
    name: String,
    #[command(flatten)]
    why: Why,
}

/// What needs nothing but a person and a reason.
#[derive(Debug, Clone, Copy)]
enum Change {
    Disable,
    Enable,
    Review,
}

impl Changed {
    async fn run(self, pool: &PgPool, answers: Answers, change: Change) -> Result<(), Stop> {
        let act = self.why.act()?;
        let mut transaction = pool.begin().await?;
        let now = database::now(&mut transaction).await?;
        let staff = people::named(&mut transaction, &self.name).await.map_err(stop)?;
        let said = change.make(&mut transaction, staff, &act, now).await.map_err(stop)?;
        transaction.commit().await?;
        answers.give(&json!({ "id": staff, "name": self.name, "at": now }), |_| {
            format!("{}: {said}.", self.name)
        })
    }
}

impl Change {
    async fn make(
        self,
        connection: &mut PgConnection,
        staff: StaffId,
        act: &Act,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<&'static str, PeopleError> {
        match self {
            Self::Disable => {
                people::disable(connection, staff, act, now).await?;
                Ok("disabled, and their sessions have ended")
            }
            Self::Enable => {
                people::enable(connection, staff, act, now).await?;
                Ok("may sign in again")
            }
            Self::Review => {
                people::review(connection, staff, act, now).await?;
                Ok("confirmed")
            }
        }
    }
}

/// List open sessions, of everybody or of one person.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amzigo staff sessions\n  amzigo staff sessions ann.lee --json")]
pub(super) struct Sessions {
    /// Only of this person.
    name: Option<String>,
}

impl Sessions {
    async fn run(self, pool: &PgPool, answers: Answers) -> Result<(), Stop> {
        let mut connection = pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        let staff = match &self.name {
            Some(name) => Some(people::named(&mut connection, name).await.map_err(stop)?),
            None => None,
        };
        let open = session::list(&mut connection, staff, now).await?;
        answers.give(&json!({ "sessions": open }), |_| {
            if open.is_empty() {
                return "Nobody is signed in.".to_owned();
            }
            let mut table = answer::table(&["id", "who", "browser", "opened", "last used"]);
            for one in &open {
                table.add_row([
                    answer::text(&one.id.to_string()),
                    answer::text(&one.name),
                    answer::text(&one.agent),
                    answer::text(&answer::moment(one.created_at)),
                    answer::text(&answer::moment(one.last_seen_at)),
                ]);
            }
            table.trim_fmt()
        })
    }
}

/// End sessions at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  amzigo staff revoke 0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10 --reason 'the laptop is lost'\n\n`amzigo staff sessions` shows the ids."
)]
pub(super) struct Revoke {
    /// Which sessions.
    #[arg(required = true, value_name = "ID")]
    sessions: Vec<SessionId>,
    #[command(flatten)]
    why: Why,
}

impl Revoke {
    async fn run(self, pool: &PgPool, answers: Answers) -> Result<(), Stop> {
        let act = self.why.act()?;
        let mut transaction = pool.begin().await?;
        let now = database::now(&mut transaction).await?;
        let mut ended = Vec::new();
        for session in &self.sessions {
            ended.push(people::revoke(&mut transaction, *session, None, &act, now).await.map_err(stop)?);
        }
        transaction.commit().await?;
        answers.give(&json!({ "ended": ended }), |_| {
            let of: Vec<_> = ended.iter().map(|session| session.name.as_str()).collect();
            format!("Ended, of {}.", of.join(", "))
        })
    }
}
