//! Invitations: used once, within a day, by whoever may sign in.

use console::auth::{Token, factors, invitations};
use runtime::clock::{Clock, SystemClock};

use crate::{
    amzigo::{Amzigo, Serving},
    browser::{Browser, PASSWORD, between, change, code, enrol, give_password, invite},
};

#[tokio::test]
async fn an_invitation_is_used_once_within_a_day_and_the_latest_counts() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    let (_, replaced) = invite(&amzigo, "ann.lee", &["viewer"]);
    let (staff, link) = invite(&amzigo, "ann.lee", &["operator"]);
    for gone in [replaced.as_str(), "/invitation/nonsense", &format!("/invitation/{}", Token::new().text())] {
        let page = browser.get(gone).await;
        assert_eq!(page.status, 410, "{gone}");
        assert!(page.text.contains("amzigo staff invite"), "{}", page.text);
    }
    // Looking uses nothing up, and wrong passwords neither.
    for wrong in [
        ("short", "short"),
        (PASSWORD, "Lamp-Harbour-7-fence"),
        ("Ann-Harbour-7-Fence", "Ann-Harbour-7-Fence"),
    ] {
        let page =
            browser.post(&format!("{link}/password"), &[("password", wrong.0), ("again", wrong.1)]).await;
        assert_eq!(page.status, 422, "{}", page.text);
    }
    change(
        &amzigo,
        "update invitations set created_at = created_at - interval '25 hours',
        expires_at = expires_at - interval '25 hours' where staff_id = $1",
        staff,
    )
    .await;
    assert_eq!(browser.get(&link).await.status, 410, "it has ended");
    let late =
        browser.post(&format!("{link}/password"), &[("password", PASSWORD), ("again", PASSWORD)]).await;
    assert_eq!(late.status, 410);

    let ann = enrol(&amzigo, &mut browser, "ann.lee", &["operator"]).await;
    let refused = amzigo.run(&[
        "staff",
        "invite",
        ann.name,
        "--role",
        "admin",
        "--reason",
        "x",
        "--as",
        "x",
        "--origin",
        "http://localhost:1",
    ]);
    assert!(refused.error(3).contains("signs in already"), "{}", refused.err);
    let roles: Vec<String> = sqlx::query_scalar("select roles from staff where id = $1")
        .bind(staff.0)
        .fetch_one(&amzigo.database.pool)
        .await
        .expect("ann is there");
    assert_eq!(roles, ["operator"]);
}

#[tokio::test]
async fn an_accepted_invitation_leads_nowhere_a_second_time() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let (staff, link) = invite(&amzigo, "ann.lee", &["viewer"]);
    let mut both = [Browser::new(&console), Browser::new(&console)];
    let mut forms = Vec::new();
    for browser in &mut both {
        let scan =
            browser.post(&format!("{link}/password"), &[("password", PASSWORD), ("again", PASSWORD)]).await;
        let secret =
            between(&scan.text, "<p class=\"secret\"><code>", "</code>").expect("the secret").to_owned();
        forms.push((scan.field("ceremony"), secret));
    }
    let path = format!("{link}/code");
    let wrong = both[0].post(&path, &[("ceremony", &forms[0].0), ("code", "000000")]).await;
    assert_eq!(wrong.status, 422);
    let (first, second) = (code(&forms[0].1), code(&forms[1].1));
    assert_eq!(
        both[0].post(&path, &[("ceremony", &forms[0].0), ("code", &first)]).await.status,
        409,
        "it is over"
    );
    let again = wrong.field("ceremony");
    assert_eq!(both[0].post(&path, &[("ceremony", &again), ("code", &first)]).await.status, 200);
    let late = both[1].post(&path, &[("ceremony", &forms[1].0), ("code", &second)]).await;
    assert_eq!(late.status, 410, "{}", late.text);
    assert_eq!((both[0].get("/").await.status, both[1].get("/").await.status), (200, 303));
    let enrolled = amzigo.audit().await.into_iter().filter(|(_, action, ..)| action == "staff.enrol");
    assert_eq!(enrolled.map(|(.., target, _)| target).collect::<Vec<_>>(), [staff.to_string()]);
}

#[tokio::test]
async fn a_person_who_is_disabled_or_reset_does_not_get_in() {
    let amzigo = Amzigo::new().await;
    let console = Serving::start(&amzigo).await;
    let mut browser = Browser::new(&console);
    let ann = enrol(&amzigo, &mut browser, "ann.lee", &["viewer"]).await;
    change(&amzigo, "update staff set disabled_at = now() where id = $1", ann.staff).await;
    assert_eq!(browser.get("/").await.status, 303);
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 422);
    change(&amzigo, "update staff set disabled_at = null where id = $1", ann.staff).await;
    assert_eq!(browser.get("/").await.status, 200);

    let mut transaction = amzigo.database.pool.begin().await.expect("Postgres answers");
    let now = SystemClock.now();
    factors::remove_all(&mut transaction, ann.staff, now).await.expect("they are removed");
    let token = invitations::make(&mut transaction, ann.staff, now).await.expect("it is made");
    transaction.commit().await.expect("Postgres answers");
    assert_eq!(browser.get("/").await.status, 303);
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 422);
    let link = format!("/invitation/{}", token.text());
    let old = browser.post(&format!("{link}/password"), &[("password", PASSWORD), ("again", PASSWORD)]).await;
    assert!(old.status == 422 && old.text.contains("last ten"), "{}", old.text);
    assert_eq!(browser.get(&link).await.status, 200);
}
