//! Encryption at rest: AES-256-GCM under a ring of keys. The first key encrypts, every key decrypts, so a new key can be
//! put in front without touching what is stored.
//!
//! A ciphertext is bound to where it belongs (table, column, row): moved elsewhere it does not decrypt.

use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use runtime::secret::{ExposeSecret, SecretString};
use thiserror::Error;

struct Key {
    id: String,
    aead: RandomizedNonceKey,
}

/// The keys, the encrypting one first.
pub struct Keyring {
    keys: Vec<Key>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

/// What is stored: the key's id beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which key.
    pub key_id: String,
    /// Nonce, ciphertext, tag.
    pub bytes: Vec<u8>,
}

/// Why a value could not be encrypted or decrypted.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// The ring is empty or badly written.
    #[error("a key ring is `id:base64 of 32 bytes`, several separated by commas")]
    Format,
    /// A key has the wrong length.
    #[error("the key `{id}` does not have 32 bytes")]
    Length {
        /// Which.
        id: String,
    },
    /// The key that encrypted it is not in the ring.
    #[error("the key `{id}` is not in the key ring; add it to AMZIGO_KEYS")]
    UnknownKey {
        /// Which.
        id: String,
    },
    /// Wrong key, wrong place, or changed bytes.
    #[error("the value does not decrypt with the key `{id}`: it was changed, or belongs elsewhere")]
    Refused {
        /// Which key.
        id: String,
    },
    /// The random source or the cipher failed.
    #[error("the value could not be encrypted")]
    Encrypt,
}

impl FromStr for Keyring {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let keys = text
            .split(',')
            .map(|part| {
                let (id, key) = part.trim().split_once(':').ok_or(KeyringError::Format)?;
                let bytes = BASE64_STANDARD.decode(key).map_err(|_| KeyringError::Format)?;
                let aead = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
                    .map_err(|_| KeyringError::Length { id: id.to_owned() })?;
                Ok(Key { id: id.to_owned(), aead })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { keys })
    }
}

impl Keyring {
    /// The ids of the keys, the encrypting one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Encrypts for one place, as `sellers.refresh_token/<id>`.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn seal(&self, secret: &SecretString, place: &str) -> Result<Sealed, KeyringError> {
        let key = self.keys.first().ok_or(KeyringError::Format)?;
        let mut bytes = secret.expose_secret().as_bytes().to_vec();
        let nonce = key
            .aead
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut bytes)
            .map_err(|_| KeyringError::Encrypt)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Ok(Sealed { key_id: key.id.clone(), bytes: sealed })
    }

    /// Decrypts what was encrypted for this place.
    ///
    /// # Errors
    /// When its key is not in the ring, or the bytes were changed or belong elsewhere.
    pub fn open(&self, sealed: &Sealed, place: &str) -> Result<SecretString, KeyringError> {
        let id = &sealed.key_id;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == *id)
            .ok_or_else(|| KeyringError::UnknownKey { id: id.clone() })?;
        let refused = || KeyringError::Refused { id: id.clone() };
        let (nonce, rest) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut bytes = rest.to_vec();
        let plain =
            key.aead.open_in_place(nonce, Aad::from(place.as_bytes()), &mut bytes).map_err(|_| refused())?;
        String::from_utf8(plain.to_vec()).map(SecretString::from).map_err(|_| refused())
    }

    /// A new random key as a ring of one, for `AMZIGO_KEYS`.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn generate(id: &str) -> Result<String, KeyringError> {
        let mut bytes = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyringError::Encrypt)?;
        Ok(format!("{id}:{}", BASE64_STANDARD.encode(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ids: &[&str]) -> Keyring {
        ids.iter()
            .map(|id| format!("{id}:{}", BASE64_STANDARD.encode([id.len() as u8; 32])))
            .collect::<Vec<_>>()
            .join(",")
            .parse()
            .expect("a ring")
    }

    #[test]
    fn what_is_sealed_opens_only_in_its_place() {
        let keys = ring(&["one"]);
        let sealed = keys.seal(&"Atzr|token".into(), "sellers/1").expect("seals");
        assert!(!sealed.bytes.windows(4).any(|bytes| bytes == b"Atzr"));
        assert_eq!(keys.open(&sealed, "sellers/1").expect("opens").expose_secret(), "Atzr|token");
        assert!(matches!(keys.open(&sealed, "sellers/2"), Err(KeyringError::Refused { .. })));
        let again = keys.seal(&"Atzr|token".into(), "sellers/1").expect("seals");
        assert_ne!(again.bytes, sealed.bytes, "the nonce is new each time");
    }

    #[test]
    fn a_new_key_in_front_leaves_old_values_readable() {
        let sealed = ring(&["a"]).seal(&"secret".into(), "p").expect("seals");
        let rotated = ring(&["bb", "a"]);
        assert_eq!(rotated.open(&sealed, "p").expect("opens").expose_secret(), "secret");
        assert_eq!(rotated.seal(&"x".into(), "p").expect("seals").key_id, "bb");
        assert!(matches!(ring(&["bb"]).open(&sealed, "p"), Err(KeyringError::UnknownKey { .. })));
    }

    #[test]
    fn a_generated_key_is_a_ring() {
        let text = Keyring::generate("2026-11").expect("random");
        assert_eq!(text.parse::<Keyring>().expect("a ring").keys[0].id, "2026-11");
        assert!(matches!("no-colon".parse::<Keyring>(), Err(KeyringError::Format)));
        assert!(matches!("a:AAAA".parse::<Keyring>(), Err(KeyringError::Length { .. })));
    }
}
