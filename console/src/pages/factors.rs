//! What somebody who is signed in changes about how they sign in: passkeys, the password with its app, recovery codes. Each
//! asks for a factor given lately, ends the person's other sessions, and is in the audit log.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::{
    access::Rule,
    auth::{
        Permission, Person, agent,
        enrolment::EnrolmentError,
        factors::{self, Factors, PasskeyId, RemoveError},
        passkeys::Answer,
        passwords::{self, PasswordError},
        recovery, session, sign_in, tries,
    },
    console::Console,
    pages::{
        Problem,
        acting::done,
        fields::Fields,
        invitation::capital,
        layout, parts,
        passkey_form::{self, Wanted},
        recovery_codes, scan, second_factor,
    },
    routes::Routes,
};

/// The page that these lead back to.
const ACCOUNT: &str = "/account";

pub(super) fn add(routes: Routes) -> Routes {
    let own = Rule::SteppedUp(Permission::View);
    routes
        .post("/account/passkeys/options", Rule::Staff(Permission::View), passkey_options)
        .post("/account/passkeys", own, add_passkey)
        .post("/account/passkeys/{id}/remove", own, remove_passkey)
        .post("/account/password", own, password)
        .post("/account/authenticator/new", own, new_authenticator)
        .post("/account/authenticator", own, authenticator)
        .post("/account/recovery-codes", own, new_recovery_codes)
}

/// What a person can prove who they are with, and the buttons that change it. Part of the account page.
///
/// # Errors
/// When the database fails.
pub(super) async fn section(console: &Console, person: &Person) -> Result<Markup, sqlx::Error> {
    let factors = factors::of(&mut *console.pool.acquire().await?, person.staff).await?;
    let csrf = html! { input type="hidden" name="csrf" value=(person.csrf.text()); };
    Ok(html! {
        script src="/sign_in.js" defer {}
        section #passkeys { h2 { "Passkeys" } (passkeys(console, &factors, &csrf)) }
        section #password { h2 { "Password and authenticator app" } (password_part(console, &factors, &csrf)) }
        section #recovery-codes {
            h2 { "Recovery codes" }
            p { (factors.recovery_codes) " of " (recovery::HOW_MANY) " are good. With your password, one stands in for the app." }
            form method="post" action="/account/recovery-codes" {
                (csrf)
                button { "Make new ones" }
            }
            p.note { "The old ones end." }
        }
    })
}

fn passkeys(console: &Console, factors: &Factors, csrf: &Markup) -> Markup {
    html! {
        @if factors.passkeys.is_empty() { p.empty { "None. A passkey is safer than a password, and quicker." } }
        @else {
            div.scroll { table {
                thead { tr { th { "passkey" } th { "enrolled" } th { "last used" } th {} } }
                tbody { @for passkey in &factors.passkeys { tr {
                    th scope="row" { (passkey.label) }
                    td { (parts::moment(passkey.created_at)) }
                    td { @match passkey.last_used_at { Some(at) => (parts::moment(at)), None => span.none { "never" } } }
                    td { form method="post" action={ "/account/passkeys/" (passkey.id) "/remove" } {
                        (csrf)
                        button.danger { "Remove" }
                    } }
                } } }
            } }
        }
        @if console.sign_in.passkeys.is_some() {
            // Open, it keeps the page as it is: a device may take its time.
            details.act {
                summary.button { "Add a passkey" }
                form method="post" action="/account/passkeys" {
                    (csrf)
                    label { "What to call it" input name="label" maxlength="60" placeholder="as in: the laptop, the key on my ring"; }
                    (passkey_form::part(Wanted::New, "/account/passkeys/options", "", "Ask the device"))
                }
            }
            @if factors.passkeys.len() == 1 { p.note { "Have a second one, on another device: a lost one then keeps you from nothing." } }
        }
    }
}

