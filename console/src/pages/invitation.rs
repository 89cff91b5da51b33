//! Accepting an invitation: choose a passkey, or a password with an authenticator app. Shows the recovery codes once.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use crate::{
    access::Rule,
    auth::{
        Token, agent,
        ceremonies::CeremonyError,
        enrolment::{self, EnrolmentError, Welcome},
        hashing::HashingError,
        invitations::Invitation,
        limits::Client,
        passkeys::{Answer, PasskeyError},
        passwords::PasswordError,
    },
    console::Console,
    pages::{
        Problem,
        fields::Fields,
        layout,
        passkey_form::{self, Wanted},
        recovery_codes, scan, second_factor, signed_in,
    },
    routes::Routes,
};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get("/invitation/{token}", Rule::Open, page)
        .post("/invitation/{token}/passkey/options", Rule::Open, passkey_options)
        .post("/invitation/{token}/passkey", Rule::Open, passkey)
        .post("/invitation/{token}/password", Rule::Open, password)
        .post("/invitation/{token}/code", Rule::Open, code)
}

/// A link's secret.
fn link(text: &str) -> Result<Token, Problem> {
    Token::read(text).ok_or_else(|| EnrolmentError::NoInvitation.into())
}

async fn page(
    State(console): State<Console>,
    client: Client,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    console.sign_in.limits.guess(client).map_err(Problem::TooMany)?;
    let invitation = invited(&console, &token).await?;
    Ok(layout::alone("Welcome", None, &content(&console, &invitation, &token, None)).into_response())
}

async fn invited(console: &Console, token: &str) -> Result<Invitation, Problem> {
    Ok(enrolment::invited(&mut *console.pool.acquire().await?, &link(token)?, console.now()).await?)
}

fn content(console: &Console, invitation: &Invitation, token: &str, wrong: Option<&str>) -> Markup {
    let here = format!("/invitation/{token}");
    let passkeys = console.sign_in.passkeys.is_some();
    html! {
        p { "You are " strong { (invitation.name) } ". Choose how you will sign in; you can add more later." }
        section {
            h2 { "A passkey (best)" }
            @if passkeys {
                p { "Your device, its PIN, finger or face. Nothing to remember, and nothing that a false page could ask you for." }
                form method="post" action={ (here) "/passkey" } {
                    (passkey_form::part(Wanted::New, &format!("{here}/passkey/options"), "", "Make a passkey"))
                }
            } @else {
                p.note { "Passkeys do not work at this address: the console needs a name of its own and the feature passkeys." }
            }
        }
        section {
            details open[!passkeys || wrong.is_some()] {
                summary { "A password and an authenticator app" }
                @if console.sign_in.keyring.is_some() {
                    form method="post" action={ (here) "/password" } {
                        // So that password managers know whose it is.
                        input.visually-hidden name="name" value=(invitation.name) autocomplete="username" readonly tabindex="-1" aria-hidden="true";
                        label { "Password" input type="password" name="password" required autocomplete="new-password" maxlength="1000"; }
                        label { "The same again" input type="password" name="again" required autocomplete="new-password" maxlength="1000"; }
                        @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
                        (second_factor::rules())
                        button { "Go on to the app" }
                    }
                } @else {
                    p.note { (EnrolmentError::NoKeys) }
                }
            }
        }
    }
}

async fn passkey_options(
    State(console): State<Console>,
    client: Client,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    console.sign_in.limits.passkey(client).map_err(Problem::TooMany)?;
    let invitation = invited(&console, &token).await?;
    let mut transaction = console.pool.begin().await?;
    let begun = console
        .sign_in
        .ask_new_passkey(&mut transaction, invitation.staff, &invitation.name, console.now())
        .await?;
    transaction.commit().await?;
    Ok(Json(begun).into_response())
}

async fn passkey(
    State(console): State<Console>,
    client: Client,
    Path(token): Path<String>,
    headers: HeaderMap,
    Fields(answer): Fields<Answer>,
) -> Result<Response, Problem> {
    console.sign_in.limits.passkey(client).map_err(Problem::TooMany)?;
    let agent = agent::words(&headers);
    let welcome = console
        .sign_in
        .accept_with_passkey(&console.pool, &link(&token)?, &answer, &agent, console.now())
        .await?;
    Ok(welcomed(&welcome))
}

#[derive(Deserialize)]
struct Password {
    password: String,
    again: String,
}

async fn password(
    State(console): State<Console>,
    client: Client,
    Path(token): Path<String>,
    Fields(form): Fields<Password>,
) -> Result<Response, Problem> {
    console.sign_in.limits.guess(client).map_err(Problem::TooMany)?;
    let again = async |why: String| {
        let invitation = invited(&console, &token).await?;
        let page = layout::alone("Welcome", None, &content(&console, &invitation, &token, Some(&why)));
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
    };
    if form.password != form.again {
        return again("The two passwords are not the same.".to_owned()).await;
    }
    let scanning =
        console.sign_in.accept_password(&console.pool, &link(&token)?, &form.password, console.now()).await;
    match scanning {
        Ok(scanning) => {
            let form = scan::form(&scanning, &format!("/invitation/{token}/code"), &html! {}, false)?;
            Ok(layout::alone("Your authenticator app", None, &form).into_response())
        }
        Err(EnrolmentError::Password(told @ (PasswordError::Rules(_) | PasswordError::Again))) => {
            again(told.to_string()).await
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
struct Code {
    ceremony: String,
    code: String,
}

async fn code(
    State(console): State<Console>,
    client: Client,
    Path(token): Path<String>,
    headers: HeaderMap,
    Fields(form): Fields<Code>,
) -> Result<Response, Problem> {
    console.sign_in.limits.guess(client).map_err(Problem::TooMany)?;
    let agent = agent::words(&headers);
    let welcome = console
        .sign_in
        .accept_code(&console.pool, &link(&token)?, &form.ceremony, &form.code, &agent, console.now())
        .await;
    match welcome {
        Ok(welcome) => Ok(welcomed(&welcome)),
        Err(EnrolmentError::WrongCode(scanning)) => {
            let form = scan::form(&scanning, &format!("/invitation/{token}/code"), &html! {}, true)?;
            let page = layout::alone("Your authenticator app", None, &form);
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn welcomed(welcome: &Welcome) -> Response {
    recovery_codes::page(&welcome.recovery_codes, signed_in::cookie(&welcome.session), "/")
}

impl From<EnrolmentError> for Problem {
    fn from(error: EnrolmentError) -> Self {
        match error {
            EnrolmentError::Database(error)
            | EnrolmentError::Password(PasswordError::Database(error))
            | EnrolmentError::Passkey(PasskeyError::Database(error))
            | EnrolmentError::Ceremony(CeremonyError::Database(error)) => Self::Database(error),
            gone @ EnrolmentError::NoInvitation => {
                let what = gone.to_string();
                Self::Gone(format!(
                    "{}: `amzigo staff invite` or the page of people makes one.",
                    capital(&what)
                ))
            }
            EnrolmentError::Password(PasswordError::Hashing(HashingError::Busy)) => {
                Self::TooMany(std::time::Duration::from_secs(2))
            }
            broken @ (EnrolmentError::Authenticator(_)
            | EnrolmentError::Password(PasswordError::Hashing(_))) => Self::Broken(broken.into()),
            told => Self::Conflict(format!("{}.", capital(&told.to_string()))),
        }
    }
}

/// A sentence begins with a capital letter.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
