//! Members of staff, by the page and by the command line: who may do what, who is signed in, who was looked at.

use std::process::Stdio;

use chrono::{TimeDelta, Utc};
use console::auth::{Role, Roles, Token, session, staff};

use crate::amzigo::{Amzigo, Serving};

impl Amzigo {
    /// A person with this name, and a session of theirs.
    async fn person(&self, name: &str, roles: &[Role]) -> (staff::StaffId, Token) {
        let mut connection = self.database.pool.acquire().await.expect("Postgres answers");
        let roles = Roles::new(roles).expect("they go together");
        let id = staff::add(&mut connection, name, &roles, Utc::now()).await.expect("the name is new");
        let session =
            session::open(&mut connection, id, "a browser", true, Utc::now()).await.expect("it opens");
        (id, session)
    }

    /// Whether a session opens anything.
    async fn is_open(&self, token: &Token) -> bool {
        let mut connection = self.database.pool.acquire().await.expect("Postgres answers");
        session::find(&mut connection, token, Utc::now()).await.expect("it can be read").is_some()
    }

    fn staff(&self, arguments: &[&str], actor: &str) -> crate::amzigo::Answer {
        let mut all = vec!["staff"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["--reason", "why not", "--as", actor, "--json"]);
        self.run(&all)
    }
}

/// The actions in the log with what they were done to.
fn acts(audit: Vec<(String, String, String, String)>) -> Vec<(String, String)> {
    audit.into_iter().map(|(_, action, target, _)| (action, target)).collect()
}

#[tokio::test]
async fn an_admin_changes_roles_and_disables_and_sessions_end_at_once() {
    let amzigo = Amzigo::new().await;
    let mut console = Serving::start(&amzigo).await;
    let (bob, bobs) = amzigo.person("bob", &[Role::Viewer]).await;
    console.sign_in(&amzigo, &[Role::Admin]).await;
    let page = console.get("/people").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("bob") && page.text.contains("a browser"), "{}", page.text);

    let roles = format!("/people/{bob}/roles");
    let together = [("reason", "joins"), ("role-operator", "on"), ("role-oncall", "on")];
    assert_eq!(console.post(&roles, &together).await.status, 303);
    assert!(!amzigo.is_open(&bobs).await, "what they may do has changed");
    let apart =
        console.post(&roles, &[("reason", "all"), ("role-operator", "on"), ("role-admin", "on")]).await;
    assert_eq!(apart.status, 400);
    assert!(apart.text.contains("must be different people"), "{}", apart.text);
    assert_eq!(console.post(&roles, &[("reason", "none")]).await.status, 400);
    assert_eq!(console.post(&roles, &together).await.status, 409, "they have them already");

    let mut connection = amzigo.database.pool.acquire().await.expect("Postgres answers");
    let again = session::open(&mut connection, bob, "another", true, Utc::now()).await.expect("it opens");
    assert!(amzigo.is_open(&again).await);
    let disable = format!("/people/{bob}/disable");
    assert_eq!(console.post(&disable, &[("reason", "has left")]).await.status, 303);
    assert!(!amzigo.is_open(&again).await);
    assert_eq!(console.post(&disable, &[("reason", "has left")]).await.status, 409);
    assert_eq!(console.post(&format!("/people/{bob}/enable"), &[("reason", "is back")]).await.status, 303);
    assert!(!amzigo.is_open(&again).await, "what has ended stays so");
    assert_eq!(
        acts(amzigo.audit().await),
        [
            ("staff.roles".to_owned(), format!("{bob}: operator, oncall")),
            ("staff.disable".to_owned(), bob.to_string()),
            ("staff.enable".to_owned(), bob.to_string()),
        ]
    );
    let found = console.get("/audit?target=bob").await;
    assert!(
        found.text.contains("bob: operator, oncall") && found.text.contains("staff.enable"),
        "{}",
        found.text
    );
}

#[tokio::test]
async fn nobody_decides_about_themselves_and_the_last_admin_stays() {
    let amzigo = Amzigo::new().await;
    amzigo.person("ann", &[Role::Admin]).await;
    amzigo.person("bob", &[Role::Viewer]).await;
    for (arguments, actor, why) in [
        (["roles", "ann", "--role", "viewer"].as_slice(), "bob", "ann is the last admin"),
        (&["disable", "ann"], "bob", "ann is the last admin"),
        (&["roles", "bob", "--role", "admin"], "bob", "ask another admin"),
        (&["review", "bob"], "bob", "ask another admin"),
        (&["disable", "eve"], "ann", "no member of staff eve"),
    ] {
        let refused = amzigo.staff(arguments, actor);
        assert!(refused.error(3).contains(why), "{arguments:?}: {}", refused.err);
    }
    assert_eq!(amzigo.staff(&["roles", "bob", "--role", "admin"], "ann").code, 0);
    // Both are admins now; when each disables the other, one is left.
    let children = [("bob", "ann"), ("ann", "bob")].map(|(whom, by)| {
        let mut command = amzigo.command(&["staff", "disable", whom, "--reason", "x", "--as", by]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    });
    let codes = children.map(|mut child| child.wait().expect("it ends").code());
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(3)), "{codes:?}");
    let admins: i64 =
        sqlx::query_scalar("select count(*) from staff where disabled_at is null and 'admin' = any(roles)")
            .fetch_one(&amzigo.database.pool)
            .await
            .expect("they can be counted");
    assert_eq!(admins, 1);
}

