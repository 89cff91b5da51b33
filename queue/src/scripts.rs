//! The scripts in `lua/`, one constant a file. Callers live beside what the script is for.
//!
//! A script of a queue names keys as `BASE .. RING .. name`: [`PREFACE`] stands before it, so that keys are spelled in
//! `keys.rs` alone. Functions that several scripts need come next. Before all stands what Redis is to allow.

use std::sync::LazyLock;

use redis::Script;

use crate::keys::PREFACE;

const PUT_READY: &str = include_str!("../lua/put_ready.lua");
const RELEASE: &str = include_str!("../lua/release.lua");
const BUDGET_STATE: &str = include_str!("../lua/budget_state.lua");

// The first line of a script decides about it as a whole. Without one, a full Redis refuses any script whose first write
// may need memory, also one that makes room in the end.
const WHEN_FULL: &str = "#!lua flags=allow-oom\n";
const NOT_WHEN_FULL: &str = "#!lua\n";

macro_rules! scripts {
    ($($name:ident = $flags:ident [$($shared:ident),*] $file:literal;)*) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(&[$flags, $($shared,)* include_str!(concat!("../lua/", $file, ".lua"))].concat())
        });)*
    };
}

// Only what puts in more is refused when Redis is full. What is in it must come out: jobs are claimed and end, leases are
// renewed, delayed jobs become ready, pauses hold, and budgets (few, small, and with an end) let runs do their work.
scripts! {
    PUSH = NOT_WHEN_FULL [PREFACE, PUT_READY] "push";
    CLAIM = WHEN_FULL [PREFACE] "claim";
    HEARTBEAT = WHEN_FULL [PREFACE] "heartbeat";
    SETTLE = WHEN_FULL [PREFACE, PUT_READY, RELEASE] "settle";
    PROMOTE = WHEN_FULL [PREFACE, PUT_READY] "promote";
    RESCUE = WHEN_FULL [PREFACE, PUT_READY, RELEASE] "rescue";
    RESIGN = WHEN_FULL [PREFACE] "resign";
    RAISE_FENCE = WHEN_FULL [PREFACE] "raise_fence";
    IDS_OF_LANE = WHEN_FULL [PREFACE] "ids_of_lane";
    CONTROL = WHEN_FULL [PREFACE] "control";
    UNPARK = WHEN_FULL [PREFACE, PUT_READY, RELEASE] "unpark";
    RECOUNT = WHEN_FULL [PREFACE, PUT_READY, RELEASE] "recount";
    BUDGET_ASK = WHEN_FULL [BUDGET_STATE] "budget_ask";
    BUDGET_GIVE_BACK = WHEN_FULL [BUDGET_STATE] "budget_give_back";
    BUDGET_DRAIN = WHEN_FULL [BUDGET_STATE] "budget_drain";
    BUDGET_MOVE = WHEN_FULL [BUDGET_STATE] "budget_move";
    BUDGET_LOOK = WHEN_FULL [BUDGET_STATE] "budget_look";
}

/// Most ids that one call of a script handles; more would keep others waiting.
pub(crate) const MAX_IDS: usize = 500;
