//! Settings of what we do, from the environment.

use std::time::Duration;

use runtime::{
    env::{EnvError, Environment, Variable},
    secret::SecretString,
};
use url::Url;

use crate::keyring::{Keyring, KeyringError};

/// The variables that workers and the console read beside those of every process.
pub const VARIABLES: &[Variable] = &[
    LWA_CLIENT_ID,
    LWA_CLIENT_SECRET,
    LWA_ENDPOINT,
    SP_API_ENDPOINT,
    SP_API_TIMEOUT,
    KEYS,
    SQS_QUEUE_URL,
    SQS_REGION,
    SQS_ENDPOINT,
];

/// Who we are at Login with Amazon.
pub const LWA_CLIENT_ID: Variable = Variable {
    name: "LWA_CLIENT_ID",
    doc: "Client id of our application at Login with Amazon.",
    default: None,
    example: "amzn1.application-oa2-client.0123456789abcdef",
    secret: false,
};
/// What proves it.
pub const LWA_CLIENT_SECRET: Variable = Variable {
    name: "LWA_CLIENT_SECRET",
    doc: "Client secret of our application at Login with Amazon; Amazon wants a new one every 180 days.",
    default: None,
    example: "amzn1.oa2-cs.v1.change-me",
    secret: true,
};
/// Where tokens come from.
pub const LWA_ENDPOINT: Variable = Variable {
    name: "LWA_ENDPOINT",
    doc: "Where Login with Amazon gives tokens; https, or http on loopback for the sandbox.",
    default: Some("https://api.amazon.com/auth/o2/token"),
    example: "https://api.amazon.com/auth/o2/token",
    secret: false,
};
/// A stand-in for all regions.
pub const SP_API_ENDPOINT: Variable = Variable {
    name: "SP_API_ENDPOINT",
    doc: "One address instead of Amazon's regional ones, for the sandbox; `amazon` means Amazon's own.",
    default: Some("amazon"),
    example: "amazon",
    secret: false,
};
/// Longest call.
pub const SP_API_TIMEOUT: Variable = Variable {
    name: "SP_API_TIMEOUT_SECONDS",
    doc: "Longest time of one call to Amazon, in seconds.",
    default: Some("20"),
    example: "20",
    secret: false,
};
/// What encrypts at rest.
pub const KEYS: Variable = Variable {
    name: "AMZIGO_KEYS",
    doc: "Key ring for data at rest: `id:base64 of 32 bytes`, several separated by commas; the first one encrypts, all decrypt. `amzigo new-key` makes one.",
    default: None,
    example: "2026-11:Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtY2g=",
    secret: true,
};

/// Where Amazon puts notices.
pub const SQS_QUEUE_URL: Variable = Variable {
    name: "AMZIGO_SQS_QUEUE_URL",
    doc: "URL of our SQS queue that Amazon puts notices into; `none` means that there is none, and orders are only asked for.",
    default: Some("none"),
    example: "https://sqs.eu-west-1.amazonaws.com/123456789012/amzigo-notices",
    secret: false,
};
/// Where that queue is.
pub const SQS_REGION: Variable = Variable {
    name: "AMZIGO_SQS_REGION",
    doc: "AWS region of that queue. Credentials at AWS come from where AWS' own client looks for them: its variables, a profile, the host's role.",
    default: Some("eu-west-1"),
    example: "eu-west-1",
    secret: false,
};
/// A stand-in for AWS.
pub const SQS_ENDPOINT: Variable = Variable {
    name: "AMZIGO_SQS_ENDPOINT",
    doc: "Address of a stand-in for SQS on loopback; `amazon` means AWS' own.",
    default: Some("amazon"),
    example: "amazon",
    secret: false,
};

/// How to reach Amazon.
#[derive(Debug, Clone)]
pub struct AmazonSettings {
    /// Our application's id.
    pub client_id: String,
    /// Our application's secret.
    pub client_secret: SecretString,
    /// Where tokens come from.
    pub token_url: Url,
    /// One address for all regions instead of Amazon's own.
    pub endpoint: Option<Url>,
    /// Longest call.
    pub timeout: Duration,
}

