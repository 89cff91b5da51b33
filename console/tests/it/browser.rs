//! A browser that keeps its cookie, and a person with an authenticator app.

use console::auth::{Token, session, staff::StaffId};
use reqwest::header::HeaderMap;
use runtime::clock::{Clock, SystemClock};
use totp_rs::{Builder, Secret};

use crate::amzigo::{Amzigo, Serving};

pub(crate) const PASSWORD: &str = "Lamp-Harbour-7-Fence";

/// What a browser keeps: the session's cookie.
pub(crate) struct Browser {
    pub(crate) http: reqwest::Client,
    pub(crate) address: String,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn location(&self) -> &str {
        self.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        between(&self.text, &start, "\"")
            .unwrap_or_else(|| panic!("no field {name}: {}", self.text))
            .to_owned()
    }

    pub(crate) fn recovery_codes(&self) -> Vec<String> {
        let list = between(&self.text, "<ol class=\"codes\">", "</ol>").expect("the codes are shown");
        list.split("<code>")
            .skip(1)
            .filter_map(|rest| rest.split("</code>").next())
            .map(str::to_owned)
            .collect()
    }
}

pub(crate) fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    text.split_once(start)?.1.split_once(end).map(|(found, _)| found)
}

impl Browser {
    pub(crate) fn new(console: &Serving) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a plain client");
        Self { http, address: console.address.clone(), cookie: None }
    }

    pub(crate) fn session(&self) -> Option<Token> {
        Token::read(self.cookie.as_deref()?.split_once('=')?.1)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        let request =
            self.http.get(format!("http://{}{path}", self.address)).header("sec-fetch-site", "none");
        self.send(request).await
    }

    /// Sends a form, with the session's token where there is one.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.session().map(|session| session.derive("csrf").text());
        let mut form = fields.to_vec();
        form.extend(csrf.as_deref().map(|csrf| ("csrf", csrf)));
        let request = self.http.post(format!("http://{}{path}", self.address)).form(&form);
        self.send(request.header("sec-fetch-site", "same-origin")).await
    }

    pub(crate) async fn send(&mut self, mut request: reqwest::RequestBuilder) -> Page {
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
pub(crate) struct Enrolled {
    pub(crate) name: &'static str,
    pub(crate) staff: StaffId,
    pub(crate) secret: String,
    pub(crate) recovery_codes: Vec<String>,
}

impl Enrolled {
    /// The code that the app shows now.
    pub(crate) fn code(&self) -> String {
        code(&self.secret)
    }

    /// As if the last code had been taken some minutes ago.
    pub(crate) async fn wait_for_the_next_code(&self, amzigo: &Amzigo) {
        change(
            amzigo,
            "update authenticators set last_step = last_step - 10 where staff_id = $1",
            self.staff,
        )
        .await;
    }
}

pub(crate) fn code(secret: &str) -> String {
    let secret = Secret::try_from_base32(secret.replace(' ', "")).expect("a secret");
    let totp = Builder::new().with_secret(secret).build().expect("an app");
    totp.generate(u64::try_from(SystemClock.now().timestamp()).expect("after 1970")).to_string()
}

pub(crate) async fn change(amzigo: &Amzigo, sql: &'static str, staff: StaffId) {
    sqlx::query(sql).bind(staff.0).execute(&amzigo.database.pool).await.expect("it can be changed");
}

/// The path of a new link.
pub(crate) fn invite(amzigo: &Amzigo, name: &str, roles: &[&str]) -> (StaffId, String) {
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
pub(crate) async fn enrol(
    amzigo: &Amzigo,
    browser: &mut Browser,
    name: &'static str,
    roles: &[&str],
) -> Enrolled {
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
pub(crate) async fn give_password(browser: &mut Browser, name: &str, password: &str) -> Page {
    browser.post("/sign-in", &[("name", name), ("password", password), ("to", "/jobs?state=dead")]).await
}
