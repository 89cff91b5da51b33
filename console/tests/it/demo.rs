//! `amzigo serve --demo`: the link works once, and only where nothing but a demo can be reached.

use console::auth::Role;
use runtime::env::{Environment, ProcessEnvironment};

use crate::amzigo::{Amzigo, Serving, answer};

/// The path of the link that a console has printed.
fn link(console: &Serving) -> String {
    let link = console.hello["sign_in"].as_str().expect("a link");
    let origin = console.hello["open"].as_str().expect("an origin");
    assert!(origin.starts_with("http://localhost:"), "{origin}");
    link.strip_prefix(origin).expect("it is the console's own").to_owned()
}

#[tokio::test]
async fn the_link_opens_one_session_that_may_do_everything() {
    let amzigo = Amzigo::new().await;
    let dead = amzigo.dead_letter("sync_orders", "boom", None).await;
    let mut console = Serving::start_demo(&amzigo).await;
    assert_eq!(console.get("/").await.headers["location"], "/sign-in?to=%2F");
    let link = link(&console);
    for wrong in ["/sign-in/demo/seven".to_owned(), format!("/sign-in/demo/{}", "A".repeat(43))] {
        let page = console.get(&wrong).await;
        assert_eq!(page.status, 404, "{wrong}");
        assert!(!page.headers.contains_key("set-cookie"));
    }
    let opened = console.get(&link).await;
    assert_eq!((opened.status, opened.headers["location"].to_str().expect("text")), (303, "/"));
    let cookie = opened.headers["set-cookie"].to_str().expect("text").to_owned();
    for part in ["HttpOnly", "Secure", "Path=/", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    let again = console.get(&link).await;
    assert_eq!(again.status, 404, "it works once");
    assert!(again.text.contains("once"), "{}", again.text);
    console.follow_session(&opened);
    assert_eq!(console.get("/").await.status, 200);
    let requeue = format!("/jobs/{dead}/requeue");
    assert_eq!(console.post(&requeue, &[("reason", "to show it")]).await.status, 303);
    assert_eq!(amzigo.audit().await.last().expect("an act").0, "demo");
}

#[tokio::test]
async fn there_is_no_such_page_without_the_flag_and_a_second_start_finds_the_same_person() {
    let amzigo = Amzigo::new().await;
    drop(Serving::start_demo(&amzigo).await);
    let console = Serving::start_demo(&amzigo).await;
    assert_eq!(console.get(&link(&console)).await.status, 303);
    let names: Vec<String> = sqlx::query_scalar("select name from staff")
        .fetch_all(&amzigo.database.pool)
        .await
        .expect("they can be read");
    assert_eq!(names, ["demo"]);
    let plain = Serving::start(&amzigo).await;
    let page = plain.get(&link(&console)).await;
    assert!(page.text.contains("There is no such page."), "{}", page.text);
    assert!(plain.hello.get("sign_in").is_none());
}

#[tokio::test]
async fn a_console_that_could_reach_amazon_or_other_people_is_refused() {
    let amzigo = Amzigo::new().await;
    let refused = |settings: &[(&str, &str)], why: &str| {
        let mut command = amzigo.command(&["serve", "--demo", "--listen", "127.0.0.1:0"]);
        command.env("SP_API_ENDPOINT", "http://127.0.0.1:9").env("LWA_ENDPOINT", "http://127.0.0.1:9/token");
        command.env("REDIS_URL", ProcessEnvironment.get("REDIS_URL").expect("tests have Redis"));
        command.env("AMZIGO_PREFIX", "refused").envs(settings.iter().copied());
        let answer = answer(command.output().expect("the binary starts"));
        assert!(answer.error(3).contains(why), "{settings:?}: {}", answer.err);
    };
    refused(&[("SP_API_ENDPOINT", "amazon")], "SP_API_ENDPOINT does not lead to one");
    refused(&[("SP_API_ENDPOINT", "https://sellingpartnerapi-eu.amazon.com")], "SP_API_ENDPOINT");
    refused(&[("LWA_ENDPOINT", "https://api.amazon.com/auth/o2/token")], "LWA_ENDPOINT");
    let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/notices";
    refused(&[("AMZIGO_SQS_QUEUE_URL", queue)], "AMZIGO_SQS_QUEUE_URL");
    refused(&[("AMZIGO_CONSOLE_ORIGIN", "https://console.example")], "for this host alone");
    amzigo.session(&[Role::Viewer], true).await;
    refused(&[], "a database of its own");
}
