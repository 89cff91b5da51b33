//! Keys of programs: what each may do, how they end, how often they may ask.

use std::time::{Duration, Instant};

use console::{
    api::{self, Rule},
    auth::{Role, api_key::Scope},
};
use reqwest::Method;
use serde_json::json;

use crate::{
    amzigo::{Amzigo, Serving},
    api::started,
    program::{ALL_SCOPES, Program, SELLER, said},
};

/// Asks until the answer has this status; a look-up is remembered for a second.
async fn until(program: &Program, path: &str, status: u16) {
    let patience = Instant::now() + Duration::from_secs(10);
    while program.get(path).await.status != status {
        assert!(Instant::now() < patience, "{path} does not answer {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn every_operation_wants_a_key_with_its_scope() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let all_but: Vec<_> = Scope::ALL
        .into_iter()
        .map(|without| {
            let scopes: Vec<_> = ALL_SCOPES.into_iter().filter(|scope| *scope != without.name()).collect();
            (without, program.with_key(&amzigo.key(&scopes, &[]).text))
        })
        .collect();
    for route in api::declared() {
        let Rule::Key(scope) = route.rule else { continue };
        let path = route.path.replace("{id}", SELLER);
        let ask = |program: &Program| said(program.request(route.method.clone(), &path));
        let none = ask(&program.without_key()).await;
        assert_eq!((none.status, none.sort()), (401, "no-key"), "{path}");
        assert_eq!(none.headers["www-authenticate"], "Bearer realm=\"amzigo\"");
        let made_up = ask(&program.with_key("amzigo_live_made_up")).await;
        assert_eq!((made_up.status, made_up.sort()), (401, "unknown-key"), "{path}");
        for (without, program) in &all_but {
            let answer = ask(program).await;
            let refused = answer.status == 403 && answer.sort() == "not-in-scope";
            assert_eq!(refused, *without == scope, "{path} without {without}: {answer:?}");
        }
        let allowed = ask(&program).await;
        assert!(![401, 403, 405].contains(&allowed.status), "{path}: {allowed:?}");
    }
}

#[tokio::test]
async fn a_cookie_opens_nothing() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let session = amzigo.session(&[Role::Admin], true).await;
    let program = Program::new(&console, "none").without_key();
    let cookie = format!("{}={}", console::auth::session::COOKIE, session.text());
    let answer = said(program.request(Method::GET, "/v1/jobs").header("cookie", cookie)).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_key_for_some_kinds_neither_enqueues_nor_sees_others() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let limited = program.with_key(&amzigo.key(&ALL_SCOPES, &["--kind", "sync_inventory"]).text);
    let orders = program.sync_orders(SELLER).await.id();
    let refused = limited.sync_orders(SELLER).await;
    assert_eq!((refused.status, refused.sort()), (403, "not-this-kind"));
    let stock = json!({ "kind": "sync_inventory", "payload": { "seller": SELLER } });
    let stock = limited.post("/v1/jobs", &stock).await.id();
    for path in ["", "/wait?timeout=0", "/events"] {
        assert_eq!(limited.get(&format!("/v1/jobs/{orders}{path}")).await.status, 404, "{path}");
    }
    let cancel = format!("/v1/jobs/{orders}/cancel");
    assert_eq!(limited.post(&cancel, &json!({ "reason": "x" })).await.status, 404);
    let listed = limited.get("/v1/jobs").await.json;
    let ids: Vec<_> = listed["jobs"].as_array().expect("a list").iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, [&json!(stock)]);
    assert_eq!(limited.get("/v1/jobs?kind=sync_orders").await.json["jobs"], json!([]));
    assert_eq!(limited.get("/v1/kinds").await.json["kinds"][0]["name"], "sync_inventory");
    let unknown = amzigo.run(&[
        "keys",
        "create",
        "x",
        "--scope",
        "read",
        "--kind",
        "sync_everything",
        "--reason",
        "x",
        "--as",
        "tests",
    ]);
    assert!(unknown.error(3).contains("no kind `sync_everything`"), "{}", unknown.err);
}

