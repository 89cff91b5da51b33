//! The picture and the text from which an authenticator app learns its secret.

use maud::{Markup, PreEscaped, html};
use qrcode::{EcLevel, QrCode, render::svg};
use runtime::secret::ExposeSecret;

use crate::{
    auth::{authenticators::AuthenticatorError, enrolment::Scanning},
    pages::Problem,
};

/// Side of the picture, in pixels.
const SIDE: u32 = 232;

/// What to scan or type, and the form that proves it: `action` gets the fields `ceremony` and `code`, and `hidden` ones.
pub(super) fn form(
    scanning: &Scanning,
    action: &str,
    hidden: &Markup,
    wrong: bool,
) -> Result<Markup, Problem> {
    let picture = QrCode::with_error_correction_level(scanning.to_scan.link.expose_secret(), EcLevel::M)
        .map_err(|error| Problem::Broken(AuthenticatorError::Seed(error.to_string()).into()))?
        .render::<svg::Color<'_>>()
        .min_dimensions(SIDE, SIDE)
        .build();
    // The picture alone, without the line that would make it a document of its own.
    let picture = picture.find("<svg").map_or("", |start| &picture[start..]);
    Ok(html! {
        p { "Scan this with an authenticator app, or type the secret into it." }
        figure.scan role="img" aria-label="QR code with the secret for your authenticator app" {
            (PreEscaped(picture))
        }
        p.secret { code { (spaced(scanning.to_scan.secret.expose_secret())) } }
        p.note { "Time based, six digits, 30 seconds; most apps ask for nothing else." }
        form method="post" action=(action) {
            (hidden)
            input type="hidden" name="ceremony" value=(scanning.ceremony);
            label { "The code that the app shows now"
                input name="code" required inputmode="numeric" autocomplete="one-time-code" maxlength="7"
                    aria-invalid=[wrong.then_some("true")] autofocus;
            }
            @if wrong { p.wrong role="alert" { "This code is not right. Wait for the next one, and see that the device's clock is." } }
            button { "Confirm" }
        }
    })
}

/// In groups of four, as people type it.
fn spaced(secret: &str) -> String {
    let groups: Vec<_> = secret.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    groups.join(" ")
}
