//! Login with Amazon: access tokens, cached for each seller until shortly before they expire, one refresh at a time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use reqwest::StatusCode;
use runtime::{
    retry::{Decision, Limits, retry},
    secret::{ExposeSecret, SecretString},
};
use serde::Deserialize;
use thiserror::Error;
use tokio::{sync::Mutex, time::Instant};

use crate::{config::AmazonSettings, store::sellers::SellerId};

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

/// The tokens of all sellers that this process serves.
#[derive(Debug, Default)]
pub struct Tokens {
    slots: Mutex<HashMap<SellerId, Slot>>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Tokens {
    /// The seller's token, from the cache or new. While one caller refreshes it, the others of that seller wait.
    ///
    /// # Errors
    /// When Amazon gives none.
    pub async fn get(
        &self,
        http: &reqwest::Client,
        settings: &AmazonSettings,
        seller: SellerId,
        refresh_token: &SecretString,
    ) -> Result<SecretString, AuthError> {
        let slot = self.slot(seller).await;
        let mut token = slot.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.refresh_at > Instant::now()) {
            return Ok(token.value.clone());
        }
        let asked_at = Instant::now();
        let limits = Limits { attempts: 3, total: Duration::from_secs(10), ..Limits::default() };
        let decide = |error: &AuthError| match error {
            AuthError::Unavailable(_) => Decision::Again,
            AuthError::GrantRefused | AuthError::OurCredentials => Decision::Stop,
        };
        let answer = retry(limits, decide, || ask(http, settings, refresh_token)).await?;
        let value = answer.access_token;
        *token = Some(Token { value: value.clone(), refresh_at: asked_at + usable(answer.expires_in) });
        Ok(value)
    }

    /// Forgets a token that Amazon says has expired, unless it has been replaced meanwhile.
    pub async fn forget(&self, seller: SellerId, expired: &SecretString) {
        let slot = self.slot(seller).await;
        let mut token = slot.lock().await;
        if token.as_ref().is_some_and(|token| token.value.expose_secret() == expired.expose_secret()) {
            *token = None;
        }
    }

    async fn slot(&self, seller: SellerId) -> Slot {
        Arc::clone(self.slots.lock().await.entry(seller).or_default())
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
    refresh_token: &SecretString,
) -> Result<TokenAnswer, AuthError> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token.expose_secret()),
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
    Err(refused(status, &body))
}

/// An unknown refusal is worth another attempt, and never taken for a revocation: that would disconnect a seller.
fn refused(status: StatusCode, body: &[u8]) -> AuthError {
    let code = serde_json::from_slice::<TokenRefusal>(body).map(|refusal| refusal.error).unwrap_or_default();
    match code.as_str() {
        "invalid_grant" => AuthError::GrantRefused,
        "invalid_client" | "unauthorized_client" => AuthError::OurCredentials,
        _ => AuthError::Unavailable(format!("status {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Shop;

    #[test]
    fn only_clear_words_disconnect_a_seller_or_stop_us() {
        let refusal = |status: u16, code: &str| {
            let body = format!(r#"{{"error":"{code}","error_description":"x"}}"#);
            refused(StatusCode::from_u16(status).expect("a status"), body.as_bytes())
        };
        assert!(matches!(refusal(400, "invalid_grant"), AuthError::GrantRefused));
        assert!(matches!(refusal(401, "invalid_client"), AuthError::OurCredentials));
        assert!(matches!(refusal(401, "unauthorized_client"), AuthError::OurCredentials));
        assert!(matches!(refusal(503, "temporarily_unavailable"), AuthError::Unavailable(_)));
        assert!(matches!(refusal(400, "something_new"), AuthError::Unavailable(_)));
        assert!(matches!(refused(StatusCode::BAD_GATEWAY, b"<html>"), AuthError::Unavailable(_)));
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_it_expires() {
        let shop = Shop::with_orders(0).await;
        let http = reqwest::Client::builder().build().expect("TLS can be set up");
        let (tokens, refresh_token) = (Tokens::default(), shop.account.refresh_token.clone().into());
        let get = || tokens.get(&http, &shop.amazon, shop.seller, &refresh_token);
        let first = get().await.expect("the sign-in is well");
        let again = get().await.expect("the sign-in is well");
        assert_eq!(first.expose_secret(), again.expose_secret());
        // Time has come to the minute before; Amazon would still take it.
        let slot = tokens.slot(shop.seller).await;
        slot.lock().await.as_mut().expect("it is cached").refresh_at = Instant::now();
        let renewed = get().await.expect("the sign-in is well");
        assert_ne!(renewed.expose_secret(), first.expose_secret());
        assert_eq!(shop.sandbox.control().summary().tokens_issued, 2);
    }

    #[tokio::test]
    async fn a_token_that_was_replaced_meanwhile_is_not_forgotten() {
        let tokens = Tokens::default();
        let seller = SellerId::new();
        let fresh = Token { value: "fresh".into(), refresh_at: Instant::now() };
        *tokens.slot(seller).await.lock().await = Some(fresh);
        tokens.forget(seller, &"expired".into()).await;
        assert!(tokens.slot(seller).await.lock().await.is_some());
        tokens.forget(seller, &"fresh".into()).await;
        assert!(tokens.slot(seller).await.lock().await.is_none());
    }

    #[test]
    fn tokens_are_renewed_before_they_expire() {
        assert_eq!(usable(3_600), Duration::from_secs(3_540));
        assert_eq!(usable(10), Duration::from_secs(8));
        assert_eq!(usable(0), Duration::ZERO);
    }
}