impl AmazonSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or wrong.
    pub fn from_env(environment: &dyn Environment) -> Result<Self, EnvError> {
        let endpoint = match SP_API_ENDPOINT.read(environment)?.as_str() {
            "amazon" => None,
            address => Some(safe_url(&SP_API_ENDPOINT, address)?),
        };
        Ok(Self {
            client_id: LWA_CLIENT_ID.read(environment)?,
            client_secret: LWA_CLIENT_SECRET.read(environment)?.into(),
            token_url: safe_url(&LWA_ENDPOINT, &LWA_ENDPOINT.read(environment)?)?,
            endpoint,
            timeout: Duration::from_secs(SP_API_TIMEOUT.parse(environment)?),
        })
    }
}

/// Where notices come from.
#[derive(Debug, Clone)]
pub struct NoticeSettings {
    /// The queue.
    pub url: Url,
    /// AWS' name of it.
    pub arn: String,
    /// Where it is.
    pub region: String,
    /// A stand-in for AWS, on this host.
    pub endpoint: Option<Url>,
}

impl NoticeSettings {
    /// Reads the settings; `None` where no queue is configured.
    ///
    /// # Errors
    /// When one is wrong.
    pub fn from_env(environment: &dyn Environment) -> Result<Option<Self>, EnvError> {
        let raw = SQS_QUEUE_URL.read(environment)?;
        if raw == "none" {
            return Ok(None);
        }
        let url = safe_url(&SQS_QUEUE_URL, &raw)?;
        let region = SQS_REGION.read(environment)?;
        let parts: Vec<_> = url.path_segments().into_iter().flatten().collect();
        let [account, name] = parts[..] else {
            return Err(SQS_QUEUE_URL.invalid(&raw, "it ends with /ACCOUNT/NAME, as AWS shows it"));
        };
        let arn = format!("arn:aws:sqs:{region}:{account}:{name}");
        let endpoint = match SQS_ENDPOINT.read(environment)?.as_str() {
            "amazon" => None,
            address => {
                let endpoint = safe_url(&SQS_ENDPOINT, address)?;
                if endpoint.scheme() != "http" {
                    return Err(SQS_ENDPOINT.invalid(address, "a stand-in is reached by http on loopback"));
                }
                Some(endpoint)
            }
        };
        Ok(Some(Self { url, arn, region, endpoint }))
    }
}

/// A setting that makes us reach Amazon itself instead of a stand-in on this host; `None` when there is none.
///
/// # Errors
/// When one is wrong.
pub fn leads_to_amazon(environment: &dyn Environment) -> Result<Option<Variable>, EnvError> {
    let queue = SQS_QUEUE_URL.read(environment)?;
    let mut places = vec![SP_API_ENDPOINT, LWA_ENDPOINT];
    if queue != "none" {
        places.extend([SQS_QUEUE_URL, SQS_ENDPOINT]);
    }
    for variable in places {
        let place = variable.read(environment)?;
        // `amazon` is a word here, not an address.
        if place == "amazon" || !is_this_host(&safe_url(&variable, &place)?) {
            return Ok(Some(variable));
        }
    }
    Ok(None)
}

/// Tokens travel only encrypted, or not beyond this host.
fn safe_url(variable: &Variable, raw: &str) -> Result<Url, EnvError> {
    let url: Url = raw.parse().map_err(|error| variable.invalid(raw, error))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_this_host(&url) => Ok(url),
        _ => Err(variable.invalid(raw, "tokens may only travel by https, or by http on loopback")),
    }
}

