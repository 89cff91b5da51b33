//! Signing in and out: with a passkey, with a password and then a code, with a recovery code.
//!
//! The password's part works without scripts. Whatever is wrong is answered in the same words, so that nobody learns which
//! names there are.

use axum::{
    Json,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{Html, IntoResponse, Redirect, Response},
};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use crate::{
    access::Rule,
    auth::{
        Permission, Person, agent,
        limits::Client,
        passkeys::{Answer, PasskeyError},
        session,
        sign_in::SignInError,
    },
    console::Console,
    pages::{
        Problem,
        fields::Fields,
        layout,
        passkey_form::{self, Wanted},
        second_factor, signed_in, step_up,
    },
    routes::Routes,
};

const PATH: &str = "/sign-in";

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(PATH, Rule::Open, page)
        .post(PATH, Rule::Open, password)
        .post("/sign-in/passkey/options", Rule::Open, passkey_options)
        .post("/sign-in/passkey", Rule::Open, passkey)
        .post("/sign-in/recovery", Rule::Open, recovery)
        .get("/second-factor", Rule::HalfSignedIn, second_factor::page)
        .post("/second-factor", Rule::HalfSignedIn, second_factor::code)
        .post("/step-up", Rule::SteppedUp(Permission::View), step_up::done)
        .post("/step-up/passkey/options", Rule::Staff(Permission::View), step_up::passkey_options)
        .post("/sign-out", Rule::HalfSignedIn, sign_out)
}

/// The sign-in that leads back to a page of ours.
pub(crate) fn address(to: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    format!("{PATH}?{query}")
}

/// A page that asks for `to` again by itself. The session's cookie is not sent by a browser that follows a link in a mail or
/// on another site; from here it is, so that somebody who is signed in gets to where the link leads.
pub(crate) fn again_from_here(to: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0; url=" (to) };
                title { "Amzigo" }
            }
            body { p { a href=(to) { "Go on" } } }
        }
    };
    Html(page.into_string()).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) to: Option<String>,
}

async fn page(
    State(console): State<Console>,
    person: Option<axum::Extension<Person>>,
    Query(asked): Query<Asked>,
) -> Response {
    let to = signed_in::ours(&console.origin, asked.to.as_deref());
    match person {
        Some(axum::Extension(person)) if person.complete => Redirect::to(&to).into_response(),
        _ => layout::alone("Sign in", None, &content(&console, &to, None)).into_response(),
    }
}

/// Why the page is shown again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Password,
    Recovery,
    Passkey,
}

fn content(console: &Console, to: &str, wrong: Option<Wrong>) -> Markup {
    let passkeys = console.sign_in.passkeys.is_some();
    html! {
        section {
            h2 { "With a passkey" }
            @if passkeys {
                form method="post" action="/sign-in/passkey" {
                    input type="hidden" name="to" value=(to);
                    (passkey_form::part(Wanted::Proof, "/sign-in/passkey/options", "", "Sign in with a passkey"))
                }
            } @else {
                p.note { "Passkeys do not work at this address: the console needs a name of its own and the feature passkeys." }
            }
            @if wrong == Some(Wrong::Passkey) {
                p.wrong role="alert" { "This passkey was not accepted: it is not enrolled here, took too long, or may no longer sign in. \
                    Try again, or ask an admin for a new invitation." }
            }
        }
        section {
            h2 { "With a password and an authenticator app" }
            form method="post" action=(PATH) {
                input type="hidden" name="to" value=(to);
                label { "Name" input name="name" required autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="100"; }
                label { "Password" input type="password" name="password" required autocomplete="current-password" maxlength="1000"; }
                @if wrong == Some(Wrong::Password) { (not_accepted()) }
                button { "Go on" }
            }
            details open[wrong == Some(Wrong::Recovery)] {
                summary { "Locked out, or the app is lost?" }
                form method="post" action="/sign-in/recovery" {
                    input type="hidden" name="to" value=(to);
                    label { "Name" input name="name" required autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="100"; }
                    label { "Password" input type="password" name="password" required autocomplete="current-password" maxlength="1000"; }
                    label { "One of your recovery codes" input name="code" required autocomplete="off" maxlength="60"; }
                    @if wrong == Some(Wrong::Recovery) { (not_accepted()) }
                    button { "Sign in with a recovery code" }
                }
                p.note { "Without a recovery code, an admin can invite you again." }
            }
        }
    }
}

/// One answer for everything that can be wrong.
fn not_accepted() -> Markup {
    html! {
        p.wrong role="alert" { "That was not accepted. Something you typed is wrong, or it was tried so often that each try must wait, \
            up to a minute; after ten in vain the password stays locked. A passkey always works, and a recovery code opens \
            the password." }
    }
}

/// The page again, with what was wrong.
fn again(console: &Console, to: &str, wrong: Wrong) -> Response {
    let page = layout::alone("Sign in", None, &content(console, to, Some(wrong)));
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}

