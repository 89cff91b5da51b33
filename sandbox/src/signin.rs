//! Login with Amazon: trades refresh tokens and client credentials for access tokens that expire.
//!
//! Asking again is safe: every answer is a new access token, and the old ones stay good until they expire. First
//! authorisations (`authorization_code`) are not offered; sellers are authorised by seeding.

use crate::answer::Answer;
use crate::pace::{AmazonTime, Pace};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::collections::HashMap;
use uuid::Uuid;

const ACCESS_TOKEN_LIFE_SECONDS: f64 = 3600.0;
/// For how long an expired token is still recognised as such instead of as one that never was.
const REMEMBERED_SECONDS: f64 = 24.0 * 3600.0;
const NOTIFICATIONS: &str = "sellingpartnerapi::notifications";
const SCOPES: [&str; 2] = [NOTIFICATIONS, "sellingpartnerapi::client_credential:rotation"];

/// What a client sends to be signed in.
#[derive(Clone, Debug, Default)]
pub(crate) struct SignInForm {
    fields: HashMap<String, String>,
}

impl SignInForm {
    /// Reads a form, or the JSON that Amazon's own libraries send. What is neither reads as an empty form.
    pub(crate) fn parse(content_type: &str, body: &[u8]) -> SignInForm {
        if !content_type.starts_with("application/json") {
            return SignInForm { fields: url::form_urlencoded::parse(body).into_owned().collect() };
        }
        let text = |(name, value): (String, Value)| value.as_str().map(|value| (name, value.to_owned()));
        let object: serde_json::Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        SignInForm { fields: object.into_iter().filter_map(text).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// For whom an access token speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bearer {
    /// For a seller, by id.
    Seller(String),
    /// For the application itself, within a scope.
    Application(String),
}

impl Bearer {
    fn seller(&self) -> Option<&str> {
        match self {
            Bearer::Seller(seller) => Some(seller),
            Bearer::Application(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Grant {
    bearer: Bearer,
    ends: AmazonTime,
}

/// Whose call it is, or why it is nobody's; the text goes into `details` of a 403.
pub(crate) type Caller<'a> = Result<&'a str, &'static str>;

/// The application's credentials and every token that was given out.
#[derive(Debug)]
pub(crate) struct SignIn {
    client_id: String,
    client_secret: String,
    sellers_by_refresh_token: HashMap<String, String>,
    grants: HashMap<String, Grant>,
    tokens_issued: u64,
}

impl SignIn {
    /// Nobody is authorised yet.
    pub(crate) fn new(client_id: String, client_secret: String) -> SignIn {
        SignIn {
            client_id,
            client_secret,
            sellers_by_refresh_token: HashMap::new(),
            grants: HashMap::new(),
            tokens_issued: 0,
        }
    }

    /// The application's id.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The application's secret.
    pub(crate) fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// Replaces the application's secret; the old one is wrong from now on.
    pub(crate) fn set_client_secret(&mut self, secret: String) {
        self.client_secret = secret;
    }

    /// How many access tokens were given out.
    pub(crate) fn tokens_issued(&self) -> u64 {
        self.tokens_issued
    }

    /// Records that a seller authorised the application.
    pub(crate) fn authorise(&mut self, refresh_token: String, seller: &str) {
        self.sellers_by_refresh_token.insert(refresh_token, seller.to_owned());
    }

    /// Takes a seller's authorisation back: its refresh tokens and its access tokens are void.
    pub(crate) fn revoke(&mut self, seller: &str) {
        self.sellers_by_refresh_token.retain(|_, owner| owner != seller);
        self.grants.retain(|_, grant| grant.bearer.seller() != Some(seller));
    }

    /// The seller a form speaks for, if it is authorised.
    pub(crate) fn seller_of_form(&self, form: &SignInForm) -> Option<&str> {
        self.sellers_by_refresh_token.get(form.get("refresh_token")?).map(String::as_str)
    }

    /// The seller of an access token, even of an expired one.
    pub(crate) fn seller_of_token(&self, token: &str) -> Option<&str> {
        self.grants.get(token)?.bearer.seller()
    }

    /// Which seller may call with this access token.
    pub(crate) fn caller(&self, token: Option<&str>, at: AmazonTime) -> Caller<'_> {
        let bearer = self.bearer(token, at)?;
        bearer.seller().ok_or("The access token you provided does not belong to a selling partner.")
    }

    /// Whether the application may call with this access token about notifications, or why not.
    pub(crate) fn application(&self, token: Option<&str>, at: AmazonTime) -> Result<(), &'static str> {
        match self.bearer(token, at)? {
            Bearer::Application(scope) if scope == NOTIFICATIONS => Ok(()),
            _ => Err("The access token you provided does not have the required scope."),
        }
    }

    fn bearer(&self, token: Option<&str>, at: AmazonTime) -> Result<&Bearer, &'static str> {
        let token = token.ok_or("Access token is missing in the request header.")?;
        let unknown = "The access token you provided is revoked, malformed or invalid.";
        let grant = self.grants.get(token).ok_or(unknown)?;
        if grant.ends <= at {
            return Err("The access token you provided has expired.");
        }
        Ok(&grant.bearer)
    }

    /// Answers a request for an access token.
    pub(crate) fn answer(&mut self, form: &SignInForm, pace: &Pace, now: DateTime<Utc>) -> Answer {
        match self.grant(form) {
            Ok(bearer) => self.issue(bearer, form, pace, now),
            Err(refusal) => Answer::sign_in_error(refusal.status(), refusal.error(), &refusal.description()),
        }
    }

    fn grant(&self, form: &SignInForm) -> Result<Bearer, Refusal> {
        let required = |name: &'static str| form.get(name).ok_or(Refusal::Missing(name));
        let grant_type = required("grant_type")?;
        if (required("client_id")?, required("client_secret")?) != (&self.client_id, &self.client_secret) {
            return Err(Refusal::WrongClient);
        }
        match grant_type {
            "refresh_token" if form.get("scope").is_some() => Err(Refusal::ScopeAndRefreshToken),
            "refresh_token" => {
                let token = required("refresh_token")?;
                let seller = self.sellers_by_refresh_token.get(token).cloned();
                seller.map(Bearer::Seller).ok_or(Refusal::NotAuthorised)
            }
            "client_credentials" => {
                let scope = required("scope")?;
                let known = SCOPES.contains(&scope).then(|| Bearer::Application(scope.to_owned()));
                known.ok_or(Refusal::UnknownScope)
            }
            _ => Err(Refusal::UnknownGrantType),
        }
    }

    fn issue(&mut self, bearer: Bearer, form: &SignInForm, pace: &Pace, now: DateTime<Utc>) -> Answer {
        let at = pace.at(now);
        self.grants.retain(|_, grant| grant.ends.plus_seconds(REMEMBERED_SECONDS) > at);
        let life = pace.lifetime(now, ACCESS_TOKEN_LIFE_SECONDS);
        let access_token = format!("Atza|{}", Uuid::new_v4().simple());
        self.grants.insert(access_token.clone(), Grant { bearer: bearer.clone(), ends: life.ends });
        self.tokens_issued += 1;
        let mut body = json!({
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": life.wall_seconds,
        });
        if let (Bearer::Seller(_), Some(refresh_token)) = (bearer, form.get("refresh_token")) {
            body["refresh_token"] = json!(refresh_token);
        }
        Answer::json(StatusCode::OK, &body).not_stored()
    }
}

/// Why nobody was signed in.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Missing(&'static str),
    WrongClient,
    NotAuthorised,
    ScopeAndRefreshToken,
    UnknownScope,
    UnknownGrantType,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Refusal::WrongClient => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error(self) -> &'static str {
        match self {
            Refusal::WrongClient => "invalid_client",
            Refusal::NotAuthorised => "invalid_grant",
            Refusal::UnknownScope => "invalid_scope",
            Refusal::Missing(_) | Refusal::ScopeAndRefreshToken | Refusal::UnknownGrantType => {
                "invalid_request"
            }
        }
    }

    fn description(self) -> String {
        match self {
            Refusal::Missing(name) => format!("The request is missing a required parameter : {name}"),
            Refusal::WrongClient => "Client authentication failed".to_owned(),
            Refusal::NotAuthorised => "The request has an invalid grant parameter : refresh_token. User may \
                                       have revoked or didn't grant the permission."
                .to_owned(),
            Refusal::ScopeAndRefreshToken => {
                "The request has parameters that exclude each other : scope, refresh_token".to_owned()
            }
            Refusal::UnknownScope => "The request has an invalid scope parameter : scope".to_owned(),
            Refusal::UnknownGrantType => "The request has an invalid parameter : grant_type".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    const REFRESH: &str = "grant_type=refresh_token&refresh_token=Atzr%7Cone&client_id=app&client_secret=key";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    fn sign_in() -> SignIn {
        let mut sign_in = SignIn::new("app".to_owned(), "key".to_owned());
        sign_in.authorise("Atzr|one".to_owned(), "A1");
        sign_in
    }

    fn ask(sign_in: &mut SignIn, form: &str) -> (u16, Value) {
        let form = SignInForm::parse("application/x-www-form-urlencoded;charset=UTF-8", form.as_bytes());
        let answer = sign_in.answer(&form, &Pace::new(now(), 1.0), now());
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).expect("the answer is JSON"))
    }

    #[test]
    fn an_access_token_is_its_sellers_for_an_hour() {
        let mut sign_in = sign_in();
        let (status, body) = ask(&mut sign_in, REFRESH);
        assert_eq!(status, 200);
        assert_eq!(body["token_type"], "bearer");
        assert_eq!(body["expires_in"], 3600);
        assert_eq!(body["refresh_token"], "Atzr|one");
        let token = body["access_token"].as_str().expect("a token");
        assert!(token.starts_with("Atza|"));

        let pace = Pace::new(now(), 1.0);
        let last_second = pace.at(now() + TimeDelta::seconds(3599));
        assert_eq!(sign_in.caller(Some(token), last_second), Ok("A1"));
        let expired = pace.at(now() + TimeDelta::seconds(3600));
        assert_eq!(sign_in.caller(Some(token), expired), Err("The access token you provided has expired."));
        assert_eq!(sign_in.caller(None, expired), Err("Access token is missing in the request header."));
    }

    #[test]
    fn json_is_as_good_as_a_form() {
        let form = SignInForm::parse(
            "application/json; charset=utf-8",
            br#"{"grant_type":"refresh_token","refresh_token":"Atzr|one","client_id":"app","client_secret":"key"}"#,
        );
        assert_eq!(sign_in().answer(&form, &Pace::new(now(), 1.0), now()).status, StatusCode::OK);
    }

    #[test]
    fn each_refusal_has_amazons_code() {
        let client = "client_id=app&client_secret=key";
        for (form, status, error) in [
            (REFRESH.replace("key", "wrong"), 401, "invalid_client"),
            (REFRESH.replace("one", "other"), 400, "invalid_grant"),
            (format!("{REFRESH}&scope=sellingpartnerapi::notifications"), 400, "invalid_request"),
            (format!("grant_type=refresh_token&{client}"), 400, "invalid_request"),
            (format!("grant_type=password&{client}"), 400, "invalid_request"),
            (format!("grant_type=client_credentials&scope=everything&{client}"), 400, "invalid_scope"),
            (client.to_owned(), 400, "invalid_request"),
            (String::new(), 400, "invalid_request"),
        ] {
            let (actual, body) = ask(&mut sign_in(), &form);
            assert_eq!((actual, body["error"].as_str()), (status, Some(error)), "{form}");
            assert!(body["error_description"].is_string(), "{form}");
        }
    }

    #[test]
    fn a_grantless_token_speaks_for_no_seller() {
        let mut sign_in = sign_in();
        let (status, body) = ask(
            &mut sign_in,
            "grant_type=client_credentials&scope=sellingpartnerapi::notifications&client_id=app&client_secret=key",
        );
        assert_eq!(status, 200);
        assert!(body.get("refresh_token").is_none());
        let at = Pace::new(now(), 1.0).at(now());
        let token = body["access_token"].as_str();
        assert!(sign_in.caller(token, at).is_err());
        assert_eq!(sign_in.application(token, at), Ok(()));
        let (_, body) = ask(&mut sign_in, REFRESH);
        assert!(sign_in.application(body["access_token"].as_str(), at).is_err(), "a seller's token");
    }

    #[test]
    fn revoking_voids_both_kinds_of_token() {
        let mut sign_in = sign_in();
        let (_, body) = ask(&mut sign_in, REFRESH);
        sign_in.revoke("A1");
        let at = Pace::new(now(), 1.0).at(now());
        assert_eq!(
            sign_in.caller(body["access_token"].as_str(), at),
            Err("The access token you provided is revoked, malformed or invalid.")
        );
        let (status, body) = ask(&mut sign_in, REFRESH);
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")));
    }
}