#[tokio::test]
async fn a_revoked_key_ends_within_a_second_and_an_expired_one_too() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let (key, other) = (amzigo.key(&["read"], &[]), amzigo.key(&["read"], &[]));
    let (revoked, expired) = (program.with_key(&key.text), program.with_key(&other.text));
    assert_eq!(revoked.get("/v1/kinds").await.status, 200);
    assert_eq!(expired.get("/v1/kinds").await.status, 200);
    let revoke = ["keys", "revoke", &key.id, "--reason", "a test", "--as", "tests"];
    assert_eq!(amzigo.run(&revoke).code, 0);
    until(&revoked, "/v1/kinds", 401).await;
    assert_eq!(revoked.get("/v1/kinds").await.sort(), "ended-key");
    assert!(amzigo.run(&revoke).error(3).contains("was revoked"));
    sqlx::query("update api_keys set expires_at = now() - interval '1 second' where id = $1::uuid")
        .bind(&other.id)
        .execute(&amzigo.database.pool)
        .await
        .expect("it can be changed");
    until(&expired, "/v1/kinds", 401).await;
    assert_eq!(expired.get("/v1/kinds").await.sort(), "ended-key");
    let listed = amzigo.run(&["keys", "list"]);
    assert!(
        listed.out.contains("revoked") && listed.out.contains("expired") && listed.out.contains("active")
    );
    assert!(!listed.out.contains(&key.text));
    let acts = amzigo.audit().await;
    assert!(acts.iter().any(|act| act.1 == "keys.revoke" && act.2 == key.id), "{acts:?}");
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_until_its_overlap_is_over() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let key = amzigo.key(&["read"], &[]);
    let second = amzigo.rotate(&key, "1d");
    assert_eq!(second.id, key.id);
    let (first, second) = (program.with_key(&key.text), program.with_key(&second.text));
    for either in [&first, &second] {
        assert_eq!(either.get("/v1/kinds").await.status, 200);
    }
    let third = program.with_key(&amzigo.rotate(&key, "0s").text);
    until(&first, "/v1/kinds", 401).await;
    until(&second, "/v1/kinds", 401).await;
    assert_eq!(second.get("/v1/kinds").await.sort(), "ended-key");
    assert_eq!(third.get("/v1/kinds").await.status, 200);
}

#[tokio::test]
async fn a_key_has_its_limit_and_hears_what_is_left_of_it() {
    let (amzigo, _console, program) = started(&ALL_SCOPES).await;
    let limited = program.with_key(&amzigo.key(&["read"], &["--rate", "1", "--burst", "3"]).text);
    let first = limited.get("/v1/kinds").await;
    assert_eq!(first.headers["ratelimit-policy"], "\"key\";q=3;w=3");
    assert_eq!(first.headers["ratelimit"], "\"key\";r=2;t=1");
    let mut last = first;
    for _ in 0..20 {
        last = limited.get("/v1/kinds").await;
    }
    assert_eq!((last.status, last.sort()), (429, "too-many-requests"));
    assert_eq!(last.headers["retry-after"], "1");
    assert!(last.headers["ratelimit"].to_str().expect("text").starts_with("\"key\";r=0;t="));
    assert_eq!(program.get("/v1/kinds").await.status, 200, "others are not held up");
    until(&limited, "/v1/kinds", 200).await;
}

#[tokio::test]
async fn it_is_noted_when_a_key_was_last_used() {
    let (amzigo, _console, program) = started(&["read"]).await;
    assert_eq!(program.get("/v1/kinds").await.status, 200);
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let listed = amzigo.run(&["keys", "list", "--json"]).json();
        if listed[0]["last_used_at"].is_string() {
            break;
        }
        assert!(Instant::now() < patience, "{listed}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn an_admin_makes_rotates_and_revokes_keys_on_the_page() {
    let amzigo = Amzigo::new().await;
    let mut console = Serving::start(&amzigo).await;
    assert_eq!(console.get("/keys").await.status, 403, "a viewer sees no keys");
    console.sign_in(&amzigo, &[Role::Admin]).await;
    assert!(console.get("/keys").await.text.contains("No keys yet"));
    let asked = [
        ("owner", "platform.orders"),
        ("read", "on"),
        ("kinds", "sync_orders, sync_inventory"),
        ("days", "30"),
        ("rate", "10"),
        ("burst", "20"),
        ("reason", "order import"),
    ];
    let made = console.post("/keys", &asked).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let secret = |text: &str| {
        let start = text.find("amzigo_live_").expect("the key is shown");
        text[start..start + 97].to_owned()
    };
    let key = secret(&made.text);
    let program = Program::new(&console, &key);
    assert_eq!(program.get("/v1/kinds").await.json["kinds"].as_array().map(Vec::len), Some(2));
    let page = console.get("/keys").await.text;
    assert!(page.contains("platform.orders") && !page.contains(&key), "{page}");
    let id = amzigo.run(&["keys", "list", "--json"]).json()[0]["id"].as_str().expect("an id").to_owned();
    let rotated =
        console.post(&format!("/keys/{id}/rotate"), &[("hours", "0"), ("reason", "every quarter")]).await;
    let newer = program.with_key(&secret(&rotated.text));
    until(&program, "/v1/kinds", 401).await;
    assert_eq!(newer.get("/v1/kinds").await.status, 200);
    let revoke = format!("/keys/{id}/revoke");
    assert_eq!(console.post(&revoke, &[("reason", "it leaked")]).await.status, 303);
    until(&newer, "/v1/kinds", 401).await;
    assert_eq!(console.post(&revoke, &[("reason", "it leaked")]).await.status, 409);
    for (field, value) in [("owner", "Ann Lee"), ("days", "0"), ("rate", "x"), ("kinds", "sync_everything")] {
        let wrong: Vec<_> =
            asked.iter().map(|(name, given)| (*name, if *name == field { value } else { *given })).collect();
        assert_eq!(console.post("/keys", &wrong).await.status, 400, "{field}");
    }
}
