//! The part of a form that a passkey fills in: `sign_in.js` asks the browser and sends the form. Without scripts, or
//! in a browser that knows no passkeys, a sentence stands in the place of the button.

use maud::{Markup, html};

/// What the device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A new passkey.
    New,
    /// Proof of one that is enrolled.
    Proof,
}

/// The fields `ceremony` and `credential` (with `prefix` before their names), the button that fills them, and a place for
/// what went wrong. `options` is the address of the first half of the ceremony.
pub(super) fn part(wanted: Wanted, options: &str, prefix: &str, label: &str) -> Markup {
    let how = match wanted {
        Wanted::New => "create",
        Wanted::Proof => "get",
    };
    html! {
        div.passkey data-passkey=(how) data-options=(options) {
            input type="hidden" name={ (prefix) "ceremony" } data-part="ceremony";
            input type="hidden" name={ (prefix) "credential" } data-part="credential";
            button type="button" { (label) }
            p.note { "A passkey needs scripts, and a browser that knows passkeys." }
            p.wrong role="alert" hidden {}
        }
    }
}
