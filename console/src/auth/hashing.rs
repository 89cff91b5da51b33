//! Hashing passwords: Argon2id, a few at once.
//!
//! A hash costs 19 MiB and tens of milliseconds of one processor on purpose, so whoever sends many passwords could take the
//! host's memory and time: at most so many are hashed at once, some more wait, and others are told to come back.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash};
use runtime::secret::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::Semaphore;

/// Memory of one hash, in KiB (OWASP's least for two passes is 19 MiB).
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// How many are hashed at once.
const AT_ONCE: usize = 2;
/// How many wait for that at most: a second of work.
const MOST_WAITING: usize = 32;

/// Why nothing was hashed.
#[derive(Debug, Error)]
pub enum HashingError {
    /// Too many at once.
    #[error("too many people sign in at this moment; try again in a few seconds")]
    Busy,
    /// A stored hash cannot be read, or the thread that hashed was lost.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Hashes, a few at once. Cloning is cheap, and clones share what they may do.
#[derive(Debug, Clone)]
pub struct Hashing {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    decoy: Arc<str>,
}

impl Hashing {
    /// With a hash of its own that no password is right for.
    ///
    /// # Errors
    /// When the host has no random numbers.
    pub fn new() -> Result<Self, HashingError> {
        let decoy = hash(crate::auth::Token::new().text().as_bytes())?;
        Ok(Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(AtomicUsize::new(0)),
            decoy: decoy.into(),
        })
    }

    /// Hashes with a salt of its own.
    ///
    /// # Errors
    /// When too many wait, or the hash fails.
    pub async fn hash(&self, password: &str) -> Result<String, HashingError> {
        self.run(password, |password| hash(password.as_bytes())).await
    }

    /// Whether this is the password of this hash. Without one it takes as long, and is not.
    ///
    /// # Errors
    /// When too many wait, or the hash cannot be read.
    pub async fn is_right(&self, password: &str, stored: Option<String>) -> Result<bool, HashingError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.to_string());
        let right = self.run(password, move |password| verify(password.as_bytes(), &stored)).await?;
        Ok(right && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        password: &str,
        work: impl FnOnce(&str) -> Result<T, HashingError> + Send + 'static,
    ) -> Result<T, HashingError> {
        let _place = Place::take(&self.waiting).ok_or(HashingError::Busy)?;
        let running = Arc::clone(&self.running);
        let permit =
            running.acquire_owned().await.map_err(|error| HashingError::Failed(error.to_string()))?;
        let password = SecretString::from(password);
        // The permit goes along: a request that is given up must not let another one begin beside the thread.
        let hashed = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(password.expose_secret())
        });
        hashed.await.map_err(|error| HashingError::Failed(error.to_string()))?
    }
}

/// A place among those that wait or run.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(waiting));
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < AT_ONCE + MOST_WAITING).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Result<Argon2<'static>, HashingError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| failed(&error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> Result<String, HashingError> {
    Ok(argon2()?.hash_password(password).map_err(|error| failed(&error))?.to_string())
}

fn verify(password: &[u8], stored: &str) -> Result<bool, HashingError> {
    match argon2()?.verify_password(password, stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &dyn std::fmt::Display) -> HashingError {
    HashingError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_right_for_its_hash_only() {
        let hashing = Hashing::new().expect("random numbers");
        let hash = hashing.hash("Lamp-Harbour-7-Fence").await.expect("it hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hashing.is_right("Lamp-Harbour-7-Fence", Some(hash.clone())).await.expect("a hash"));
        assert!(!hashing.is_right("Lamp-Harbour-7-fence", Some(hash.clone())).await.expect("a hash"));
        assert!(!hashing.is_right("anything", None).await.expect("nobody's"));
        assert_ne!(hashing.hash("Lamp-Harbour-7-Fence").await.expect("it hashes"), hash, "the salt is new");
        assert!(hashing.is_right("x", Some("no hash".to_owned())).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told_to_come_back() {
        let hashing = Hashing::new().expect("random numbers");
        let places: Vec<_> =
            (0..AT_ONCE + MOST_WAITING).map(|_| Place::take(&hashing.waiting).expect("a place")).collect();
        assert!(matches!(hashing.hash("x").await, Err(HashingError::Busy)));
        drop(places);
        assert!(hashing.hash("x").await.is_ok());
    }
}
