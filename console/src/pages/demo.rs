//! `/sign-in/demo/TOKEN`: opens the demo's session, once. There is such a page only in a console that was started for a demo.

use axum::{
    extract::{Path, State},
    response::Response,
};

use crate::{
    access::Rule,
    auth::Token,
    console::Console,
    pages::{Problem, signed_in},
    routes::Routes,
};

/// Adds the page where there is a demo. Whoever has the link may follow it.
pub(super) fn add(routes: Routes, console: &Console) -> Routes {
    match console.demo {
        Some(_) => routes.get("/sign-in/demo/{token}", Rule::Open, sign_in),
        None => routes,
    }
}

/// What the session is called in lists.
const AGENT: &str = "the demo's link";

async fn sign_in(State(console): State<Console>, Path(token): Path<String>) -> Result<Response, Problem> {
    let used = || {
        Problem::NotFound(
            "This link signs nobody in: it works once, within an hour. Start the demo again for a new one."
                .to_owned(),
        )
    };
    let (Some(link), Some(token)) = (&console.demo, Token::read(&token)) else { return Err(used()) };
    let mut connection = console.pool.acquire().await?;
    let session = link.open(&mut connection, &token, AGENT, console.now()).await?.ok_or_else(used)?;
    Ok(signed_in::lead(&session, "/"))
}