fn password_part(console: &Console, factors: &Factors, csrf: &Markup) -> Markup {
    if console.sign_in.keyring.is_none() {
        return html! { p.note { "Authenticator apps do not work here: the console was started without AMZIGO_KEYS." } };
    }
    html! {
        @match factors.password_set_at {
            Some(at) => p { "Your password is of " (parts::moment(at)) "; it ends after a year." },
            None => p { "You have no password. With passkeys you need none." },
        }
        details.act {
            summary.button { @if factors.password_set_at.is_some() { "Change the password" } @else { "Choose a password" } }
            form method="post" action="/account/password" {
                (csrf)
                @if factors.password_set_at.is_some() {
                    label { "Present password" input type="password" name="present" required autocomplete="current-password" maxlength="1000"; }
                }
                label { "New password" input type="password" name="password" required autocomplete="new-password" maxlength="1000"; }
                label { "The same again" input type="password" name="again" required autocomplete="new-password" maxlength="1000"; }
                (second_factor::rules())
                button { "Set the password" }
            }
        }
        @if factors.password_set_at.is_some() {
            form method="post" action="/account/authenticator/new" {
                (csrf)
                button { "Use another authenticator app" }
            }
        }
    }
}

async fn passkey_options(State(console): State<Console>, person: Person) -> Result<Response, Problem> {
    let mut transaction = console.pool.begin().await?;
    let begun =
        console.sign_in.ask_new_passkey(&mut transaction, person.staff, &person.name, console.now()).await?;
    transaction.commit().await?;
    Ok(Json(begun).into_response())
}

#[derive(Deserialize)]
struct NewPasskey {
    #[serde(flatten)]
    answer: Answer,
    #[serde(default)]
    label: String,
}

async fn add_passkey(
    State(console): State<Console>,
    person: Person,
    headers: HeaderMap,
    Fields(form): Fields<NewPasskey>,
) -> Result<Response, Problem> {
    let passkeys = console.sign_in.passkeys.as_ref();
    let passkeys = passkeys.ok_or(EnrolmentError::Passkey(crate::auth::passkeys::PasskeyError::Absent))?;
    let label: String = form.label.trim().chars().take(60).filter(|letter| !letter.is_control()).collect();
    let label = if label.is_empty() || label.len() > 100 { agent::words(&headers) } else { label };
    let mut transaction = console.pool.begin().await?;
    passkeys
        .finish_enrolment(&mut transaction, person.staff, &form.answer, &label, console.now())
        .await
        .map_err(EnrolmentError::from)?;
    changed(&console, &mut transaction, &person, "enrolled another passkey").await?;
    transaction.commit().await?;
    Ok(done(ACCOUNT, "The passkey is enrolled. Your other sessions have ended."))
}

async fn remove_passkey(
    State(console): State<Console>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: PasskeyId = id.parse().map_err(Problem::Address)?;
    let mut transaction = console.pool.begin().await?;
    match factors::remove_passkey(&mut transaction, person.staff, id).await {
        Ok(()) => {}
        Err(RemoveError::Database(error)) => return Err(error.into()),
        Err(told) => return Err(Problem::Conflict(format!("{}.", capital(&told.to_string())))),
    }
    changed(&console, &mut transaction, &person, "removed a passkey").await?;
    transaction.commit().await?;
    Ok(done(ACCOUNT, "The passkey is removed. Your other sessions have ended."))
}

#[derive(Deserialize)]
struct Password {
    #[serde(default)]
    present: String,
    password: String,
    again: String,
}

