//! Every operation of the API, asked with every sort of key, is answered as its declared rule says. The operations are the
//! router's own list, so that none can be forgotten; what is expected follows from the rule alone.

use std::collections::BTreeMap;

use axum::http::Method;
use console::{
    api,
    auth::{
        Role, Token,
        api_key::{KeyId, KeyText},
        session::COOKIE,
    },
};

use crate::{
    amzigo::{Amzigo, Serving},
    program::{ALL_SCOPES, Program},
};

/// What a program comes to the API with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bearer {
    /// Nothing.
    Nothing,
    /// The session of somebody who may everything, in a cookie.
    Cookie,
    /// A text that is no key.
    Garbage,
    /// A key that was never made.
    Unknown,
    /// A key that was ended.
    Revoked,
    /// A key whose time is over.
    Expired,
    /// A key that may do everything but this.
    Narrow,
    /// A key that may do this and nothing else.
    Whole,
}

impl Bearer {
    const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Cookie,
        Self::Garbage,
        Self::Unknown,
        Self::Revoked,
        Self::Expired,
        Self::Narrow,
        Self::Whole,
    ];

    /// What the operation's rule says; `None` is that the operation answers.
    const fn refusal(self, rule: api::Rule) -> Option<u16> {
        match (rule, self) {
            (api::Rule::Open, _) | (_, Self::Whole) => None,
            (_, Self::Narrow) => Some(403),
            _ => Some(401),
        }
    }
}

/// Keys for one scope.
struct Keys {
    unknown: String,
    revoked: String,
    expired: String,
    narrow: String,
    whole: String,
}

impl Keys {
    async fn of(amzigo: &Amzigo, scope: &str) -> Self {
        let others: Vec<_> = ALL_SCOPES.into_iter().filter(|other| *other != scope).collect();
        let [revoked, expired] = [(); 2].map(|()| amzigo.key(&ALL_SCOPES, &[]));
        for (column, key) in [("revoked_at", &revoked), ("expires_at", &expired)] {
            let statement =
                format!("update api_keys set {column} = now() - interval '1 minute' where id = $1::uuid");
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .bind(&key.id)
                .execute(&amzigo.database.pool)
                .await
                .expect("it can be changed");
        }
        let unknown = KeyText { id: KeyId::new(), secret: Token::new() }.text();
        let (narrow, whole) = (amzigo.key(&others, &[]).text, amzigo.key(&[scope], &[]).text);
        Self { unknown, revoked: revoked.text, expired: expired.text, narrow, whole }
    }
}

#[tokio::test]
async fn every_operation_of_the_api_is_answered_as_its_rule_says() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let session = amzigo.session(&[Role::Admin], true).await;
    let mut keys = BTreeMap::new();
    for scope in ALL_SCOPES {
        keys.insert(scope, Keys::of(&amzigo, scope).await);
    }
    let program = Program::new(&console, "");
    let mut wrong = Vec::new();
    for operation in api::declared() {
        let scope = match operation.rule {
            api::Rule::Key(scope) => scope.name(),
            api::Rule::Open => "read",
        };
        let path = operation.path.replace("{id}", "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10");
        assert!(!path.contains('{'), "{path} has something that varies and is not known here");
        for bearer in Bearer::ALL {
            let key = match bearer {
                Bearer::Nothing | Bearer::Cookie => None,
                Bearer::Garbage => Some("garbage"),
                Bearer::Unknown => Some(keys[scope].unknown.as_str()),
                Bearer::Revoked => Some(keys[scope].revoked.as_str()),
                Bearer::Expired => Some(keys[scope].expired.as_str()),
                Bearer::Narrow => Some(keys[scope].narrow.as_str()),
                Bearer::Whole => Some(keys[scope].whole.as_str()),
            };
            let program = key.map_or_else(|| program.without_key(), |key| program.with_key(key));
            let mut request = program.request(operation.method.clone(), &path);
            if operation.method != Method::GET {
                // Nothing is asked for, so that what is let through does nothing.
                request = request.json(&serde_json::json!([]));
            }
            if bearer == Bearer::Cookie {
                request = request.header("cookie", format!("{COOKIE}={}", session.text()));
            }
            let status = request.send().await.expect("it answers").status().as_u16();
            let right = match bearer.refusal(operation.rule) {
                Some(refused) => status == refused,
                None => status < 500 && ![401, 403, 405].contains(&status),
            };
            if !right {
                let api::Route { method, path, rule } = &operation;
                wrong.push(format!("{method} {path} ({rule:?}) with {bearer:?}: {status}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
