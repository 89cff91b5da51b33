//! Settings of a scheduler.

use chrono::TimeDelta;
use runtime::env::{EnvError, Environment, Variable};

/// The variables that only schedulers read.
pub const VARIABLES: &[Variable] = &[RETENTION];

const RETENTION: Variable = Variable {
    name: "AMZIGO_RETENTION_DAYS",
    doc: "How many days jobs stay in the ledger after they were done or cancelled, from 1; dead letters stay until a person decides. Idempotency keys are good for as long.",
    default: Some("30"),
    example: "30",
    secret: false,
};

/// How long ended jobs stay, from the environment.
///
/// # Errors
/// When the setting is wrong.
pub(crate) fn retention(environment: &dyn Environment) -> Result<TimeDelta, EnvError> {
    let days: u16 = RETENTION.parse(environment)?;
    match days {
        0 => Err(RETENTION.invalid("0", "jobs must stay for at least 1 day")),
        days => Ok(TimeDelta::days(i64::from(days))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn jobs_stay_for_thirty_days_unless_told_otherwise_and_never_for_none() {
        let with = |days: &str| retention(&HashMap::from([(RETENTION.name, days.to_owned())]));
        assert_eq!(retention(&HashMap::new()).ok(), Some(TimeDelta::days(30)));
        assert_eq!(with("7").ok(), Some(TimeDelta::days(7)));
        for wrong in ["0", "-1", "a week", "70000"] {
            with(wrong).expect_err(wrong);
        }
    }
}
