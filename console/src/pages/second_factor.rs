//! The second factor, after a right password: the code of an authenticator app, or a recovery code. A password that is a year
//! old is exchanged here as well.

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use crate::{
    auth::{
        Person, agent,
        limits::Client,
        passwords::{self, PasswordError},
        sign_in::SignInError,
    },
    console::Console,
    pages::{Problem, fields::Fields, layout, sign_in::Asked, signed_in},
};

const PATH: &str = "/second-factor";

/// The page that leads on to `to`.
pub(super) fn address(to: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    format!("{PATH}?{query}")
}

pub(super) async fn page(
    State(console): State<Console>,
    person: Person,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let to = signed_in::ours(&console.origin, asked.to.as_deref());
    if person.complete {
        return Ok(Redirect::to(&to).into_response());
    }
    show(&console, &person, &to, None).await
}

#[derive(Deserialize)]
pub(super) struct Code {
    code: String,
    new_password: Option<String>,
    to: Option<String>,
}

pub(super) async fn code(
    State(console): State<Console>,
    client: Client,
    person: Person,
    headers: HeaderMap,
    Fields(form): Fields<Code>,
) -> Result<Response, Problem> {
    console.sign_in.limits.guess(client).map_err(Problem::TooMany)?;
    let to = signed_in::ours(&console.origin, form.to.as_deref());
    if person.complete {
        return Ok(Redirect::to(&to).into_response());
    }
    let agent = agent::words(&headers);
    let new_password = form.new_password.as_deref().filter(|password| !password.is_empty());
    let signed = console
        .sign_in
        .with_code(&console.pool, &person, &form.code, new_password, &agent, console.now())
        .await;
    match signed {
        Ok(session) => Ok(signed_in::lead(&session, &to)),
        Err(SignInError::Refused) => {
            let why = "That was not accepted. A code counts once: wait for the next one. After several in vain each try must \
                       wait, up to a minute; after ten the app stays locked, and a recovery code or a passkey opens it.";
            show(&console, &person, &to, Some(why)).await
        }
        Err(
            told @ (SignInError::PasswordEnded
            | SignInError::Password(PasswordError::Rules(_) | PasswordError::Again)),
        ) => show(&console, &person, &to, Some(&told.to_string())).await,
        Err(error) => Err(error.into()),
    }
}

async fn show(
    console: &Console,
    person: &Person,
    to: &str,
    wrong: Option<&str>,
) -> Result<Response, Problem> {
    let held = passwords::held(&mut *console.pool.acquire().await?, person.staff).await?;
    let ended = held.is_some_and(|held| held.has_ended(console.now()));
    let content = html! {
        form method="post" action=(PATH) {
            input type="hidden" name="csrf" value=(person.csrf.text());
            input type="hidden" name="to" value=(to);
            @if ended {
                p { "Your password is a year old. Choose another one:" }
                label { "New password"
                    input type="password" name="new_password" required autocomplete="new-password" maxlength="1000"; }
                (rules())
            }
            label { "Code of your authenticator app, or a recovery code"
                input name="code" required autocomplete="one-time-code" maxlength="60" autofocus; }
            @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
            button { "Sign in" }
        }
        p.note { "No app at hand? " a href="/sign-in" { "Sign in with a passkey" } " instead." }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, layout::alone("One more step", Some(person), &content)).into_response())
}

/// What a password has to be.
pub(super) fn rules() -> Markup {
    html! { ul.note { @for rule in &passwords::RULES { li { (rule.says) } } li { "none of your last ten" } } }
}
