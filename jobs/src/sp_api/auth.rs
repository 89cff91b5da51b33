//! Login with Amazon: access tokens of sellers and of our application itself, cached until shortly before they expire, one
//! refresh of each at a time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use runtime::{
    clock::Clock,
    retry::{Decision, Limits, retry},
    secret::{ExposeSecret, SecretString},
};
use serde::Deserialize;
use thiserror::Error;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    config::AmazonSettings,
    sp_api::credentials::{Credentials, Way},
    store::sellers::SellerId,
};

/// Why there is no token.
#[derive(Debug, Error)]
pub enum AuthError {
    /// This seller took the authorisation back, or it ran out.
    #[error("Amazon no longer accepts the seller's authorisation; the seller must connect again")]
    GrantRefused,
    /// Our own credentials are wrong: no seller can be served.
    #[error(
        "Amazon no longer accepts our application's credentials; check LWA_CLIENT_ID and LWA_CLIENT_SECRET"
    )]
    OurCredentials,
    /// As above, and found out before: calls rest.
    #[error("calls rest until {until}: Amazon does not accept our application's credentials")]
    Resting {
        /// When to ask again.
        until: DateTime<Utc>,
    },
    /// Our application may not have this scope.
    #[error(
        "Amazon does not give our application the scope {scope}; check its roles in Amazon's developer console"
    )]
    ScopeRefused {
        /// The scope.
        scope: &'static str,
    },
    /// Login with Amazon failed or did not answer.
    #[error("Login with Amazon did not answer properly ({0})")]
    Unavailable(String),
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    expires_in: u64,
}

#[derive(Deserialize)]
struct TokenRefusal {
    #[serde(default)]
    error: String,
}

#[derive(Clone)]
struct Token {
    value: SecretString,
    refresh_at: Instant,
}

type Slot = Arc<Mutex<Option<Token>>>;

