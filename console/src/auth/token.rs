//! Secrets that we hand out once and keep only a hash of: sessions, invitations, API keys.

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// 256 random bits. Shown to its owner once, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A new one.
    ///
    /// # Panics
    /// When the host has no random numbers: nothing may go on then.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a process without random numbers must not hand out secrets")]
    pub fn new() -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the host has random numbers");
        Self(bytes)
    }

    /// Reads what [`Self::text`] wrote; `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// As its owner has it: 43 letters.
    #[must_use]
    pub fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The random bytes, for a secret of another form.
    #[must_use]
    pub(crate) fn random(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// What is kept. A fast hash is enough for 256 random bits.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.0).as_ref().to_vec()
    }

    /// Another secret that follows from this one for a purpose, and from which this one cannot be found.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        let mut input = purpose.as_bytes().to_vec();
        input.extend_from_slice(&self.0);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &input).as_ref());
        Self(bytes)
    }

    /// Whether `text` is this token; takes the same time whatever differs.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(self.text().as_bytes(), text.as_bytes()).is_ok()
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_others_are_not_it() {
        let token = Token::new();
        assert_eq!(token.text().len(), 43);
        assert_eq!(Token::read(&token.text()), Some(token.clone()));
        assert!(token.is(&token.text()) && !token.is(&Token::new().text()) && !token.is(""));
        assert_ne!(token.derive("csrf"), token.derive("other"));
        for bad in ["", "abc", "é", &token.text()[1..]] {
            assert_eq!(Token::read(bad), None, "{bad}");
        }
        assert!(!format!("{token:?}").contains(&token.text()));
    }
}