fn is_this_host(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Reads the key ring.
///
/// # Errors
/// When it is missing or a key is not one.
pub fn keyring(environment: &dyn Environment) -> Result<Keyring, EnvError> {
    let raw = KEYS.read(environment)?;
    raw.parse().map_err(|error: KeyringError| KEYS.invalid(&raw, error))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn settings(endpoint: &str) -> Result<AmazonSettings, EnvError> {
        AmazonSettings::from_env(&HashMap::from([
            ("LWA_CLIENT_ID", "id".to_owned()),
            ("LWA_CLIENT_SECRET", "planted-secret".to_owned()),
            ("SP_API_ENDPOINT", endpoint.to_owned()),
        ]))
    }

    #[test]
    fn examples_are_accepted() {
        let examples: HashMap<_, _> = VARIABLES.iter().map(|v| (v.name, v.example.to_owned())).collect();
        AmazonSettings::from_env(&examples).expect("the examples are right");
        keyring(&examples).expect("the example is right");
        NoticeSettings::from_env(&examples).expect("the examples are right").expect("they name a queue");
    }

    #[test]
    fn a_queue_is_known_by_its_url_and_a_stand_in_is_on_this_host() {
        let settings = |url: &str, endpoint: &str| {
            NoticeSettings::from_env(&HashMap::from([
                ("AMZIGO_SQS_QUEUE_URL", url.to_owned()),
                ("AMZIGO_SQS_ENDPOINT", endpoint.to_owned()),
            ]))
        };
        let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/notices";
        let known = settings(queue, "amazon").expect("right").expect("a queue");
        assert_eq!(known.arn, "arn:aws:sqs:eu-west-1:123456789012:notices");
        assert!(settings("none", "amazon").expect("right").is_none());
        assert!(settings("http://127.0.0.1:9/1/notices", "http://127.0.0.1:9").is_ok());
        for (url, endpoint) in [
            ("https://sqs.eu-west-1.amazonaws.com/notices", "amazon"),
            ("http://sqs.example/1/notices", "amazon"),
            (queue, "https://sqs.example"),
            (queue, "http://sqs.example"),
        ] {
            assert!(settings(url, endpoint).is_err(), "{url} {endpoint}");
        }
    }

    #[test]
    fn tokens_never_travel_in_the_clear_beyond_this_host() {
        assert!(settings("http://127.0.0.1:8080").is_ok());
        let error = settings("http://amazon.example").expect_err("not encrypted").to_string();
        assert!(error.contains("https"), "{error}");
    }

    #[test]
    fn one_setting_that_leads_to_amazon_is_enough_to_reach_it() {
        let sandbox = [
            ("SP_API_ENDPOINT", "http://127.0.0.1:9"),
            ("LWA_ENDPOINT", "http://localhost:9/auth/o2/token"),
            ("AMZIGO_SQS_QUEUE_URL", "http://127.0.0.1:9/1/notices"),
            ("AMZIGO_SQS_ENDPOINT", "http://[::1]:9"),
        ];
        let settings = |settings: &[(&'static str, &str)]| {
            let environment: HashMap<_, _> =
                settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            leads_to_amazon(&environment).map(|found| found.map(|variable| variable.name))
        };
        assert_eq!(settings(&sandbox).expect("right"), None);
        assert_eq!(settings(&sandbox[..2]).expect("no queue is right too"), None);
        assert_eq!(settings(&[]).expect("right"), Some("SP_API_ENDPOINT"));
        let elsewhere =
            ["amazon", "https://api.amazon.com/token", "https://sqs.eu-west-1.amazonaws.com/1/n", "amazon"];
        for (n, place) in elsewhere.into_iter().enumerate() {
            let mut one = sandbox;
            one[n].1 = place;
            assert_eq!(settings(&one).expect("right"), Some(sandbox[n].0));
        }
        assert!(settings(&[("SP_API_ENDPOINT", "nowhere")]).is_err());
    }

    #[test]
    fn the_secret_is_not_printed() {
        let printed = format!("{:?}", settings("amazon").expect("complete"));
        assert!(!printed.contains("planted-secret"), "{printed}");
    }
}
