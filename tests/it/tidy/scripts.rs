//! Each script in `queue/lua` states its contract and is used.

use super::{files, read, refuse};

/// Placed before the scripts that use it; it is no script by itself.
const SHARED: &str = "put_ready";

#[test]
fn every_script_states_its_contract_and_is_used() {
    let loader = read("queue/src/scripts.rs");
    let complaints: Vec<_> =
        files("queue/lua", &["lua"]).iter().flat_map(|(path, text)| faults(path, text, &loader)).collect();
    refuse(
        &complaints,
        "A script starts with what it does, `-- KEYS: …`, `-- ARGV: …` and `-- Returns: …`, and is named in queue/src/scripts.rs.",
    );
}

fn faults(path: &str, text: &str, loader: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".lua");
    let header: Vec<_> = text.lines().take_while(|line| line.starts_with("--")).collect();
    let mut faults = Vec::new();
    if header.is_empty() {
        faults.push(format!("{path} does not say what it does"));
    }
    if name != SHARED {
        for part in ["-- KEYS:", "-- ARGV:", "-- Returns:"] {
            if !header.iter().any(|line| line.starts_with(part)) {
                faults.push(format!("{path} has no line `{part} …`"));
            }
        }
    }
    let used = if name == SHARED {
        loader.contains("lua/put_ready.lua")
    } else {
        loader.contains(&format!("= \"{name}\";"))
    };
    if !used {
        faults.push(format!("{path} is not used"));
    }
    faults
}

#[test]
fn a_script_without_a_contract_is_found() {
    let loader = "CLAIM = \"claim\";";
    let good = "-- Takes.\n-- KEYS: ring\n-- ARGV: now\n-- Returns: nothing.\nreturn 1\n";
    assert_eq!(faults("queue/lua/claim.lua", good, loader), Vec::<String>::new());
    assert_eq!(faults("queue/lua/take.lua", good, loader), ["queue/lua/take.lua is not used"]);
    assert_eq!(
        faults("queue/lua/claim.lua", "-- Takes.\n-- KEYS: ring\n-- ARGV: now\nreturn 1\n", loader),
        ["queue/lua/claim.lua has no line `-- Returns: …`"]
    );
}