async fn password(
    State(console): State<Console>,
    person: Person,
    Fields(form): Fields<Password>,
) -> Result<Response, Problem> {
    let told = |error: PasswordError| match EnrolmentError::Password(error).into() {
        Problem::Conflict(what) => Problem::Conflict(format!("{what} Go back and choose another one.")),
        other => other,
    };
    if form.password != form.again {
        return Err(Problem::Address(
            "The two passwords are not the same. Go back and repeat it.".to_owned(),
        ));
    }
    let now = console.now();
    let mut connection = console.pool.acquire().await?;
    if let Some(held) = passwords::held(&mut connection, person.staff).await? {
        if let Some(until) = held.too_young_until(now) {
            return Err(told(PasswordError::TooEarly(until)));
        }
        let counted = tries::count(&mut connection, person.staff, tries::Credential::Password, now).await?;
        let right = console.sign_in.hashing.is_right(&form.present, Some(held.hash)).await;
        if counted == tries::Try::Refused || !right.map_err(|error| told(error.into()))? {
            return Err(told(PasswordError::Wrong));
        }
    }
    let hashing = &console.sign_in.hashing;
    let hash = passwords::prepare(&mut connection, hashing, person.staff, &person.name, &form.password)
        .await
        .map_err(told)?;
    if factors::of(&mut connection, person.staff).await?.authenticator_since.is_none() {
        return show_secret(&console, &mut connection, &person, Some(hash)).await;
    }
    drop(connection);
    let mut transaction = console.pool.begin().await?;
    tries::clear(&mut transaction, person.staff, tries::Credential::Password).await?;
    passwords::set(&mut transaction, person.staff, &hash, now).await?;
    changed(&console, &mut transaction, &person, "changed the password").await?;
    transaction.commit().await?;
    Ok(done(ACCOUNT, "The password is changed. Your other sessions have ended."))
}

async fn new_authenticator(State(console): State<Console>, person: Person) -> Result<Response, Problem> {
    let mut connection = console.pool.acquire().await?;
    show_secret(&console, &mut connection, &person, None).await
}

async fn show_secret(
    console: &Console,
    connection: &mut PgConnection,
    person: &Person,
    password_hash: Option<String>,
) -> Result<Response, Problem> {
    let scanning =
        console.sign_in.scan(connection, person.staff, &person.name, password_hash, console.now()).await?;
    let csrf = html! { input type="hidden" name="csrf" value=(person.csrf.text()); };
    let form = scan::form(&scanning, "/account/authenticator", &csrf, false)?;
    Ok(layout::alone("Your authenticator app", Some(person), &form).into_response())
}

#[derive(Deserialize)]
struct Code {
    ceremony: String,
    code: String,
}

async fn authenticator(
    State(console): State<Console>,
    person: Person,
    Fields(form): Fields<Code>,
) -> Result<Response, Problem> {
    let now = console.now();
    let mut connection = console.pool.acquire().await?;
    let enrols = console
        .sign_in
        .read_code(&mut connection, person.staff, &person.name, &form.ceremony, &form.code, now)
        .await;
    drop(connection);
    let enrols = match enrols {
        Ok(enrols) => enrols,
        Err(EnrolmentError::WrongCode(scanning)) => {
            let csrf = html! { input type="hidden" name="csrf" value=(person.csrf.text()); };
            let form = scan::form(&scanning, "/account/authenticator", &csrf, true)?;
            let page = layout::alone("Your authenticator app", Some(&person), &form);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let mut transaction = console.pool.begin().await?;
    enrols.write(&mut transaction, person.staff, now).await?;
    changed(&console, &mut transaction, &person, "enrolled an authenticator app").await?;
    transaction.commit().await?;
    Ok(done(ACCOUNT, "The app is enrolled. Your other sessions have ended."))
}

async fn new_recovery_codes(State(console): State<Console>, person: Person) -> Result<Response, Problem> {
    let mut transaction = console.pool.begin().await?;
    let codes = recovery::make(&mut transaction, person.staff, console.now()).await?;
    changed(&console, &mut transaction, &person, "made new recovery codes").await?;
    transaction.commit().await?;
    // Nothing to set: the session goes on.
    let no_header = [(header::CACHE_CONTROL, "no-store".to_owned())];
    Ok(recovery_codes::page(&codes, no_header, ACCOUNT))
}

/// What belongs to every change of factors.
async fn changed(
    console: &Console,
    connection: &mut PgConnection,
    person: &Person,
    what: &str,
) -> Result<(), sqlx::Error> {
    let now = console.now();
    session::revoke_all(connection, person.staff, Some(person.session), now).await?;
    sign_in::record(connection, &person.name, "staff.factors", person.staff, what, now).await
}