#[tokio::test]
async fn who_was_not_looked_at_for_long_is_shown_until_somebody_confirms() {
    let amzigo = Amzigo::new().await;
    let mut connection = amzigo.database.pool.acquire().await.expect("Postgres answers");
    let viewer = Roles::new(&[Role::Viewer]).expect("one role");
    for (name, days) in [("old", 91), ("new", 89)] {
        let invited = Utc::now() - TimeDelta::days(days);
        staff::add(&mut connection, name, &viewer, invited).await.expect("the name is new");
    }
    let due = || {
        let listed = amzigo.run(&["staff", "list", "--due", "--json"]).json();
        let names: Vec<_> = listed["staff"]
            .as_array()
            .expect("people")
            .iter()
            .map(|member| member["name"].as_str().expect("a name").to_owned())
            .collect();
        names
    };
    assert_eq!(due(), ["old"]);
    let mut console = Serving::start(&amzigo).await;
    console.sign_in(&amzigo, &[Role::Admin]).await;
    assert!(console.get("/people").await.text.contains("1 access review due</strong>"));
    assert_eq!(amzigo.staff(&["review", "old"], "ann").code, 0);
    assert_eq!(due(), Vec::<String>::new());
    let page = console.get("/people").await.text;
    assert!(!page.contains("access review") && page.contains("by ann"), "{page}");
}

#[tokio::test]
async fn everybody_sees_and_ends_their_own_sessions_and_no_others() {
    let amzigo = Amzigo::new().await;
    let mut console = Serving::start(&amzigo).await;
    let (bob, first) = amzigo.person("bob", &[Role::Operator]).await;
    let mut connection = amzigo.database.pool.acquire().await.expect("Postgres answers");
    let second = session::open(&mut connection, bob, "the phone", true, Utc::now()).await.expect("it opens");
    let third = session::open(&mut connection, bob, "the laptop", true, Utc::now()).await.expect("it opens");
    let (_, eves) = amzigo.person("eve", &[Role::Operator]).await;
    console.ask_in(&first);
    let page = console.get("/account").await.text;
    assert!(page.contains("the phone") && page.contains("this one") && !page.contains("eve"), "{page}");
    assert!(console.get("/").await.text.contains("href=\"/account\""));

    let sessions = amzigo.run(&["staff", "sessions", "--json"]).json();
    let id = |agent: &str, name: &str| {
        let found = sessions["sessions"]
            .as_array()
            .expect("sessions")
            .iter()
            .find(|one| one["agent"] == agent && one["name"] == name);
        found.expect(agent)["id"].as_str().expect("an id").to_owned()
    };
    let revoke = |id: &str| format!("/account/sessions/{id}/revoke");
    assert_eq!(console.post(&revoke(&id("a browser", "eve")), &[]).await.status, 404, "it is not theirs");
    assert!(amzigo.is_open(&eves).await);
    assert_eq!(console.post(&revoke(&id("the phone", "bob")), &[]).await.status, 303);
    assert!(!amzigo.is_open(&second).await && amzigo.is_open(&third).await);
    assert_eq!(console.post("/account/sessions/revoke-others", &[]).await.status, 303);
    assert!(!amzigo.is_open(&third).await && amzigo.is_open(&first).await && amzigo.is_open(&eves).await);

    let eve = id("a browser", "eve");
    assert_eq!(amzigo.staff(&["revoke", &eve], "ann").code, 0);
    assert!(!amzigo.is_open(&eves).await);
    assert!(amzigo.staff(&["revoke", &eve], "ann").error(3).contains("no open session"));
}

#[tokio::test]
async fn an_invitation_and_a_new_way_in_are_links_that_are_shown_once() {
    let amzigo = Amzigo::new().await;
    let mut console = Serving::start(&amzigo).await;
    let (bob, bobs) = amzigo.person("bob", &[Role::Oncall]).await;
    console.sign_in(&amzigo, &[Role::Admin]).await;
    let fields = [("reason", "joins"), ("name", "ann.lee"), ("role-approver", "on")];
    let shown = console.post("/people/invite", &fields).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let first = link(&shown.text);
    assert!(!console.get("/people").await.text.contains(&first));
    assert_eq!(console.get(&first).await.status, 200, "it is an invitation");
    assert!(amzigo.run(&["staff", "list", "--json"]).out.contains("ann.lee"));
    for (name, status) in [("Ann", 400), ("", 400)] {
        let fields = [("reason", "joins"), ("name", name), ("role-viewer", "on")];
        assert_eq!(console.post("/people/invite", &fields).await.status, status, "{name}");
    }

    let shown = console.post(&format!("/people/{bob}/reset"), &[("reason", "lost the phone")]).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert_eq!(console.get(&link(&shown.text)).await.status, 200, "it is an invitation");
    assert!(!amzigo.is_open(&bobs).await);
    let said = amzigo.staff(&["reset", "bob", "--origin", "http://localhost:8480"], "ann").json();
    assert!(
        said["link"].as_str().expect("a link").starts_with("http://localhost:8480/invitation/"),
        "{said}"
    );
    assert!(console.get(&link(&shown.text)).await.status >= 400, "the newer one ends it");
    let actions: Vec<_> = amzigo.audit().await.into_iter().map(|(_, action, ..)| action).collect();
    assert_eq!(actions, ["staff.invite", "staff.reset", "staff.reset"]);
}

/// The path of the link that a page shows.
fn link(page: &str) -> String {
    let begins = page.find("/invitation/").expect("there is a link");
    page[begins..].chars().take_while(|letter| !"<\"".contains(*letter)).collect()
}