#[derive(Deserialize)]
struct NameAndPassword {
    name: String,
    password: String,
    to: Option<String>,
}

async fn password(
    State(console): State<Console>,
    client: Client,
    before: Option<axum::Extension<Person>>,
    headers: HeaderMap,
    Fields(form): Fields<NameAndPassword>,
) -> Result<Response, Problem> {
    console.sign_in.limits.guess(client).map_err(Problem::TooMany)?;
    let to = signed_in::ours(&console.origin, form.to.as_deref());
    let agent = agent::words(&headers);
    let signed =
        console.sign_in.with_password(&console.pool, &form.name, &form.password, &agent, console.now()).await;
    match signed {
        Ok(session) => {
            leave(&console, before).await?;
            Ok(signed_in::lead(&session, &second_factor::address(&to)))
        }
        Err(SignInError::Refused) => Ok(again(&console, &to, Wrong::Password)),
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
struct Recovery {
    name: String,
    password: String,
    code: String,
    to: Option<String>,
}

async fn recovery(
    State(console): State<Console>,
    client: Client,
    before: Option<axum::Extension<Person>>,
    headers: HeaderMap,
    Fields(form): Fields<Recovery>,
) -> Result<Response, Problem> {
    console.sign_in.limits.guess(client).map_err(Problem::TooMany)?;
    let to = signed_in::ours(&console.origin, form.to.as_deref());
    let agent = agent::words(&headers);
    let Recovery { name, password, code, .. } = &form;
    match console.sign_in.with_recovery_code(&console.pool, name, password, code, &agent, console.now()).await
    {
        Ok(session) => {
            leave(&console, before).await?;
            Ok(signed_in::lead(&session, &to))
        }
        Err(SignInError::Refused) => Ok(again(&console, &to, Wrong::Recovery)),
        Err(error) => Err(error.into()),
    }
}

async fn passkey_options(State(console): State<Console>, client: Client) -> Result<Response, Problem> {
    console.sign_in.limits.passkey(client).map_err(Problem::TooMany)?;
    Ok(Json(console.sign_in.ask_passkey(&console.pool, console.now()).await?).into_response())
}

#[derive(Deserialize)]
struct PasskeyAnswer {
    #[serde(flatten)]
    answer: Answer,
    to: Option<String>,
}

async fn passkey(
    State(console): State<Console>,
    client: Client,
    before: Option<axum::Extension<Person>>,
    headers: HeaderMap,
    Fields(form): Fields<PasskeyAnswer>,
) -> Result<Response, Problem> {
    console.sign_in.limits.passkey(client).map_err(Problem::TooMany)?;
    let to = signed_in::ours(&console.origin, form.to.as_deref());
    let agent = agent::words(&headers);
    match console.sign_in.with_passkey(&console.pool, &form.answer, &agent, console.now()).await {
        Ok(session) => {
            leave(&console, before).await?;
            Ok(signed_in::lead(&session, &to))
        }
        Err(SignInError::Passkey(PasskeyError::Database(error)) | SignInError::Database(error)) => {
            Err(error.into())
        }
        Err(SignInError::Passkey(error)) => {
            tracing::debug!(%error, "a passkey was refused");
            Ok(again(&console, &to, Wrong::Passkey))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends the session that the browser had before.
async fn leave(console: &Console, before: Option<axum::Extension<Person>>) -> Result<(), sqlx::Error> {
    if let Some(axum::Extension(person)) = before {
        session::revoke(&mut *console.pool.acquire().await?, person.session, console.now()).await?;
    }
    Ok(())
}

/// What a browser may keep of us is taken away. Not its cookies at large: those of other hosts of the same domain would go too.
const CLEAR: (HeaderName, &str) = (HeaderName::from_static("clear-site-data"), "\"cache\", \"storage\"");

async fn sign_out(State(console): State<Console>, person: Person) -> Result<Response, Problem> {
    session::revoke(&mut *console.pool.acquire().await?, person.session, console.now()).await?;
    tracing::info!(staff.id = %person.staff, "signed out");
    Ok(([CLEAR], signed_in::no_cookie(), Redirect::to(PATH)).into_response())
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        use crate::auth::{hashing::HashingError, passwords::PasswordError};
        match error {
            SignInError::Database(error)
            | SignInError::Password(PasswordError::Database(error))
            | SignInError::Passkey(PasskeyError::Database(error)) => Self::Database(error),
            SignInError::Hashing(HashingError::Busy)
            | SignInError::Password(PasswordError::Hashing(HashingError::Busy)) => {
                Self::TooMany(std::time::Duration::from_secs(2))
            }
            broken @ (SignInError::Hashing(_)
            | SignInError::Password(PasswordError::Hashing(_))
            | SignInError::Authenticator(_)) => Self::Broken(broken.into()),
            told => Self::Conflict(told.to_string()),
        }
    }
}
