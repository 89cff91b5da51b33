//! Giving a factor again before something dangerous, and changing factors.

use crate::{
    amzigo::{Amzigo, Serving},
    browser::{Browser, PASSWORD, change, enrol, give_password},
};

#[tokio::test]
async fn a_stale_factor_is_asked_for_and_the_form_is_carried_along() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    let ann = enrol(&amzigo, &mut browser, "ann.lee", &["viewer"]).await;
    let stale = "update sessions set stepped_up_at = now() - interval '11 minutes' where staff_id = $1";
    change(&amzigo, stale, ann.staff).await;
    let new_codes = "/account/recovery-codes";
    let asked = browser.post(new_codes, &[("note", "a \"quoted\" <b> & more"), ("note", "second")]).await;
    assert_eq!(asked.status, 403);
    assert!(asked.text.contains("action=\"/account/recovery-codes\""), "{}", asked.text);
    for carried in ["a &quot;quoted&quot; &lt;b&gt; &amp; more", "value=\"second\"", "name=\"csrf\""] {
        assert!(asked.text.contains(carried), "{carried}: {}", asked.text);
    }
    let wrong = browser.post(new_codes, &[("note", "kept"), ("step_up_code", "000000")]).await;
    assert_eq!(wrong.status, 403);
    assert!(
        wrong.text.contains("kept") && wrong.text.contains("not accepted") && !wrong.text.contains("000000")
    );
    ann.wait_for_the_next_code(&amzigo).await;
    let code = ann.code();
    let done = browser.post(new_codes, &[("note", "kept"), ("step_up_code", &code)]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let new: Vec<_> = done.recovery_codes();
    assert!(new.iter().all(|code| !ann.recovery_codes.contains(code)));
    // For ten minutes it is not asked for again, and the code has counted.
    assert_eq!(browser.post(new_codes, &[]).await.status, 200);
    change(&amzigo, stale, ann.staff).await;
    assert_eq!(browser.post(new_codes, &[("step_up_code", &code)]).await.status, 403, "it was taken");
    // A form that is not ours is not carried.
    let foreign = browser.http.post(format!("http://{}{new_codes}", browser.address)).form(&[("csrf", "x")]);
    assert_eq!(browser.send(foreign.header("sec-fetch-site", "cross-site")).await.status, 403);
}

#[tokio::test]
async fn changed_factors_end_other_sessions_and_a_password_rests_a_day() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    let ann = enrol(&amzigo, &mut browser, "ann.lee", &["viewer"]).await;
    let mut other = Browser::new(&console);
    give_password(&mut other, ann.name, PASSWORD).await;
    ann.wait_for_the_next_code(&amzigo).await;
    other.post("/second-factor", &[("code", &ann.code())]).await;
    assert_eq!(other.get("/").await.status, 200);

    let new = "Nine-Violins_under-moss";
    let fields = [("present", PASSWORD), ("password", new), ("again", new)];
    let early = browser.post("/account/password", &fields).await;
    assert_eq!(early.status, 409);
    assert!(early.text.contains("within the last day"), "{}", early.text);
    change(
        &amzigo,
        "update passwords set set_at = set_at - interval '25 hours' where staff_id = $1",
        ann.staff,
    )
    .await;
    let again = [("present", PASSWORD), ("password", PASSWORD), ("again", PASSWORD)];
    assert!(browser.post("/account/password", &again).await.text.contains("last ten"));
    assert_eq!(other.get("/").await.status, 200, "nothing has changed yet");
    let weak = [("present", PASSWORD), ("password", "Password-123456"), ("again", "Password-123456")];
    assert_eq!(browser.post("/account/password", &weak).await.status, 409);
    let strong = "Nine-7-Violins-under-moss";
    let done = browser
        .post("/account/password", &[("present", PASSWORD), ("password", strong), ("again", strong)])
        .await;
    assert_eq!((done.status, done.location()), (303, "/account"), "{}", done.text);
    assert_eq!((browser.get("/").await.status, other.get("/").await.status), (200, 303));
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 422);

    // After a year it is exchanged at the sign-in, with the second factor.
    change(
        &amzigo,
        "update passwords set set_at = set_at - interval '366 days' where staff_id = $1",
        ann.staff,
    )
    .await;
    give_password(&mut other, ann.name, strong).await;
    assert!(other.get("/second-factor").await.text.contains("new_password"));
    ann.wait_for_the_next_code(&amzigo).await;
    let code = ann.code();
    assert_eq!(other.post("/second-factor", &[("code", &code)]).await.status, 422);
    let weak = [("code", code.as_str()), ("new_password", "short")];
    assert_eq!(other.post("/second-factor", &weak).await.status, 422);
    let next = "Seven-8-Ladders-by-sea";
    assert_eq!(other.post("/second-factor", &[("code", &code), ("new_password", next)]).await.status, 303);
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, next).await.status, 303);
}
