//! What every answer carries, and who may ask.
//!
//! The console listens on loopback, but a web page in a browser on this host could still reach it by a name that it makes
//! point here (DNS rebinding). Such a request carries that name, so only names of this host are answered.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Nothing from elsewhere, no inline script or style, no frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(super) async fn only_this_host(request: Request, next: Next) -> Response {
    if names_this_host(request.headers()) {
        next.run(request).await
    } else {
        let why =
            "The console answers only to names of this host: open it as http://127.0.0.1 or localhost.\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    }
}

fn names_this_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_answered() {
        let asks = |host: &'static str| {
            names_this_host(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]))
        };
        for own in ["127.0.0.1:8480", "localhost", "localhost:8480", "[::1]:8480", "127.0.0.1"] {
            assert!(asks(own), "{own}");
        }
        for other in ["evil.example:8480", "localhost.evil.example", "10.0.0.1", "", "@127.0.0.1@evil"] {
            assert!(!asks(other), "{other}");
        }
        assert!(!names_this_host(&HeaderMap::new()));
    }
}
