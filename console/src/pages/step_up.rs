//! Giving a factor again, inline: the page asks for a code or a passkey and carries the form that was sent, so that giving it
//! does what was asked. Nothing is lost, and nothing is done before.

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::html;
use serde::Deserialize;
use url::form_urlencoded;

use crate::{
    access::MAX_FORM_BYTES,
    auth::{Person, factors, passkeys::Answer, sign_in::SignInError},
    console::Console,
    pages::{
        Problem,
        fields::Fields,
        invitation::capital,
        layout,
        passkey_form::{self, Wanted},
        signed_in,
    },
};

/// What the fields of this page are called, beside those of the form that it carries.
const PREFIX: &str = "step_up_";
const FORM: &str = "application/x-www-form-urlencoded";

/// The form that was sent, in its order.
type Pairs = Vec<(String, String)>;

/// Lets a request pass that brings a factor; else answers with the page that asks for one. In a demo, whoever came by its link
/// and has enrolled nothing has nothing that could be asked for.
pub(crate) async fn ask(console: &Console, person: &Person, request: Request) -> Result<Request, Response> {
    let can = match Can::of(console, person).await {
        Ok(can) => can,
        Err(error) => return Err(Problem::Database(error).into_response()),
    };
    if console.demo.is_some() && !can.passkey && !can.code {
        return Ok(request);
    }
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(FORM.as_bytes()));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if request.method() == Method::GET {
        let fields = vec![("csrf".to_owned(), person.csrf.text()), ("to".to_owned(), path)];
        return Err(page(can, person, "/step-up", &fields, None));
    }
    if !is_form {
        return Err(Problem::StepUp.into_response());
    }
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| Problem::TooLarge.into_response())?;
    let (ours, theirs): (Pairs, Pairs) =
        form_urlencoded::parse(&bytes).into_owned().partition(|(name, _)| name.starts_with(PREFIX));
    match accept(console, person, &ours).await {
        Some(Ok(())) => {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&theirs).finish();
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            Ok(Request::from_parts(parts, Body::from(body)))
        }
        None => Err(page(can, person, &path, &theirs, None)),
        Some(Err(SignInError::Refused)) => {
            let why = "The code was not accepted. It counts once: wait for the next one.";
            Err(page(can, person, &path, &theirs, Some(why)))
        }
        Some(Err(SignInError::Passkey(error))) => {
            let why = format!("{}.", capital(&error.to_string()));
            Err(page(can, person, &path, &theirs, Some(&why)))
        }
        Some(Err(error)) => Err(Problem::from(error).into_response()),
    }
}

/// What somebody can be asked for here.
#[derive(Debug, Clone, Copy)]
struct Can {
    passkey: bool,
    code: bool,
}

impl Can {
    async fn of(console: &Console, person: &Person) -> Result<Self, sqlx::Error> {
        let factors = factors::of(&mut *console.pool.acquire().await?, person.staff).await?;
        Ok(Self {
            passkey: !factors.passkeys.is_empty() && console.sign_in.passkeys.is_some(),
            code: factors.authenticator_since.is_some() && console.sign_in.keyring.is_some(),
        })
    }
}

/// Judges the factor that a form brings; `None` when it brings none.
async fn accept(console: &Console, person: &Person, ours: &Pairs) -> Option<Result<(), SignInError>> {
    let field = |name: &str| {
        let found = ours.iter().find(|(key, _)| key.strip_prefix(PREFIX) == Some(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    let now = console.now();
    if let (Some(ceremony), Some(credential)) = (field("ceremony"), field("credential")) {
        let answer = Answer { ceremony, credential };
        return Some(console.sign_in.passkey_again(&console.pool, person, &answer, now).await);
    }
    let code = field("code")?;
    Some(console.sign_in.code_again(&console.pool, person, &code, now).await)
}

fn page(can: Can, person: &Person, action: &str, fields: &Pairs, wrong: Option<&str>) -> Response {
    let Can { passkey, code } = can;
    let content = html! {
        p { "This is dangerous, and it is more than ten minutes since you last proved who you are. Prove it again; then what you asked \
             for is done, as you filled it in." }
        form method="post" action=(action) {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
            @if passkey { (passkey_form::part(Wanted::Proof, "/step-up/passkey/options", PREFIX, "Use your passkey")) }
            @if code {
                label { "Code of your authenticator app"
                    input name={ (PREFIX) "code" } inputmode="numeric" autocomplete="one-time-code" maxlength="7" autofocus; }
                button { "Confirm and go on" }
            }
            @if !passkey && !code { p.note { "You have neither a passkey nor an app that works here; ask an admin for a new invitation." } }
        }
        p { a href="/" { "Do nothing, and go to the overview" } }
    };
    (StatusCode::FORBIDDEN, layout::alone("Confirm that it is you", Some(person), &content)).into_response()
}

/// Asks for one of the person's passkeys.
pub(super) async fn passkey_options(
    State(console): State<Console>,
    person: Person,
) -> Result<Response, Problem> {
    Ok(Json(console.sign_in.ask_passkey_again(&console.pool, &person, console.now()).await?).into_response())
}

#[derive(Deserialize)]
pub(super) struct To {
    to: Option<String>,
}

/// Leads on to the page that needed the factor.
pub(super) async fn done(State(console): State<Console>, Fields(form): Fields<To>) -> Redirect {
    Redirect::to(&signed_in::ours(&console.origin, form.to.as_deref()))
}
