//! The scripts in `lua/`, one constant a file. Callers live beside what the script is for.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($(#[$with:ident] $(#[$and:ident])? $name:ident = $file:literal;)*) => {
        $(pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(scripts!(@flags $with), scripts!(@source $($and)? $file))));)*
    };
    // The first line of a script decides. Without it, a full Redis refuses any script whose first write may need memory,
    // also one that makes room in the end.
    (@flags when_full) => { "#!lua flags=allow-oom\n" };
    (@flags refused_when_full) => { "#!lua\n" };
    (@source put_ready $file:literal) => {
        concat!(include_str!("../lua/put_ready.lua"), include_str!(concat!("../lua/", $file, ".lua")))
    };
    (@source $file:literal) => { include_str!(concat!("../lua/", $file, ".lua")) };
}

// Only what puts in more is refused when Redis is full. What is in it must come out: jobs are claimed and end, leases are
// renewed, delayed jobs become ready, and budgets (few, small, and with an end) let runs do their work.
scripts! {
    #[refused_when_full] #[put_ready] PUSH = "push";
    #[when_full] CLAIM = "claim";
    #[when_full] HEARTBEAT = "heartbeat";
    #[when_full] #[put_ready] SETTLE = "settle";
    #[when_full] #[put_ready] PROMOTE = "promote";
    #[when_full] #[put_ready] RESCUE = "rescue";
    #[when_full] RESIGN = "resign";
    #[when_full] RAISE_FENCE = "raise_fence";
    #[when_full] IDS_OF_LIST = "ids_of_list";
    #[when_full] BUDGET_ASK = "budget_ask";
    #[when_full] BUDGET_DRAIN = "budget_drain";
    #[when_full] BUDGET_MOVE = "budget_move";
}

/// Most ids that one call of a script handles; more would keep others waiting.
pub(crate) const MAX_IDS: usize = 500;
