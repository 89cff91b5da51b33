//! `amzigo doctor`: says what is wrong and what to do, and goes on where a part is away.

use runtime::testing::TestRedis;
use serde_json::Value;

use crate::amzigo::{Amzigo, Answer, answer};

/// What the doctor says with these settings beside the database.
fn doctor(amzigo: &Amzigo, settings: &[(&str, &str)]) -> Answer {
    let mut command = amzigo.command(&["doctor", "--json"]);
    answer(command.envs(settings.iter().copied()).output().expect("the binary starts"))
}

/// Name, verdict and advice of all checks of this name.
fn checks<'a>(said: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let all = said["checks"].as_array().expect("it lists checks");
    let of_name = all.iter().filter(|check| check["name"] == name);
    of_name
        .map(|check| (check["verdict"].as_str().expect("a verdict"), check["advice"].as_str().unwrap_or("")))
        .collect()
}

#[tokio::test]
async fn it_fails_while_no_scheduler_leads_and_is_content_when_one_does() {
    let amzigo = Amzigo::new().await;
    let redis = TestRedis::new().await;
    let settings = [("REDIS_URL", redis.url.as_str()), ("AMZIGO_PREFIX", redis.redis.prefix())];

    let answer = doctor(&amzigo, &settings);
    assert_eq!(answer.code, 1, "{}", answer.out);
    let said = answer.json();
    assert_eq!(said["well"], false);
    for well in ["redis", "redis rights", "postgres", "postgres extension", "migrations", "clocks", "outbox"]
    {
        assert_eq!(checks(&said, well), [("ok", "")], "{well}: {said:#}");
    }
    let (verdict, advice) = checks(&said, "scheduler")[0];
    assert!(verdict == "fail" && advice.contains("start `scheduler`"), "{advice}");
    assert_eq!(checks(&said, "mail")[0].0, "skip", "what is not looked at is said");

    let leads = "insert into leaders (role, holder, term, expires_at)
        values ('scheduler', gen_random_uuid(), 7, now() + interval '1 hour')";
    sqlx::query(leads).execute(&amzigo.database.pool).await.expect("the row fits");
    let answer = doctor(&amzigo, &settings);
    assert_eq!(answer.code, 0, "{}", answer.out);
    assert_eq!(checks(&answer.json(), "scheduler"), [("ok", "")]);

    let late = "insert into schedules (kind, expression, next_fire_at)
        values ('sync_orders', '*/15 * * * *', now() - interval '20 minutes')";
    sqlx::query(late).execute(&amzigo.database.pool).await.expect("the row fits");
    let answer = doctor(&amzigo, &settings);
    assert!(answer.out.contains("late: sync_orders"), "{}", answer.out);
    assert_eq!(answer.code, 1);
}

#[tokio::test]
async fn it_goes_on_where_redis_is_away() {
    let amzigo = Amzigo::new().await;
    let port = closed_port();
    let answer = doctor(&amzigo, &[("REDIS_URL", &format!("redis://127.0.0.1:{port}"))]);
    let said = answer.json();
    assert_eq!(answer.code, 1);
    assert_eq!(checks(&said, "redis")[0].0, "fail");
    assert_eq!((checks(&said, "migrations")[0].0, checks(&said, "workers")[0].0), ("ok", "skip"), "{said:#}");
}

#[tokio::test]
async fn a_key_that_is_missing_from_the_ring_is_named_and_no_secret_is_shown() {
    let amzigo = Amzigo::new().await;
    amzigo.seller();
    let redis = TestRedis::new().await;
    let other = "other:b3RoZXItbWUtb3RoZXItbWUtb3RoZXItbWUtb3RoZXI=";
    let settings = [
        ("REDIS_URL", redis.url.as_str()),
        ("AMZIGO_PREFIX", redis.redis.prefix()),
        ("AMZIGO_KEYS", other),
        ("LWA_CLIENT_ID", "an-id"),
        ("LWA_CLIENT_SECRET", "planted-secret"),
    ];
    let answer = doctor(&amzigo, &settings);
    let said = answer.json();
    assert_eq!(checks(&said, "keys")[0].0, "fail");
    assert!(answer.out.contains("test"), "the id of the missing key: {}", answer.out);
    assert_eq!(checks(&said, "amazon"), [("ok", "")]);
    for secret in ["planted-secret", "b3RoZXI", "planted-token"] {
        assert!(!answer.out.contains(secret) && !answer.err.contains(secret), "{secret} is shown");
    }
}

#[tokio::test]
async fn shells_complete_every_command() {
    let amzigo = Amzigo::new().await;
    for shell in ["bash", "zsh", "fish"] {
        let answer = amzigo.run(&["completions", shell]);
        assert_eq!(answer.code, 0, "{}", answer.err);
        for command in ["doctor", "sellers", "completions"] {
            assert!(answer.out.contains(command), "{shell} does not know {command}");
        }
    }
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