/// What a token is asked for with.
#[derive(Debug, Clone, Copy)]
pub enum Authorisation<'a> {
    /// A seller's.
    Seller(SellerId, &'a SecretString),
    /// Our application's own, for a scope.
    Application(&'static str),
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Seller(SellerId),
    Application(&'static str),
}

/// The tokens of all sellers that this process serves, and of our application.
#[derive(Debug)]
pub struct Tokens {
    http: reqwest::Client,
    settings: AmazonSettings,
    clock: Arc<dyn Clock>,
    credentials: Credentials,
    slots: Mutex<HashMap<Owner, Slot>>,
}

impl Authorisation<'_> {
    const fn owner(self) -> Owner {
        match self {
            Self::Seller(seller, _) => Owner::Seller(seller),
            Self::Application(scope) => Owner::Application(scope),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Tokens {
    /// No tokens yet.
    #[must_use]
    pub fn new(http: reqwest::Client, settings: AmazonSettings, clock: Arc<dyn Clock>) -> Self {
        Self { http, settings, clock, credentials: Credentials::default(), slots: Mutex::default() }
    }

    /// Whether calls may leave at all.
    ///
    /// # Errors
    /// [`AuthError::Resting`] while Amazon refuses our credentials.
    pub fn ask(&self) -> Result<(), AuthError> {
        let closed = self.credentials.closed_until(self.clock.now());
        closed.map_or(Ok(()), |until| Err(AuthError::Resting { until }))
    }

    /// The token, from the cache or new. While one caller refreshes it, the others who need the same one wait.
    ///
    /// # Errors
    /// When Amazon gives none, or while our credentials are refused.
    pub async fn get(&self, authorisation: Authorisation<'_>) -> Result<SecretString, AuthError> {
        let slot = self.slot(authorisation).await;
        let mut token = slot.lock().await;
        let way = self.credentials.ask(self.clock.now());
        if let Way::Closed(until) = way {
            return Err(AuthError::Resting { until });
        }
        let kept = token.as_ref().filter(|token| token.refresh_at > Instant::now());
        if let (Some(token), Way::Open) = (kept, way) {
            return Ok(token.value.clone());
        }
        let asked_at = Instant::now();
        let limits = Limits { attempts: 3, total: Duration::from_secs(10), ..Limits::default() };
        let decide = |error: &AuthError| match error {
            AuthError::Unavailable(_) => Decision::Again,
            _ => Decision::Stop,
        };
        let answer = retry(limits, decide, || ask(&self.http, &self.settings, authorisation)).await;
        self.learn(&answer, way);
        let answer = answer?;
        let value = answer.access_token;
        *token = Some(Token { value: value.clone(), refresh_at: asked_at + usable(answer.expires_in) });
        Ok(value)
    }

    /// What a sign-in tells about our credentials: whoever is refused for another reason has shown them.
    fn learn(&self, answer: &Result<TokenAnswer, AuthError>, way: Way) {
        match answer {
            Ok(_) | Err(AuthError::GrantRefused) => self.credentials.taken(),
            Err(AuthError::OurCredentials) => self.credentials.refused(way, self.clock.now()),
            Err(_) => {}
        }
    }

    /// Forgets a token that Amazon says has expired, unless it has been replaced meanwhile.
    pub async fn forget(&self, authorisation: Authorisation<'_>, expired: &SecretString) {
        let slot = self.slot(authorisation).await;
        let mut token = slot.lock().await;
        if token.as_ref().is_some_and(|token| token.value.expose_secret() == expired.expose_secret()) {
            *token = None;
        }
    }

    async fn slot(&self, authorisation: Authorisation<'_>) -> Slot {
        Arc::clone(self.slots.lock().await.entry(authorisation.owner()).or_default())
    }
}

/// How long a token is used: until a minute before it expires, or four fifths of a short life.
fn usable(expires_in_seconds: u64) -> Duration {
    let life = Duration::from_secs(expires_in_seconds);
    life.saturating_sub(Duration::from_secs(60).min(life / 5))
}

async fn ask(
    http: &reqwest::Client,
    settings: &AmazonSettings,
    authorisation: Authorisation<'_>,
) -> Result<TokenAnswer, AuthError> {
    let (grant_type, with) = match authorisation {
        Authorisation::Seller(_, refresh_token) => {
            ("refresh_token", ("refresh_token", refresh_token.expose_secret()))
        }
        Authorisation::Application(scope) => ("client_credentials", ("scope", scope)),
    };
    let form = [
        ("grant_type", grant_type),
        with,
        ("client_id", &settings.client_id),
        ("client_secret", settings.client_secret.expose_secret()),
    ];
    // The URL and body of the request must not get into an error's text.
    let unavailable = |error: reqwest::Error| AuthError::Unavailable(error.without_url().to_string());
    let response = http.post(settings.token_url.clone()).form(&form).send().await.map_err(unavailable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unavailable)?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|_| AuthError::Unavailable("a token answer that does not parse".to_owned()));
    }
    Err(refused(authorisation, status, &body))
}

/// An unknown refusal is worth another attempt, and never taken for a revocation: that would disconnect a seller.
fn refused(authorisation: Authorisation<'_>, status: StatusCode, body: &[u8]) -> AuthError {
    let code = serde_json::from_slice::<TokenRefusal>(body).map(|refusal| refusal.error).unwrap_or_default();
    match (code.as_str(), authorisation) {
        ("invalid_client", _) | ("unauthorized_client", Authorisation::Seller(..)) => {
            AuthError::OurCredentials
        }
        ("invalid_grant", Authorisation::Seller(..)) => AuthError::GrantRefused,
        // Of our application's own sign-in these are about the scope: sellers can be served all the same.
        ("unauthorized_client" | "invalid_scope" | "access_denied", Authorisation::Application(scope)) => {
            AuthError::ScopeRefused { scope }
        }
        _ => AuthError::Unavailable(format!("status {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use runtime::clock::SystemClock;
    use sandbox::{Operation as Asked, SettingsChange};

    use super::*;
    use crate::{sp_api::credentials::TRIED_EVERY, testing::Shop};

    const NOTIFICATIONS: Authorisation<'static> =
        Authorisation::Application("sellingpartnerapi::notifications");

    fn tokens(shop: &Shop) -> Tokens {
        let http = reqwest::Client::builder().build().expect("TLS can be set up");
        Tokens::new(http, shop.amazon.clone(), Arc::clone(&shop.context.clock))
    }

    #[test]
    fn only_clear_words_disconnect_a_seller_or_stop_us() {
        let (id, token) = (SellerId::new(), "Atzr|planted".into());
        let refusal = |authorisation, status: u16, code: &str| {
            let body = format!(r#"{{"error":"{code}","error_description":"x"}}"#);
            refused(authorisation, StatusCode::from_u16(status).expect("a status"), body.as_bytes())
        };
        let seller = |status, code| refusal(Authorisation::Seller(id, &token), status, code);
        assert!(matches!(seller(400, "invalid_grant"), AuthError::GrantRefused));
        assert!(matches!(seller(401, "invalid_client"), AuthError::OurCredentials));
        assert!(matches!(seller(401, "unauthorized_client"), AuthError::OurCredentials));
        assert!(matches!(seller(503, "temporarily_unavailable"), AuthError::Unavailable(_)));
        assert!(matches!(seller(400, "something_new"), AuthError::Unavailable(_)));
        assert!(matches!(
            refused(NOTIFICATIONS, StatusCode::BAD_GATEWAY, b"<html>"),
            AuthError::Unavailable(_)
        ));
        let ours = |status, code| refusal(NOTIFICATIONS, status, code);
        assert!(matches!(ours(401, "invalid_client"), AuthError::OurCredentials));
        assert!(matches!(ours(400, "unauthorized_client"), AuthError::ScopeRefused { .. }));
        assert!(matches!(ours(400, "invalid_scope"), AuthError::ScopeRefused { .. }));
        assert!(matches!(ours(400, "invalid_grant"), AuthError::Unavailable(_)));
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_it_expires() {
        let shop = Shop::with_orders(0).await;
        let (tokens, refresh_token) = (tokens(&shop), shop.account.refresh_token.clone().into());
        for authorisation in [Authorisation::Seller(shop.seller, &refresh_token), NOTIFICATIONS] {
            let before = shop.sandbox.control().summary().tokens_issued;
            let get = || tokens.get(authorisation);
            let first = get().await.expect("the sign-in is well");
            let again = get().await.expect("the sign-in is well");
            assert_eq!(first.expose_secret(), again.expose_secret());
            // Time has come to the minute before; Amazon would still take it.
            let slot = tokens.slot(authorisation).await;
            slot.lock().await.as_mut().expect("it is cached").refresh_at = Instant::now();
            let renewed = get().await.expect("the sign-in is well");
            assert_ne!(renewed.expose_secret(), first.expose_secret());
            assert_eq!(shop.sandbox.control().summary().tokens_issued, before + 2);
        }
    }

    #[tokio::test]
    async fn a_token_that_was_replaced_meanwhile_is_not_forgotten() {
        let http = reqwest::Client::builder().build().expect("TLS can be set up");
        let settings = AmazonSettings {
            client_id: String::new(),
            client_secret: "".into(),
            token_url: "http://127.0.0.1:1".parse().expect("a URL"),
            endpoint: None,
            timeout: Duration::from_secs(1),
        };
        let tokens = Tokens::new(http, settings, Arc::new(SystemClock));
        let fresh = Token { value: "fresh".into(), refresh_at: Instant::now() };
        *tokens.slot(NOTIFICATIONS).await.lock().await = Some(fresh);
        tokens.forget(NOTIFICATIONS, &"expired".into()).await;
        assert!(tokens.slot(NOTIFICATIONS).await.lock().await.is_some());
        tokens.forget(NOTIFICATIONS, &"fresh".into()).await;
        assert!(tokens.slot(NOTIFICATIONS).await.lock().await.is_none());
    }

    #[tokio::test]
    async fn while_our_credentials_are_refused_nothing_leaves_but_one_trial_at_a_time() {
        let shop = Shop::with_orders(0).await;
        let (tokens, refresh_token) = (tokens(&shop), shop.account.refresh_token.clone().into());
        let seller = Authorisation::Seller(shop.seller, &refresh_token);
        let change = |secret: &str| {
            let change =
                SettingsChange { client_secret: Some(secret.to_owned()), ..SettingsChange::default() };
            shop.sandbox.control().change_settings(change).expect("it is a secret");
        };
        let asked = || shop.calls_of(Asked::Token).len();
        tokens.get(seller).await.expect("all is well");
        change("rotated");
        // The seller's token is still good; the next sign-in is somebody else's.
        assert!(matches!(tokens.get(NOTIFICATIONS).await, Err(AuthError::OurCredentials)));
        let before = asked();
        for authorisation in [seller, NOTIFICATIONS] {
            assert!(matches!(tokens.get(authorisation).await, Err(AuthError::Resting { .. })));
            assert!(matches!(tokens.ask(), Err(AuthError::Resting { .. })));
        }
        assert_eq!(asked(), before);
        shop.clock.advance(TRIED_EVERY);
        assert!(tokens.ask().is_ok());
        assert!(
            matches!(tokens.get(seller).await, Err(AuthError::OurCredentials)),
            "a token from before tells nothing"
        );
        assert!(matches!(tokens.get(seller).await, Err(AuthError::Resting { .. })));
        assert_eq!(asked(), before + 1);

        change(shop.amazon.client_secret.expose_secret());
        shop.clock.advance(TRIED_EVERY);
        tokens.get(seller).await.expect("they are right again");
        tokens.get(NOTIFICATIONS).await.expect("for all");
    }

    #[test]
    fn tokens_are_renewed_before_they_expire() {
        assert_eq!(usable(3_600), Duration::from_secs(3_540));
        assert_eq!(usable(10), Duration::from_secs(8));
        assert_eq!(usable(0), Duration::ZERO);
    }
}
