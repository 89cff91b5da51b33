//! Every route, asked by every role in every state of a session, is answered as its declared rule says. The routes are the
//! router's own list, so that none can be forgotten; what is expected follows from the rule alone.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::http::Method;
use chrono::{DateTime, TimeDelta, Utc};
use console::{
    access::Rule,
    auth::{
        Role, Token,
        session::{COOKIE, MOST_AGE, MOST_IDLE, STEP_UP, SessionId},
        staff::StaffId,
    },
    console::Console,
    origin::Origin,
    pages,
    routes::Route,
};
use futures::{StreamExt, stream};
use runtime::{clock::SystemClock, testing::TestRedis};

use crate::amzigo::{Amzigo, Serving};

/// What the session is like that somebody asks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// There is none.
    None,
    /// It is nobody's: the token was never given out.
    Unknown,
    /// Only the first factor was given.
    Half,
    /// Both were given just now.
    Fresh,
    /// Both were given, the last one too long ago for a dangerous act.
    Stale,
    /// It was ended.
    Revoked,
    /// It is too old.
    Expired,
    /// It has rested too long.
    Idle,
    /// Whose it is was disabled.
    Disabled,
    /// As fresh, but the form carries another session's token.
    WrongForm,
    /// As fresh, but another site makes the browser ask.
    CrossSite,
}

impl State {
    const ALL: [Self; 11] = [
        Self::None,
        Self::Unknown,
        Self::Half,
        Self::Fresh,
        Self::Stale,
        Self::Revoked,
        Self::Expired,
        Self::Idle,
        Self::Disabled,
        Self::WrongForm,
        Self::CrossSite,
    ];

    /// Whether there is a person in it.
    fn opens(self, role: Role) -> bool {
        match self {
            Self::None | Self::Unknown | Self::Revoked | Self::Expired | Self::Disabled => false,
            // Whoever is on call may rest.
            Self::Idle => role == Role::Oncall,
            Self::Half | Self::Fresh | Self::Stale | Self::WrongForm | Self::CrossSite => true,
        }
    }
}

/// What the rule says will become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The handler answers it, whatever it says.
    LetThrough,
    /// It is led to the sign-in.
    SignIn,
    /// 401.
    SignedOut,
    /// 403.
    Forbidden,
    /// A factor is asked for.
    StepUp,
}

fn expected(route: &Route, role: Role, state: State) -> Expected {
    let changes = route.method != Method::GET;
    if changes && state == State::CrossSite {
        return Expected::Forbidden;
    }
    let permission = match route.rule {
        Rule::Open | Rule::ThisHost => return Expected::LetThrough,
        Rule::HalfSignedIn => None,
        Rule::Staff(permission) | Rule::SteppedUp(permission) => Some(permission),
    };
    if !state.opens(role) || (state == State::Half && permission.is_some()) {
        return if changes { Expected::SignedOut } else { Expected::SignIn };
    }
    if changes && state == State::WrongForm {
        return Expected::Forbidden;
    }
    if permission.is_some_and(|permission| !role.permissions().contains(&permission)) {
        return Expected::Forbidden;
    }
    match route.rule {
        Rule::SteppedUp(_) if state == State::Stale => Expected::StepUp,
        _ => Expected::LetThrough,
    }
}

/// One request, in a session of its own, of a person of its own: what it does changes no other.
struct Cell {
    route: Route,
    role: Role,
    state: State,
    token: Token,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, role, state, .. } = self;
        write!(f, "{} {} ({:?}) by {role} in {state:?}", route.method, route.path, route.rule)
    }
}

/// How a request was answered.
struct Answer {
    status: u16,
    location: String,
    asks_for_factor: bool,
}

impl Answer {
    /// Why this is not what was expected.
    fn differs(&self, expected: Expected) -> Option<String> {
        let leads_to_sign_in = self.status == 303 && self.location.starts_with("/sign-in?to=");
        let is_so = match expected {
            Expected::LetThrough => {
                self.status < 500
                    && ![401, 403, 405, 421].contains(&self.status)
                    && !leads_to_sign_in
                    && !self.asks_for_factor
            }
            Expected::SignIn => leads_to_sign_in,
            Expected::SignedOut => self.status == 401,
            Expected::Forbidden => self.status == 403 && !self.asks_for_factor,
            Expected::StepUp => self.status == 403 && self.asks_for_factor,
        };
        (!is_so).then(|| format!("{} {}, expected {expected:?}", self.status, self.location))
    }
}

