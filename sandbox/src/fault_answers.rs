//! What a scripted fault makes of an answer: in the words of whoever would have answered.

use crate::answer::Answer;
use crate::faults::Fault;
use crate::operations::{Counter, Operation, Request};
use crate::query::Query;
use crate::solicitations;
use axum::http::StatusCode;

/// The answer of a fault that keeps an operation from happening.
pub(crate) fn prevented(fault: Fault, operation: Option<Operation>) -> Option<Answer> {
    let counter = operation.map_or(Counter::Seller, Operation::counter);
    match fault {
        Fault::Quota => Some(quota_exceeded(counter)),
        Fault::Internal => Some(internal_failure(counter)),
        Fault::Unavailable => Some(unavailable(counter)),
        Fault::Garbage => Some(Answer::garbage()),
        Fault::Denied => Some(denied(counter)),
        Fault::Hang
        | Fault::Slow
        | Fault::Cut
        | Fault::CutAfter
        | Fault::InternalAfter
        | Fault::EmptyActions => None,
    }
}

/// What is left of a success that a fault follows; `None` if no answer shall be sent.
pub(crate) fn spoiled(fault: Fault, request: &Request, query: &Query) -> Option<Answer> {
    match fault {
        Fault::EmptyActions => Some(solicitations::no_actions(request.first_subject(), query)),
        Fault::InternalAfter => Some(internal_failure(request.operation.counter())),
        _ => None,
    }
}

fn quota_exceeded(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => sign_in_unavailable(StatusCode::TOO_MANY_REQUESTS),
        Counter::Seller => Answer::quota_exceeded(),
    }
}

fn internal_failure(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Answer::sign_in_error(status, "server_error", "The server encountered an unexpected condition")
        }
        Counter::Seller => Answer::internal_failure(),
    }
}

fn unavailable(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => sign_in_unavailable(StatusCode::SERVICE_UNAVAILABLE),
        Counter::Seller => Answer::service_unavailable(),
    }
}

fn denied(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => Answer::sign_in_error(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            "The client is not authorized to request an access token",
        ),
        Counter::Seller => Answer::access_denied(""),
    }
}

fn sign_in_unavailable(status: StatusCode) -> Answer {
    Answer::sign_in_error(status, "temporarily_unavailable", "The server is temporarily overloaded")
}
