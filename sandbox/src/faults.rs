//! Scripted faults: what Amazon, or the net in between, shall do wrong, when and how often.
//!
//! A script waits until a call fits it. The first script that fits decides; others keep their count. Faults that come after the
//! effect wait for a call that has one: a call that was refused anyway does not use them up.

use crate::operations::Operation;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::de::value::Error as NotAName;
use serde::de::{Error as _, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// 429, as if the quota were used up. The bucket is not touched.
    Quota,
    /// 500; nothing was done.
    Internal,
    /// 503; nothing was done.
    Unavailable,
    /// No answer until the faults are cleared, then an ordinary one. After ten minutes the connection is cut.
    Hang,
    /// An ordinary answer after `delay_ms`.
    Slow,
    /// The connection is closed without an answer; nothing was done.
    Cut,
    /// What was asked is done, then the connection is closed without an answer.
    CutAfter,
    /// What was asked is done, then the answer is 500.
    InternalAfter,
    /// What was asked is done, then no answer comes: when the faults are cleared, or after ten minutes, the connection is cut.
    HangAfter,
    /// 200 with a body that is no JSON; nothing was done.
    Garbage,
    /// No solicitation is offered although it could be.
    EmptyActions,
    /// 403 as for a missing role; from the sign-in, `unauthorized_client`.
    Denied,
    /// A report is accepted and will fail.
    Fatal,
    /// Only the first half of a document is there, and the store does not know that it is half.
    Truncated,
}

impl Fault {
    /// Whether it changes the outcome of a call that succeeded, instead of coming before it.
    pub(crate) fn follows_success(self) -> bool {
        matches!(self, Fault::CutAfter | Fault::InternalAfter | Fault::HangAfter) || self.only_for().is_some()
    }

    /// The one operation it can happen to, if there is but one.
    pub(crate) fn only_for(self) -> Option<Operation> {
        match self {
            Fault::EmptyActions => Some(Operation::GetSolicitationActionsForOrder),
            Fault::Fatal => Some(Operation::CreateReport),
            Fault::Truncated => Some(Operation::DownloadDocument),
            _ => None,
        }
    }
}

/// Which calls shall go wrong, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultScript {
    /// The operation, or `None` (`"*"` in JSON) for any, sign-in included.
    #[serde(serialize_with = "name_or_star", deserialize_with = "operation_or_any")]
    pub operation: Option<Operation>,
    /// Only calls for this seller.
    #[serde(default)]
    pub seller: Option<String>,
    /// What happens to them.
    pub fault: Fault,
    /// How many calls go wrong.
    pub times: u32,
    /// How many fitting calls pass unharmed before that.
    #[serde(default)]
    pub skip: u32,
    /// For [`Fault::Slow`]: by how many milliseconds the answer is late.
    #[serde(default = "one_second_ms")]
    pub delay_ms: u64,
    /// The chance, from 0 to 1, that a fitting call goes wrong. Those that do not are not counted.
    #[serde(default = "certain")]
    pub probability: f64,
}

impl FaultScript {
    /// The fault happens to the next `times` calls of the operation, whoever makes them.
    pub fn new(operation: impl Into<Option<Operation>>, fault: Fault, times: u32) -> FaultScript {
        FaultScript {
            operation: operation.into(),
            seller: None,
            fault,
            times,
            skip: 0,
            delay_ms: one_second_ms(),
            probability: certain(),
        }
    }

    fn fits(&self, operation: Operation, seller: Option<&str>) -> bool {
        self.operation.is_none_or(|scripted| scripted == operation)
            && (self.seller.is_none() || self.seller.as_deref() == seller)
            && self.fault.only_for().is_none_or(|only| only == operation)
    }
}

const ANY_OPERATION: &str = "*";

fn name_or_star<S: Serializer>(operation: &Option<Operation>, serializer: S) -> Result<S::Ok, S::Error> {
    match operation {
        Some(operation) => operation.serialize(serializer),
        None => serializer.serialize_str(ANY_OPERATION),
    }
}

fn operation_or_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Operation>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == ANY_OPERATION {
        return Ok(None);
    }
    let operation = Operation::deserialize(name.as_str().into_deserializer());
    operation.map(Some).map_err(|error: NotAName| D::Error::custom(error))
}

fn one_second_ms() -> u64 {
    1_000
}

fn certain() -> f64 {
    1.0
}

/// A fault that was drawn for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// What happens.
    pub(crate) fault: Fault,
    /// How long a slow answer takes.
    pub(crate) delay: Duration,
    script: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    script: FaultScript,
}

/// The scripts that wait for their calls.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<Waiting>,
    scripted: u64,
}

impl Faults {
    /// Adds a script behind those that wait already.
    pub(crate) fn script(&mut self, script: FaultScript) {
        self.waiting.retain(|waiting| waiting.script.times > 0);
        self.scripted += 1;
        self.waiting.push(Waiting { number: self.scripted, script });
    }

