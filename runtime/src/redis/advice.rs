//! What to do about what Redis answers: added to its errors where they arise, so that every log line and page has it.

use redis::{ErrorKind, RedisError};

/// The same error, with what to do about it. What code goes by (the kind, the server's code) stays as it was.
pub(super) fn advise(error: RedisError) -> RedisError {
    let code = match error.code() {
        // Of a script, Redis and Valkey say this in words only.
        Some("ERR") if IN_SCRIPTS.iter().any(|words| error.to_string().contains(words)) => Some("NOPERM"),
        None if error.kind() == ErrorKind::AuthenticationFailed => Some("WRONGPASS"),
        code => code,
    };
    let Some(advice) = code.and_then(advice_for) else { return error };
    match (error.kind(), error.code()) {
        (ErrorKind::Extension, Some(code)) => {
            let said = error.detail().unwrap_or_default();
            redis::make_extension_error(code.to_owned(), Some(format!("{said} ({advice})")))
        }
        (kind, _) => RedisError::from((kind, advice, error.to_string())),
    }
}

/// How a right that a script lacks is told.
const IN_SCRIPTS: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

fn advice_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "OOM" => {
            "Redis is full: raise its maxmemory. Workers go on with what it holds; nothing is added until then"
        }
        "MISCONF" => "Redis cannot write to its disk: look into its log, and make room",
        "NOREPLICAS" => "fewer replicas are connected than min-replicas-to-write asks for",
        "READONLY" => {
            "this Redis is a replica: REDIS_URL must name the primary, or the Sentinels that know it"
        }
        "LOADING" => "Redis still reads its data from disk, and answers when that is done",
        "NOPERM" => "the Redis user lacks a right: docs/REDIS.md has those that are needed",
        "NOAUTH" | "WRONGPASS" => "check the user and the password in REDIS_URL",
        "CLUSTERDOWN" => "a part of the Redis Cluster has no primary: bring its nodes back",
        "MOVED" => "this Redis belongs to a Cluster: REDIS_URL must begin with redis+cluster://",
        "BUSY" => "a script holds Redis up: find out whose, and stop it with SCRIPT KILL",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use redis::ServerErrorKind;

    use super::*;

    #[test]
    fn advice_is_added_and_what_code_goes_by_stays() {
        let full = redis::make_extension_error("OOM".to_owned(), Some("command not allowed".to_owned()));
        let advised = advise(full);
        assert_eq!(advised.code(), Some("OOM"));
        assert!(advised.to_string().contains("command not allowed"), "{advised}");
        assert!(advised.to_string().contains("raise its maxmemory"), "{advised}");

        let kind = ErrorKind::Server(ServerErrorKind::ReadOnly);
        let advised = advise(RedisError::from((kind, "no writes", "here".to_owned())));
        assert_eq!((advised.kind(), advised.code()), (kind, Some("READONLY")));
        assert!(advised.to_string().contains("REDIS_URL must name the primary"), "{advised}");
        assert!(advised.to_string().contains("no writes"), "{advised}");
    }

    #[test]
    fn what_needs_no_advice_stays_as_it_was() {
        let kind = ErrorKind::Server(ServerErrorKind::NoScript);
        let error = RedisError::from((kind, "no such script"));
        assert_eq!(advise(error.clone()), error);
    }
}
