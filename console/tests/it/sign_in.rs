//! Signing in as people do: passwords, codes, guesses, limits, leaving.

use console::auth::{Token, tries};

use crate::{
    amzigo::{Amzigo, Serving},
    browser::{Browser, PASSWORD, change, enrol, give_password},
};

#[tokio::test]
async fn a_password_and_an_app_sign_in_and_a_code_counts_once() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    let ann = enrol(&amzigo, &mut browser, "ann.lee", &["operator"]).await;
    assert_eq!(browser.get("/").await.status, 200, "enrolling signs in");

    let mut browser = Browser::new(&console);
    let asked = browser.get("/jobs?state=dead").await;
    assert_eq!((asked.status, asked.location()), (303, "/sign-in?to=%2Fjobs%3Fstate%3Ddead"));
    let half = give_password(&mut browser, ann.name, PASSWORD).await;
    assert_eq!((half.status, half.location()), (303, "/second-factor?to=%2Fjobs%3Fstate%3Ddead"));
    let before = browser.session();
    assert_eq!(browser.get("/").await.status, 303, "half a session opens nothing");
    assert!(browser.get(half.location()).await.text.contains("one-time-code"));

    // The code of the enrolment counts no more.
    let replayed = browser.post("/second-factor", &[("code", &ann.code()), ("to", "/jobs")]).await;
    assert_eq!(replayed.status, 422, "{}", replayed.text);
    ann.wait_for_the_next_code(&amzigo).await;
    let code = ann.code();
    let done = browser.post("/second-factor", &[("code", &code), ("to", "/jobs?state=dead")]).await;
    assert_eq!((done.status, done.location()), (303, "/jobs?state=dead"));
    assert_ne!(browser.session(), before, "whoever knew the half session does not know this one");
    assert_eq!(browser.get("/jobs?state=dead").await.status, 200);

    let mut thief = Browser::new(&console);
    give_password(&mut thief, ann.name, PASSWORD).await;
    assert_eq!(thief.post("/second-factor", &[("code", &code)]).await.status, 422, "it was overheard");
    assert_eq!(thief.get("/").await.status, 303);
}

#[tokio::test]
async fn unknown_names_are_answered_like_wrong_passwords() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let ann = enrol(&amzigo, &mut Browser::new(&console), "ann.lee", &["operator"]).await;
    let mut browser = Browser::new(&console);
    let mut answers = Vec::new();
    for name in [ann.name, "nobody.here", "'; drop table staff; --", "a\0b", "Änne", ""] {
        let began = std::time::Instant::now();
        let answer = give_password(&mut browser, name, "Wrong-Harbour-7-Fence").await;
        assert!(began.elapsed().as_millis() >= 5, "a hash takes its time, also for {name}");
        assert!(browser.cookie.is_none());
        answers.push((answer.status, answer.text));
    }
    assert_eq!(answers[0].0, 422);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "the same, to the letter");
}

#[tokio::test]
async fn guesses_lock_the_password_and_neither_the_passkey_nor_who_is_signed_in() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut on_call = Browser::new(&console);
    let ann = enrol(&amzigo, &mut on_call, "ann.lee", &["oncall"]).await;
    let mut attacker = Browser::new(&console);
    let no_wait = "update wrong_tries set next_at = now() - interval '1 second' where staff_id = $1";
    for _ in 0..7 {
        change(&amzigo, no_wait, ann.staff).await;
        assert_eq!(give_password(&mut attacker, ann.name, "Wrong-Harbour-7-Fence").await.status, 422);
    }
    // The next try must wait for twenty seconds; until then not even the right password is looked at.
    assert_eq!(give_password(&mut attacker, ann.name, PASSWORD).await.status, 422);
    change(&amzigo, no_wait, ann.staff).await;
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 303);
    for _ in 0..tries::MOST {
        assert_eq!(give_password(&mut attacker, ann.name, "Wrong-Harbour-7-Fence").await.status, 422);
        change(&amzigo, no_wait, ann.staff).await;
    }
    let mut connection = amzigo.database.pool.acquire().await.expect("Postgres answers");
    let locked = tries::locked(&mut connection, ann.staff).await.expect("it can be read");
    assert_eq!(locked, [tries::Credential::Password]);
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 422, "locked");

    // Who is signed in acts on, also where a factor has to be given again.
    change(
        &amzigo,
        "update sessions set stepped_up_at = now() - interval '1 hour' where staff_id = $1",
        ann.staff,
    )
    .await;
    ann.wait_for_the_next_code(&amzigo).await;
    let asked = on_call.post("/step-up", &[("to", "/jobs"), ("step_up_code", &ann.code())]).await;
    assert_eq!((asked.status, asked.location()), (303, "/jobs"));
    // A passkey is asked for as before.
    let passkey = on_call.post("/sign-in/passkey/options", &[]).await;
    assert_eq!(passkey.status, 200, "{}", passkey.text);
    assert!(passkey.text.contains("\"userVerification\":\"required\""), "{}", passkey.text);

    // A recovery code opens it.
    let mut browser = Browser::new(&console);
    let recovery = [
        ("name", ann.name),
        ("password", PASSWORD),
        ("code", &ann.recovery_codes[0]),
        ("to", "//evil.example"),
    ];
    let opened = browser.post("/sign-in/recovery", &recovery).await;
    assert_eq!((opened.status, opened.location()), (303, "/"), "{}", opened.text);
    assert_eq!(browser.get("/").await.status, 200);
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 303);
    let again = Browser::new(&console).post("/sign-in/recovery", &recovery).await;
    assert_eq!(again.status, 422, "a recovery code counts once");
    let told = amzigo.audit().await.into_iter().filter(|(_, action, ..)| action == "staff.recovery_code");
    let told: Vec<_> = told.map(|(actor, _, target, _)| (actor, target)).collect();
    assert_eq!(told, [(ann.name.to_owned(), ann.staff.to_string())]);
}

