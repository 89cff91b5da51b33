//! Recovery codes: ten that stand in once each for a lost authenticator app, and open what guesses have locked.
//!
//! 120 random bits each: nobody guesses one, so a fast hash is enough and their tries are not counted. Making new ones ends
//! the old ones. Each use is in the audit log.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use totp_rs::Secret;

use crate::auth::{Token, staff::StaffId};

/// How many a person has.
pub const HOW_MANY: usize = 10;
/// Random bytes of one.
const BYTES: usize = 15;
/// Letters of one, without the dashes.
pub const LETTERS: usize = BYTES * 8 / 5;

/// New codes, to be shown once; those before end.
///
/// # Errors
/// When the database fails.
pub async fn make(
    connection: &mut PgConnection,
    staff: StaffId,
    now: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    let codes: Vec<_> = (0..HOW_MANY).map(|_| code()).collect();
    let hashes: Vec<_> = codes.iter().filter_map(|code| hash(code)).collect();
    sqlx::query!("delete from recovery_codes where staff_id = $1", staff.0).execute(&mut *connection).await?;
    sqlx::query!(
        "insert into recovery_codes (staff_id, code_hash, created_at) select $1, unnest($2::bytea[]), $3",
        staff.0,
        &hashes,
        now,
    )
    .execute(connection)
    .await?;
    Ok(codes)
}

/// Uses a code up; `false` when it is none, or was used.
///
/// # Errors
/// When the database fails.
pub async fn use_up(
    connection: &mut PgConnection,
    staff: StaffId,
    code: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let Some(hash) = hash(code) else { return Ok(false) };
    let used = sqlx::query!(
        "update recovery_codes set used_at = $3 where staff_id = $1 and code_hash = $2 and used_at is null",
        staff.0,
        hash,
        now,
    )
    .execute(connection)
    .await?;
    Ok(used.rows_affected() == 1)
}

/// How many are good.
///
/// # Errors
/// When the database fails.
pub async fn left(connection: &mut PgConnection, staff: StaffId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "left!" from recovery_codes where staff_id = $1 and used_at is null"#,
        staff.0
    )
    .fetch_one(connection)
    .await
}

/// Whether a text is meant as one: longer than the code of an app.
#[must_use]
pub fn looks_like_one(text: &str) -> bool {
    letters(text).len() == LETTERS
}

/// Four groups of six letters, read and typed without mistakes.
fn code() -> String {
    let mut bytes = Token::new().random();
    bytes.truncate(BYTES);
    let letters = Secret::from(bytes).to_base32();
    let groups: Vec<_> = letters.as_bytes().chunks(6).map(String::from_utf8_lossy).collect();
    groups.join("-")
}

fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

fn hash(text: &str) -> Option<Vec<u8>> {
    let letters = letters(text);
    (letters.len() == LETTERS).then(|| digest(&SHA256, letters.as_bytes()).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let one = code();
        assert_eq!(one.len(), LETTERS + 3, "{one}");
        assert!(looks_like_one(&one) && !looks_like_one("123456") && !looks_like_one("123 456"));
        let typed = format!(" {} ", one.to_lowercase().replace('-', " "));
        assert_eq!(hash(&typed), hash(&one));
        assert_ne!(hash(&code()), hash(&one));
        assert_eq!(hash("123456"), None);
    }
}
