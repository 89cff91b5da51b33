//! The scripts in `lua/`, one constant a file. Callers live beside what the script is for.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($(#[$with:ident])? $name:ident = $file:literal;)*) => {
        $(pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(scripts!(@source $($with)? $file)));)*
    };
    (@source put_ready $file:literal) => {
        concat!(include_str!("../lua/put_ready.lua"), include_str!(concat!("../lua/", $file, ".lua")))
    };
    (@source budget_state $file:literal) => {
        concat!(include_str!("../lua/budget_state.lua"), include_str!(concat!("../lua/", $file, ".lua")))
    };
    (@source $file:literal) => { include_str!(concat!("../lua/", $file, ".lua")) };
}

scripts! {
    #[put_ready] PUSH = "push";
    CLAIM = "claim";
    HEARTBEAT = "heartbeat";
    #[put_ready] SETTLE = "settle";
    #[put_ready] PROMOTE = "promote";
    #[put_ready] RESCUE = "rescue";
    RESIGN = "resign";
    RAISE_FENCE = "raise_fence";
    IDS_OF_LIST = "ids_of_list";
    #[budget_state] BUDGET_ASK = "budget_ask";
    #[budget_state] BUDGET_GIVE_BACK = "budget_give_back";
    #[budget_state] BUDGET_DRAIN = "budget_drain";
    #[budget_state] BUDGET_MOVE = "budget_move";
    #[budget_state] BUDGET_LOOK = "budget_look";
}

/// Most ids that one call of a script handles; more would keep others waiting.
pub(crate) const MAX_IDS: usize = 500;