#[tokio::test]
async fn a_lost_app_is_replaced_by_a_recovery_code_and_a_locked_app_opened() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let ann = enrol(&amzigo, &mut Browser::new(&console), "ann.lee", &["viewer"]).await;
    let mut browser = Browser::new(&console);
    give_password(&mut browser, ann.name, PASSWORD).await;
    for _ in 0..tries::MOST {
        assert_eq!(browser.post("/second-factor", &[("code", "000000")]).await.status, 422);
        change(
            &amzigo,
            "update wrong_tries set next_at = now() - interval '1 second' where staff_id = $1",
            ann.staff,
        )
        .await;
    }
    ann.wait_for_the_next_code(&amzigo).await;
    assert_eq!(
        browser.post("/second-factor", &[("code", &ann.code())]).await.status,
        422,
        "the app is locked"
    );
    let typed = ann.recovery_codes[3].to_lowercase().replace('-', " ");
    assert_eq!(browser.post("/second-factor", &[("code", &typed)]).await.status, 303);
    assert_eq!(browser.get("/").await.status, 200);
    let mut browser = Browser::new(&console);
    give_password(&mut browser, ann.name, PASSWORD).await;
    assert_eq!(browser.post("/second-factor", &[("code", &typed)]).await.status, 422, "it counts once");
    assert_eq!(
        browser.post("/second-factor", &[("code", &ann.code())]).await.status,
        303,
        "the app is open again"
    );
}

#[tokio::test]
async fn signing_out_ends_the_session_and_what_the_browser_keeps() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    enrol(&amzigo, &mut browser, "ann.lee", &["viewer"]).await;
    let kept = browser.cookie.clone();
    let out = browser.post("/sign-out", &[]).await;
    assert_eq!((out.status, out.location()), (303, "/sign-in"));
    assert_eq!(out.headers["clear-site-data"], "\"cache\", \"storage\"");
    assert!(browser.cookie.is_none());
    browser.cookie = kept;
    assert_eq!(browser.get("/").await.status, 303, "the session itself has ended");
}

#[tokio::test]
async fn one_address_cannot_guess_without_end() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    let mut last = 0;
    for n in 0..60 {
        let answer = browser.get(&format!("/invitation/{}", Token::new().text())).await;
        last = answer.status;
        if last == 429 {
            assert!(n >= 30, "the thirty-first at the earliest: {n}");
            assert!(answer.headers.contains_key("retry-after"));
            break;
        }
    }
    assert_eq!(last, 429);
    assert_eq!(give_password(&mut browser, "ann", PASSWORD).await.status, 429);
    assert_eq!(
        browser.post("/sign-in/passkey/options", &[]).await.status,
        200,
        "a passkey has its own limit"
    );
}

#[tokio::test]
async fn a_link_in_a_mail_finds_who_is_signed_in() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    // A browser keeps a strict cookie back on the way from another site.
    let url = format!("http://{}/jobs?state=dead", console.address);
    let from_a_mail =
        browser.http.get(url).header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    let page = browser.send(from_a_mail).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("content=\"0; url=/jobs?state=dead\""), "{}", page.text);
    assert_eq!(browser.get("/jobs?state=dead").await.status, 303, "from here nobody is signed in");
}
