//! Why a call to Amazon did not succeed, and what a job does about it.

use chrono::{DateTime, TimeDelta, Utc};
use queue::{Failure, limit::BudgetError};
use thiserror::Error;

use crate::sp_api::{
    Operation,
    answer::Refusal,
    auth::AuthError,
    circuit::{Resting, Scope},
    credentials::TRIED_EVERY,
};

/// How long to wait when a role is missing: a person must act.
const DENIED_WAIT: TimeDelta = TimeDelta::minutes(30);
/// What all jobs wait for while our own credentials are refused.
const OUR_CREDENTIALS: &str = "our credentials at Amazon";

/// Why a call did not succeed. Says nothing about what was asked: ids and bodies stay out of errors.
#[derive(Debug, Error)]
pub enum CallError {
    /// The budget is empty until then.
    #[error("the budget of {} is empty", .operation.entry().name)]
    Wait {
        /// Whose budget.
        operation: Operation,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Amazon is ill for the seller or in the operation, and calls rest.
    #[error("calls of {} rest: Amazon is ill for the {}", .operation.entry().name, .resting.scope.name())]
    Resting {
        /// What was to be called.
        operation: Operation,
        /// What rests, and until when.
        resting: Resting,
    },
    /// No token.
    #[error("could not get an access token")]
    Auth(#[from] AuthError),
    /// Amazon answered and refused.
    #[error("{} was refused with status {status}{}", .operation.entry().name, request_id_words(.request_id))]
    Refused {
        /// What was called.
        operation: Operation,
        /// The HTTP status.
        status: u16,
        /// What it means.
        #[source]
        refusal: Refusal,
        /// Amazon's id of the request, for its support.
        request_id: Option<String>,
    },
    /// The request never left: nothing happened at Amazon.
    #[error("could not reach Amazon for {}", .operation.entry().name)]
    NotSent {
        /// What was to be called.
        operation: Operation,
        /// What failed.
        #[source]
        cause: reqwest::Error,
    },
    /// The request left, but no whole answer came: whether Amazon did what was asked is unknown.
    #[error("no whole answer to {}: {why}", .operation.entry().name)]
    NoAnswer {
        /// What was called.
        operation: Operation,
        /// What failed.
        why: String,
    },
    /// Not in the closed list: a bug of ours, stopped before the socket.
    #[error("the request is not one that we may make")]
    NotAllowed,
    /// Redis failed.
    #[error("could not ask the budget")]
    Budget(#[from] BudgetError),
}

fn request_id_words(id: &Option<String>) -> String {
    id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default()
}

impl CallError {
    /// What Amazon's refusal means, if it was one.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether Amazon may have done what was asked although no success was seen.
    #[must_use]
    pub const fn ambiguous(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Refused { refusal: Refusal::AmazonFailed, .. })
    }

    /// What a job does about it, where the kind has no better idea.
    #[must_use]
    pub fn into_failure(self, now: DateTime<Utc>) -> Failure {
        match self {
            Self::Wait { operation, until } => {
                Failure::snooze(until, format!("budget {}", operation.entry().name))
            }
            Self::Resting { operation, resting } => {
                let name = operation.entry().name;
                let waits_for = match resting.scope {
                    Scope::Role(..) => format!("a role that is missing for {name}"),
                    scope => format!("Amazon, which is ill for the {} ({name})", scope.name()),
                };
                Failure::snooze(resting.until, waits_for)
            }
            Self::Refused { operation, refusal: Refusal::AccessDenied, .. } => {
                let name = operation.entry().name;
                Failure::snooze(now + DENIED_WAIT, format!("a role that is missing for {name}"))
            }
            Self::Auth(AuthError::OurCredentials) => Failure::snooze(now + TRIED_EVERY, OUR_CREDENTIALS),
            Self::Auth(AuthError::Resting { until }) => Failure::snooze(until, OUR_CREDENTIALS),
            Self::Auth(AuthError::GrantRefused | AuthError::ScopeRefused { .. })
            | Self::NotAllowed
            | Self::Refused { refusal: Refusal::InvalidInput | Refusal::NotFound, .. } => {
                Failure::reject(self)
            }
            other => Failure::retry(other),
        }
    }
}
