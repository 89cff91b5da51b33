//! The scripts in `lua/`, one constant a file. Callers live beside what the script is for.
//!
//! A script of a queue names keys as `BASE .. RING .. name`: [`PREFACE`] stands before it, so that keys are spelled in
//! `keys.rs` alone. Functions that several scripts need come next.

use std::sync::LazyLock;

use redis::Script;

use crate::keys::PREFACE;

const PUT_READY: &str = include_str!("../lua/put_ready.lua");
const RELEASE: &str = include_str!("../lua/release.lua");

macro_rules! scripts {
    ($($name:ident = [$($shared:ident),*] $file:literal;)*) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(&[$($shared,)* include_str!(concat!("../lua/", $file, ".lua"))].concat())
        });)*
    };
}

scripts! {
    PUSH = [PREFACE, PUT_READY] "push";
    CLAIM = [PREFACE] "claim";
    HEARTBEAT = [PREFACE] "heartbeat";
    SETTLE = [PREFACE, PUT_READY, RELEASE] "settle";
    PROMOTE = [PREFACE, PUT_READY] "promote";
    RESCUE = [PREFACE, PUT_READY, RELEASE] "rescue";
    RESIGN = [PREFACE] "resign";
    RAISE_FENCE = [PREFACE] "raise_fence";
    IDS_OF_LANE = [PREFACE] "ids_of_lane";
    CONTROL = [PREFACE] "control";
    UNPARK = [PREFACE, PUT_READY, RELEASE] "unpark";
    RECOUNT = [PREFACE, PUT_READY, RELEASE] "recount";
    BUDGET_ASK = [] "budget_ask";
    BUDGET_DRAIN = [] "budget_drain";
    BUDGET_MOVE = [] "budget_move";
}

/// Most ids that one call of a script handles; more would keep others waiting.
pub(crate) const MAX_IDS: usize = 500;
