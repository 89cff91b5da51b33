//! What a scripted fault makes of an answer: in the words of whoever would have answered.

use crate::answer::Answer;
use crate::faults::Fault;
use crate::operations::{Counter, Operation, Request};
use crate::query::Query;
use crate::report_documents::store_error;
use crate::solicitations;
use crate::sqs::queue_error;
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
        | Fault::HangAfter
        | Fault::EmptyActions
        | Fault::Fatal
        | Fault::Truncated => None,
    }
}

/// What is left of a success that a fault follows; `None` if no answer shall be sent.
pub(crate) fn spoiled(fault: Fault, mut success: Answer, request: &Request, query: &Query) -> Option<Answer> {
    match fault {
        Fault::Truncated => {
            success.body.truncate(success.body.len() / 2);
            Some(success)
        }
        // The report knows already.
        Fault::Fatal => Some(success),
        Fault::EmptyActions => Some(solicitations::no_actions(request.first_subject(), query)),
        Fault::InternalAfter => Some(internal_failure(request.operation.counter())),
        _ => None,
    }
}

fn quota_exceeded(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => sign_in_unavailable(StatusCode::TOO_MANY_REQUESTS),
        Counter::Seller | Counter::Application => Answer::quota_exceeded(),
        Counter::Queue => queue_error(
            StatusCode::BAD_REQUEST,
            "RequestThrottled",
            "The request was denied due to request throttling.",
        ),
        Counter::Store => {
            store_error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.")
        }
    }
}

fn internal_failure(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Answer::sign_in_error(status, "server_error", "The server encountered an unexpected condition")
        }
        Counter::Seller | Counter::Application => Answer::internal_failure(),
        Counter::Queue => {
            let message = "The request processing has failed because of an unknown error.";
            queue_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", message)
        }
        Counter::Store => {
            let message = "We encountered an internal error. Please try again.";
            store_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
        }
    }
}

fn unavailable(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => sign_in_unavailable(StatusCode::SERVICE_UNAVAILABLE),
        Counter::Seller | Counter::Application => Answer::service_unavailable(),
        Counter::Queue => queue_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "The request has failed due to a temporary failure.",
        ),
        Counter::Store => store_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "Service is unable to handle request.",
        ),
    }
}

fn denied(counter: Counter) -> Answer {
    match counter {
        Counter::SignIn => Answer::sign_in_error(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            "The client is not authorized to request an access token",
        ),
        Counter::Seller | Counter::Application => Answer::access_denied(""),
        Counter::Queue => {
            queue_error(StatusCode::FORBIDDEN, "AccessDeniedException", "Access to the resource is denied.")
        }
        Counter::Store => store_error(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied"),
    }
}

fn sign_in_unavailable(status: StatusCode) -> Answer {
    Answer::sign_in_error(status, "temporarily_unavailable", "The server is temporarily overloaded")
}