    /// Forgets all scripts. Returns how many had something left to do.
    pub(crate) fn clear(&mut self) -> usize {
        let left = self.waiting.iter().filter(|waiting| waiting.script.times > 0).count();
        self.waiting.clear();
        left
    }

    /// What goes wrong with this call, if anything.
    pub(crate) fn draw(
        &mut self,
        operation: Operation,
        seller: Option<&str>,
        chance: &mut StdRng,
    ) -> Option<Drawn> {
        let fitting =
            |waiting: &&mut Waiting| waiting.script.times > 0 && waiting.script.fits(operation, seller);
        let Waiting { number, script } = self.waiting.iter_mut().find(fitting)?;
        if script.skip > 0 {
            script.skip -= 1;
            return None;
        }
        if script.probability < 1.0 && !chance.random_bool(script.probability) {
            return None;
        }
        script.times -= 1;
        let delay = Duration::from_millis(script.delay_ms);
        Some(Drawn { fault: script.fault, delay, script: *number })
    }

    /// Gives back a fault whose call had no success to spoil.
    pub(crate) fn give_back(&mut self, drawn: Drawn) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.number == drawn.script) {
            waiting.script.times += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    struct Stage {
        faults: Faults,
        chance: StdRng,
    }

    impl Stage {
        fn with(scripts: impl IntoIterator<Item = FaultScript>) -> Stage {
            let mut faults = Faults::default();
            for script in scripts {
                faults.script(script);
            }
            Stage { faults, chance: StdRng::seed_from_u64(1) }
        }

        fn draw(&mut self, operation: Operation, seller: &str) -> Option<Drawn> {
            self.faults.draw(operation, Some(seller), &mut self.chance)
        }

        fn faults_of(&mut self, operation: Operation, calls: usize) -> Vec<Option<Fault>> {
            (0..calls).map(|_| self.draw(operation, "A1").map(|drawn| drawn.fault)).collect()
        }
    }

    #[test]
    fn a_script_skips_then_strikes_its_times_then_is_done() {
        let mut script = FaultScript::new(Operation::GetOrder, Fault::Internal, 2);
        script.skip = 1;
        let mut stage = Stage::with([script]);
        assert_eq!(
            stage.faults_of(Operation::GetOrder, 4),
            [None, Some(Fault::Internal), Some(Fault::Internal), None]
        );
    }

    #[test]
    fn a_script_strikes_only_its_operation_and_its_seller() {
        let mut script = FaultScript::new(Operation::GetOrder, Fault::Quota, 1);
        script.seller = Some("A2".to_owned());
        let mut stage = Stage::with([script]);
        assert_eq!(stage.draw(Operation::GetOrder, "A1"), None);
        assert_eq!(stage.draw(Operation::SearchOrders, "A2"), None);
        assert!(stage.draw(Operation::GetOrder, "A2").is_some());
    }

    #[test]
    fn scripts_take_turns_in_the_order_they_were_given() {
        let mut stage = Stage::with([
            FaultScript::new(Operation::SearchOrders, Fault::Unavailable, 1),
            FaultScript::new(None, Fault::Cut, 1),
        ]);
        assert_eq!(
            stage.faults_of(Operation::SearchOrders, 3),
            [Some(Fault::Unavailable), Some(Fault::Cut), None]
        );
    }

    #[test]
    fn a_fault_that_found_nothing_to_spoil_strikes_again() {
        let mut stage = Stage::with([FaultScript::new(None, Fault::CutAfter, 1)]);
        let drawn = stage.draw(Operation::SearchOrders, "A1").expect("it strikes");
        assert_eq!(stage.draw(Operation::SearchOrders, "A1"), None);
        stage.faults.give_back(drawn);
        assert!(stage.draw(Operation::SearchOrders, "A1").is_some());
    }

    #[test]
    fn chance_decides_without_using_up_the_times() {
        let mut script = FaultScript::new(None, Fault::Internal, 3);
        script.probability = 0.5;
        let mut stage = Stage::with([script]);
        let struck: Vec<_> = stage.faults_of(Operation::GetOrder, 50).into_iter().flatten().collect();
        assert_eq!(struck, [Fault::Internal; 3]);
    }

    #[test]
    fn a_star_means_any_operation_and_a_wrong_name_is_refused() {
        let any: FaultScript = serde_json::from_str(r#"{"operation":"*","fault":"cut_after","times":1}"#)
            .expect("the script parses");
        assert_eq!((any.operation, any.fault), (None, Fault::CutAfter));
        let wrong =
            serde_json::from_str::<FaultScript>(r#"{"operation":"getOrders","fault":"cut","times":1}"#);
        assert!(wrong.expect_err("there is no such operation").to_string().contains("getOrders"));
    }
}