/// A path with ids that do not exist.
fn path(route: &Route) -> String {
    let segment = |segment: &str| match segment {
        "{token}" => "A".repeat(43),
        varies if varies.starts_with('{') => "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10".to_owned(),
        fixed => fixed.to_owned(),
    };
    route.path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

async fn ask(http: &reqwest::Client, base: &str, cell: &Cell) -> Answer {
    let url = format!("{base}{}", path(&cell.route));
    let mut request = match cell.route.method {
        Method::GET => http.get(url),
        Method::POST => http.post(url),
        ref other => panic!("{other} is not known here"),
    };
    let form_token = if cell.state == State::WrongForm { Token::new() } else { cell.token.clone() };
    if cell.route.method != Method::GET {
        // No reason is given, so that what is let through does nothing.
        request = request.form(&[("csrf", form_token.derive("csrf").text())]);
    }
    let site = if cell.state == State::CrossSite { "cross-site" } else { "same-origin" };
    request = request.header("sec-fetch-site", site).header("sec-fetch-mode", "navigate");
    if cell.state != State::None {
        request = request.header("cookie", format!("{COOKIE}={}", cell.token.text()));
    }
    let answer = request.send().await.unwrap_or_else(|error| panic!("{cell} was not answered: {error}"));
    let status = answer.status().as_u16();
    let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
    let location = location.unwrap_or_default().to_owned();
    // Streams of events do not end; refusals do.
    let asks_for_factor =
        status == 403 && answer.text().await.expect("text").contains("Confirm that it is you");
    Answer { status, location, asks_for_factor }
}

/// Opens the sessions of all cells in two statements.
async fn open_sessions(amzigo: &Amzigo, cells: &[Cell]) {
    #[derive(Default)]
    struct Columns {
        staff: Vec<runtime::ids::Uuid>,
        names: Vec<String>,
        roles: Vec<String>,
        disabled_at: Vec<Option<DateTime<Utc>>>,
        ids: Vec<runtime::ids::Uuid>,
        hashes: Vec<Vec<u8>>,
        created_at: Vec<DateTime<Utc>>,
        seen_at: Vec<DateTime<Utc>>,
        factor_at: Vec<Option<DateTime<Utc>>>,
        stepped_up_at: Vec<Option<DateTime<Utc>>>,
        revoked_at: Vec<Option<DateTime<Utc>>>,
    }
    let now = Utc::now();
    let minute = TimeDelta::minutes(1);
    let mut columns = Columns::default();
    for (n, cell) in cells.iter().enumerate() {
        let state = cell.state;
        if matches!(state, State::None | State::Unknown) {
            continue;
        }
        let begun = if state == State::Expired { now - MOST_AGE - minute } else { now - MOST_IDLE * 2 };
        columns.staff.push(StaffId::new().0);
        columns.names.push(format!("{}-{n}", cell.role));
        columns.roles.push(cell.role.name().to_owned());
        columns.disabled_at.push((state == State::Disabled).then_some(now));
        columns.ids.push(SessionId::new().0);
        columns.hashes.push(cell.token.hash());
        columns.created_at.push(begun);
        columns.seen_at.push(if state == State::Idle { now - MOST_IDLE - minute } else { now });
        columns.factor_at.push((state != State::Half).then_some(begun));
        columns.stepped_up_at.push(match state {
            State::Half => None,
            State::Stale => Some(now - STEP_UP - minute),
            _ => Some(now),
        });
        columns.revoked_at.push((state == State::Revoked).then_some(now));
    }
    sqlx::query(
        "insert into staff (id, name, roles, created_at, disabled_at)
         select id, name, array[role], $5, disabled_at from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
             as t (id, name, role, disabled_at)",
    )
    .bind(&columns.staff)
    .bind(&columns.names)
    .bind(&columns.roles)
    .bind(&columns.disabled_at)
    .bind(now)
    .execute(&amzigo.database.pool)
    .await
    .expect("the people are new");
    sqlx::query(
        "insert into sessions (id, staff_id, token_hash, agent, created_at, last_seen_at, second_factor_at, stepped_up_at, revoked_at)
         select id, staff, hash, 'the matrix', created, seen, factor, stepped_up, revoked
         from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
             $7::timestamptz[], $8::timestamptz[]) as t (id, staff, hash, created, seen, factor, stepped_up, revoked)",
    )
    .bind(&columns.ids)
    .bind(&columns.staff)
    .bind(&columns.hashes)
    .bind(&columns.created_at)
    .bind(&columns.seen_at)
    .bind(&columns.factor_at)
    .bind(&columns.stepped_up_at)
    .bind(&columns.revoked_at)
    .execute(&amzigo.database.pool)
    .await
    .expect("the sessions are new");
}

/// The routes as the console declares them.
fn routes(amzigo: &Amzigo, redis: &TestRedis) -> Vec<Route> {
    let origin = Origin::of_this_host("127.0.0.1:8480".parse().expect("an address"));
    let (pool, redis) = (amzigo.database.pool.clone(), redis.redis.clone());
    let console = Console::new(pool, redis, Arc::new(SystemClock), origin, None);
    pages::declared(&console.expect("the host has random numbers"))
}

#[tokio::test]
async fn every_route_is_answered_as_its_rule_says() {
    let amzigo = Amzigo::new().await;
    let redis = TestRedis::new().await;
    let console = Serving::start_on(&amzigo, &redis.url, redis.redis.prefix()).await;
    let cells: Vec<_> = routes(&amzigo, &redis)
        .iter()
        .flat_map(|route| Role::ALL.map(|role| (route.clone(), role)))
        .flat_map(|(route, role)| State::ALL.map(|state| (route.clone(), role, state)))
        .map(|(route, role, state)| Cell { route, role, state, token: Token::new() })
        .collect();
    open_sessions(&amzigo, &cells).await;
    let http =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let base = format!("http://{}", console.address);
    let (http, base) = (&http, base.as_str());
    let wrong: Vec<String> = stream::iter(&cells)
        .map(|cell| async move {
            let answer = ask(http, base, cell).await;
            answer
                .differs(expected(&cell.route, cell.role, cell.state))
                .map(|differs| format!("{cell}: {differs}"))
        })
        .buffer_unordered(16)
        .filter_map(|wrong| async { wrong })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {} cells are wrong:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_rule_and_every_expectation_is_in_the_matrix() {
    let amzigo = Amzigo::new().await;
    let redis = TestRedis::new().await;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for route in routes(&amzigo, &redis) {
        for role in Role::ALL {
            for state in State::ALL {
                *counted.entry(format!("{:?}", expected(&route, role, state))).or_default() += 1;
            }
        }
    }
    for what in ["LetThrough", "SignIn", "SignedOut", "Forbidden", "StepUp"] {
        assert!(counted.contains_key(what), "no cell expects {what}: {counted:?}");
    }
}
