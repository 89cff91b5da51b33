//! Passwords: which may be chosen, how they are kept, and whether one is right.
//!
//! Checking takes as long for a name that does not exist as for one that does. Setting one keeps the hashes of those before
//! it, so that none of them is taken again. A password alone opens nothing: see [`super::sign_in`].

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use thiserror::Error;

use crate::auth::{
    hashing::{Hashing, HashingError},
    staff::StaffId,
};

runtime::id_type!(
    /// A password.
    PasswordId
);

/// What a password must be, and who asks for it.
#[derive(Debug)]
pub struct Rule {
    /// As the page says it.
    pub says: &'static str,
    /// Who asks for it.
    pub source: &'static str,
    kept: fn(name: &str, password: &str) -> bool,
}

const AMAZON: &str = "Amazon's data protection policy, 1.4";

/// What can be seen of a password by itself.
pub const RULES: [Rule; 5] = [
    Rule {
        says: "at least 15 characters",
        source: "ASVS 5.0, 6.2.1 (Amazon asks for 12)",
        kept: |_, password| password.chars().count() >= LEAST,
    },
    Rule {
        says: "at most 200 characters",
        source: "ours; ASVS 5.0, 6.2.9, asks that 64 are allowed",
        kept: |_, password| password.chars().count() <= LONGEST,
    },
    Rule {
        says: "small and capital letters, a digit and a special character",
        source: AMAZON,
        kept: |_, password| {
            let has = |kind: fn(char) -> bool| password.chars().any(kind);
            has(char::is_lowercase)
                && has(char::is_uppercase)
                && has(|letter| letter.is_ascii_digit())
                && has(|letter| !letter.is_alphanumeric())
        },
    },
    Rule {
        says: "no part of your name",
        source: AMAZON,
        kept: |name, password| !has_part_of(name, password),
    },
    Rule {
        says: "not made of the most common words and rows of keys",
        source: "ASVS 5.0, 6.2.4",
        kept: |_, password| !is_common(password),
    },
];

const LEAST: usize = 15;
const LONGEST: usize = 200;
/// So many passwords before may not be taken again (Amazon's data protection policy, 1.4).
pub const NOT_AGAIN: i64 = 10;
/// A password can be changed once it is so old (the same): otherwise ten changes in a row would bring the old one back.
pub const LEAST_AGE: TimeDelta = TimeDelta::days(1);
/// A password ends when it is so old (the same).
pub const MOST_AGE: TimeDelta = TimeDelta::days(365);

/// Words, names of keyboards' rows and the like, one a line, small letters.
const COMMON: &str = include_str!("common_passwords.txt");
/// A password of which no more letters are left without common words is made of those.
const LEAST_UNCOMMON_LETTERS: usize = 6;

