//! Settings of a worker.

use std::{str::FromStr, time::Duration};

use jobs::{
    config::{self as amazon, AmazonSettings, NoticeSettings},
    keyring::Keyring,
};
use queue::Queue;
use runtime::env::{EnvError, Environment, Variable};

/// The variables that only workers read.
pub const VARIABLES: &[Variable] = &[SLOTS, GRACE];

const SLOTS: Variable = Variable {
    name: "AMZIGO_WORKER_SLOTS",
    doc: "How many jobs of each queue this worker runs at once, as queue=slots separated by commas; a queue that is not named is not worked on.",
    default: Some("urgent=4,sync=32,mail=8,heavy=2,upkeep=2"),
    example: "urgent=4,sync=32,mail=8,heavy=2,upkeep=2",
    secret: false,
};
const GRACE: Variable = Variable {
    name: "AMZIGO_GRACE_SECONDS",
    doc: "How long running jobs may go on after SIGTERM, in seconds; then they are handed back.",
    default: Some("25"),
    example: "25",
    secret: false,
};

/// What a worker needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) slots: Slots,
    pub(crate) grace: Duration,
    pub(crate) amazon: AmazonSettings,
    pub(crate) keyring: Keyring,
    pub(crate) notices: Option<NoticeSettings>,
}

/// How many jobs run at once, by queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots(pub(crate) Vec<(Queue, usize)>);

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut slots: Vec<(Queue, usize)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (queue, count) =
                part.split_once('=').ok_or_else(|| format!("`{part}` is not queue=slots"))?;
            let queue: Queue = queue.trim().parse()?;
            let count: usize =
                count.trim().parse().map_err(|_| format!("`{count}` is not a number of slots"))?;
            if slots.iter().any(|(known, _)| *known == queue) {
                return Err(format!("{queue} is named twice"));
            }
            if count > 0 {
                slots.push((queue, count));
            }
        }
        if slots.is_empty() {
            return Err("no queue has a slot".to_owned());
        }
        Ok(Self(slots))
    }
}

impl Config {
    pub(crate) fn from_env(environment: &dyn Environment) -> Result<Self, EnvError> {
        Ok(Self {
            slots: SLOTS.parse(environment)?,
            grace: Duration::from_secs(GRACE.parse(environment)?),
            amazon: AmazonSettings::from_env(environment)?,
            notices: NoticeSettings::from_env(environment)?,
            keyring: amazon::keyring(environment)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_name_their_queues() {
        assert_eq!("sync=2, urgent=1".parse(), Ok(Slots(vec![(Queue::Sync, 2), (Queue::Urgent, 1)])));
        for wrong in ["", "sync", "sync=x", "nothing=1", "sync=1,sync=2", "sync=0"] {
            wrong.parse::<Slots>().expect_err(wrong);
        }
    }

    #[test]
    fn defaults_are_accepted() {
        for variable in VARIABLES {
            assert!(variable.default.is_some(), "{}", variable.name);
        }
        SLOTS.default.expect("it has one").parse::<Slots>().expect("it parses");
    }
}
