//! Signing in as people do: the real binary, a browser that keeps its cookie, an authenticator app.

use console::auth::{Role, Roles, Token, invitations, session, staff::StaffId, tries};
use reqwest::header::HeaderMap;
use runtime::clock::{Clock, SystemClock};
use totp_rs::{Builder, Secret};

use crate::amzigo::{Amzigo, Serving};

const PASSWORD: &str = "Lamp-Harbour-7-Fence";

/// What a browser keeps: the session's cookie.
struct Browser {
    http: reqwest::Client,
    address: String,
    cookie: Option<String>,
}

struct Page {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn location(&self) -> &str {
        self.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The value of a hidden field.
    fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        between(&self.text, &start, "\"")
            .unwrap_or_else(|| panic!("no field {name}: {}", self.text))
            .to_owned()
    }

    fn recovery_codes(&self) -> Vec<String> {
        let list = between(&self.text, "<ol class=\"codes\">", "</ol>").expect("the codes are shown");
        list.split("<code>")
            .skip(1)
            .filter_map(|rest| rest.split("</code>").next())
            .map(str::to_owned)
            .collect()
    }
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    text.split_once(start)?.1.split_once(end).map(|(found, _)| found)
}

impl Browser {
    fn new(console: &Serving) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a plain client");
        Self { http, address: console.address.clone(), cookie: None }
    }

    fn session(&self) -> Option<Token> {
        Token::read(self.cookie.as_deref()?.split_once('=')?.1)
    }

    async fn get(&mut self, path: &str) -> Page {
        let request =
            self.http.get(format!("http://{}{path}", self.address)).header("sec-fetch-site", "none");
        self.send(request).await
    }

    /// Sends a form, with the session's token where there is one.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.session().map(|session| session.derive("csrf").text());
        let mut form = fields.to_vec();
        form.extend(csrf.as_deref().map(|csrf| ("csrf", csrf)));
        let request = self.http.post(format!("http://{}{path}", self.address)).form(&form);
        self.send(request.header("sec-fetch-site", "same-origin")).await
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder) -> Page {
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let answer = request.send().await.expect("it answers");
        for set in answer.headers().get_all("set-cookie") {
            let set = set.to_str().expect("text");
            let pair = set.split(';').next().unwrap_or_default();
            if pair.starts_with(session::COOKIE) {
                for attribute in ["Path=/", "HttpOnly", "Secure", "SameSite=Strict"] {
                    assert!(set.contains(attribute), "{attribute}: {set}");
                }
                self.cookie = (!set.contains("Max-Age=0")).then(|| pair.to_owned());
            }
        }
        Page {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.expect("text"),
        }
    }
}

/// Somebody who signs in by password and app.
struct Enrolled {
    name: &'static str,
    staff: StaffId,
    secret: String,
    recovery_codes: Vec<String>,
}

impl Enrolled {
    /// The code that the app shows now.
    fn code(&self) -> String {
        code(&self.secret)
    }

    /// As if the last code had been taken some minutes ago.
    async fn wait_for_the_next_code(&self, amzigo: &Amzigo) {
        change(
            amzigo,
            "update authenticators set last_step = last_step - 10 where staff_id = $1",
            self.staff,
        )
        .await;
    }
}

fn code(secret: &str) -> String {
    let secret = Secret::try_from_base32(secret.replace(' ', "")).expect("a secret");
    let totp = Builder::new().with_secret(secret).build().expect("an app");
    totp.generate(u64::try_from(SystemClock.now().timestamp()).expect("after 1970")).to_string()
}

async fn change(amzigo: &Amzigo, sql: &'static str, staff: StaffId) {
    sqlx::query(sql).bind(staff.0).execute(&amzigo.database.pool).await.expect("it can be changed");
}

/// The path of a new link.
fn invite(amzigo: &Amzigo, name: &str, roles: &[&str]) -> (StaffId, String) {
    let mut arguments = vec!["staff", "invite", name, "--json", "--as", "tests", "--reason", "joins"];
    arguments.extend(["--origin", "http://localhost:8480"]);
    roles.iter().for_each(|role| arguments.extend(["--role", role]));
    let answer = amzigo.run(&arguments);
    assert_eq!(answer.code, 0, "{}", answer.err);
    let said = answer.json();
    let link = said["link"].as_str().expect("a link");
    let path = link.strip_prefix("http://localhost:8480").expect("our origin").to_owned();
    (said["id"].as_str().expect("an id").parse().expect("an id"), path)
}

/// Invites somebody, who accepts with a password and an app; `browser` is signed in afterwards.
async fn enrol(amzigo: &Amzigo, browser: &mut Browser, name: &'static str, roles: &[&str]) -> Enrolled {
    let (staff, link) = invite(amzigo, name, roles);
    assert!(browser.get(&link).await.text.contains(name));
    let scan =
        browser.post(&format!("{link}/password"), &[("password", PASSWORD), ("again", PASSWORD)]).await;
    assert_eq!(scan.status, 200, "{}", scan.text);
    let secret = between(&scan.text, "<p class=\"secret\"><code>", "</code>").expect("the secret").to_owned();
    assert!(scan.text.contains("<svg"), "the picture");
    let (ceremony, code) = (scan.field("ceremony"), code(&secret));
    let welcome = browser.post(&format!("{link}/code"), &[("ceremony", &ceremony), ("code", &code)]).await;
    assert_eq!(welcome.status, 200, "{}", welcome.text);
    let recovery_codes = welcome.recovery_codes();
    assert_eq!(recovery_codes.len(), 10);
    Enrolled { name, staff, secret, recovery_codes }
}

/// Name and password; the page for the second factor is next.
async fn give_password(browser: &mut Browser, name: &str, password: &str) -> Page {
    browser.post("/sign-in", &[("name", name), ("password", password), ("to", "/jobs?state=dead")]).await
}

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
    for name in [ann.name, "nobody.here", "'; drop table staff; --"] {
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
    console::auth::factors::remove_all(&mut transaction, ann.staff, now).await.expect("they are removed");
    let token = invitations::make(&mut transaction, ann.staff, now).await.expect("it is made");
    transaction.commit().await.expect("Postgres answers");
    assert_eq!(browser.get("/").await.status, 303);
    assert_eq!(give_password(&mut Browser::new(&console), ann.name, PASSWORD).await.status, 422);
    let link = format!("/invitation/{}", token.text());
    let old = browser.post(&format!("{link}/password"), &[("password", PASSWORD), ("again", PASSWORD)]).await;
    assert!(old.status == 422 && old.text.contains("last ten"), "{}", old.text);
    assert_eq!(browser.get(&link).await.status, 200);
    assert!(Roles::new(&[Role::Viewer]).is_ok());
}