/// Why a password was not set.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// It does not keep to the rules.
    #[error("a password needs {}", .0.join("; "))]
    Rules(Vec<&'static str>),
    /// It was there before.
    #[error("this is one of your last ten passwords; choose another one")]
    Again,
    /// It was changed too lately.
    #[error("your password was changed within the last day; it can be changed again from {}", .0.format("%Y-%m-%d %H:%M UTC"))]
    TooEarly(DateTime<Utc>),
    /// The present one is not what was typed.
    #[error("the present password is wrong")]
    Wrong,
    /// Too many at once, or the hash failed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Whether a password keeps to [`RULES`].
///
/// # Errors
/// With all rules that it breaks.
pub fn check(name: &str, password: &str) -> Result<(), PasswordError> {
    let broken: Vec<_> =
        RULES.iter().filter(|rule| !(rule.kept)(name, password)).map(|rule| rule.says).collect();
    if broken.is_empty() { Ok(()) } else { Err(PasswordError::Rules(broken)) }
}

/// Checks the rules and the passwords before, and hashes it.
///
/// # Errors
/// When it may not be taken, too many are hashed at once, or the database fails.
pub async fn prepare(
    connection: &mut PgConnection,
    hashing: &Hashing,
    staff: StaffId,
    name: &str,
    password: &str,
) -> Result<String, PasswordError> {
    check(name, password)?;
    let before = sqlx::query_scalar!(
        "select hash from passwords where staff_id = $1 order by set_at desc limit $2",
        staff.0,
        NOT_AGAIN
    )
    .fetch_all(connection)
    .await?;
    for hash in before {
        if hashing.is_right(password, Some(hash)).await? {
            return Err(PasswordError::Again);
        }
    }
    Ok(hashing.hash(password).await?)
}

/// Makes a hash from [`prepare`] the password that holds.
///
/// # Errors
/// When the database fails.
pub async fn set(
    connection: &mut PgConnection,
    staff: StaffId,
    hash: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    end(connection, staff, now).await?;
    sqlx::query!(
        "insert into passwords (id, staff_id, hash, set_at) values ($1, $2, $3, $4)",
        PasswordId::new().0,
        staff.0,
        hash,
        now
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from passwords where staff_id = $1 and id not in
             (select id from passwords where staff_id = $1 order by set_at desc, id desc limit $2)",
        staff.0,
        NOT_AGAIN,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Takes the password away that holds; it still may not be taken again.
///
/// # Errors
/// When the database fails.
pub async fn end(
    connection: &mut PgConnection,
    staff: StaffId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update passwords set ended_at = $2 where staff_id = $1 and ended_at is null", staff.0, now)
        .execute(connection)
        .await
        .map(|_| ())
}

/// A password that holds.
#[derive(Debug)]
pub struct Held {
    /// Argon2id with its parameters and salt.
    pub hash: String,
    /// When it was chosen.
    pub set_at: DateTime<Utc>,
}

impl Held {
    /// Whether it is so old that another one must be chosen.
    #[must_use]
    pub fn has_ended(&self, now: DateTime<Utc>) -> bool {
        now - self.set_at >= MOST_AGE
    }

    /// When it can be changed, if that is later than `now`.
    #[must_use]
    pub fn too_young_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let until = self.set_at + LEAST_AGE;
        (until > now).then_some(until)
    }
}

/// The password of a person that holds.
///
/// # Errors
/// When the database fails.
pub async fn held(connection: &mut PgConnection, staff: StaffId) -> Result<Option<Held>, sqlx::Error> {
    sqlx::query_as!(
        Held,
        "select hash, set_at from passwords where staff_id = $1 and ended_at is null",
        staff.0
    )
    .fetch_optional(connection)
    .await
}

/// Parts of a name are what stands between its dots, dashes and underscores; shorter ones are in any text.
const LEAST_PART: usize = 3;

fn has_part_of(name: &str, password: &str) -> bool {
    let password = password.to_lowercase();
    name.split(['.', '-', '_'])
        .any(|part| part.len() >= LEAST_PART && password.contains(&part.to_lowercase()))
}

/// Without common words, and with letters in the place of the signs that are put for them, little is left.
fn is_common(password: &str) -> bool {
    let mut left: String = password
        .to_lowercase()
        .chars()
        .map(|letter| match letter {
            '@' => 'a',
            '0' => 'o',
            '3' => 'e',
            '$' => 's',
            '!' => 'i',
            other => other,
        })
        .filter(|letter| letter.is_alphabetic())
        .collect();
    for word in COMMON.lines() {
        left = left.replace(word, " ");
    }
    let mut letters: Vec<_> = left.chars().filter(|letter| letter.is_alphabetic()).collect();
    letters.dedup();
    letters.len() < LEAST_UNCOMMON_LETTERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_refuses_what_breaks_it_and_nothing_else() {
        for good in ["Lamp-Harbour-7-Fence", "9 green Violins under Moss", "Überquert:Brücke 12 nachts"] {
            check("ann.lee", good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (bad, rule) in [
            ("Lamp-Harbr-7-F", 0),
            ("LAMP-HARBOUR-7-FENCE", 2),
            ("lamp-harbour-7-fence", 2),
            ("Lamp-Harbour-o-Fence", 2),
            ("LampHarbour7Fence", 2),
            ("Lamp-Harbour-7-Lee", 3),
            ("Password-123456789", 4),
            ("P@$$w0rd-P@$$w0rd-1!", 4),
            ("Qwertyuiop[]12345", 4),
            ("Aaaaaaaaaaaaaa-1", 4),
        ] {
            match check("ann.lee", bad) {
                Err(PasswordError::Rules(broken)) => assert_eq!(broken, [RULES[rule].says], "{bad}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        let long = "Lamp-Harbour-7-".repeat(20);
        assert!(
            matches!(check("ann", &long), Err(PasswordError::Rules(broken)) if broken == [RULES[1].says])
        );
    }

    #[test]
    fn the_list_of_common_words_is_usable() {
        for word in COMMON.lines() {
            assert!(word.len() >= 4 && word.chars().all(|letter| letter.is_ascii_lowercase()), "{word}");
        }
    }

    #[test]
    fn a_password_ends_after_a_year_and_can_be_changed_after_a_day() {
        let set_at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("a moment");
        let held = Held { hash: String::new(), set_at };
        assert!(!held.has_ended(set_at + TimeDelta::days(364)) && held.has_ended(set_at + MOST_AGE));
        assert_eq!(held.too_young_until(set_at), Some(set_at + LEAST_AGE));
        assert_eq!(held.too_young_until(set_at + LEAST_AGE), None);
    }
}
