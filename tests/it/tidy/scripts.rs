//! Each script in `queue/lua` states its contract and is used; `docs/ARCHITECTURE.md` lists them, and every key.

use super::{equal, files, markdown, read, refuse, section};

/// Placed before the scripts that use them; they are no scripts by themselves.
const SHARED: [&str; 2] = ["put_ready", "release"];

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
    if !SHARED.contains(&name) {
        for part in ["-- KEYS:", "-- ARGV:", "-- Returns:"] {
            if !header.iter().any(|line| line.starts_with(part)) {
                faults.push(format!("{path} has no line `{part} …`"));
            }
        }
    }
    let used = if SHARED.contains(&name) {
        loader.contains(&format!("lua/{name}.lua"))
    } else {
        loader.contains(&format!("] \"{name}\";"))
    };
    if !used {
        faults.push(format!("{path} is not used"));
    }
    faults
}

#[test]
fn the_page_lists_every_script() {
    let document = "docs/ARCHITECTURE.md";
    let text = read(document);
    equal(document, section(document, &text, "scripts"), &render());
}

#[test]
fn the_page_lists_every_key() {
    let (page, source) = (read("docs/ARCHITECTURE.md"), read("queue/src/keys.rs"));
    let parts: Vec<_> = key_parts(&source);
    assert!(parts.contains(&"ring"), "queue/src/keys.rs spells keys as `= \":ring:\"`; found {parts:?}");
    let complaints: Vec<_> = parts
        .into_iter()
        .filter(|part| !page.contains(&format!(":{part}`")) && !page.contains(&format!(":{part}:<")))
        .map(|part| format!("queue/src/keys.rs: {part}"))
        .collect();
    refuse(
        &complaints,
        "Add the key to the table in docs/ARCHITECTURE.md: what it is, and what it holds with which unit.",
    );
}

/// The last part of every key: the word after the base.
fn key_parts(source: &str) -> Vec<&str> {
    ["= \":", "\"{}:", "{base}:"]
        .into_iter()
        .flat_map(|base| source.split(base).skip(1))
        .filter_map(|rest| rest.split(['"', ':']).next())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Every script with the first sentence of its header, and what it returns.
fn render() -> String {
    let rows: Vec<_> = files("queue/lua", &["lua"])
        .iter()
        .map(|(path, text)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            let header: Vec<_> =
                text.lines().map_while(|line| line.strip_prefix("--")).map(str::trim).collect();
            let purpose = header.iter().take_while(|line| !line.starts_with("KEYS:") && !line.is_empty());
            let purpose = purpose.copied().collect::<Vec<_>>().join(" ");
            let sentence =
                purpose.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned() + ".";
            let returns = header.iter().find_map(|line| line.strip_prefix("Returns: ")).unwrap_or("–");
            vec![format!("`{name}`"), sentence, returns.to_owned()]
        })
        .collect();
    markdown(&["script", "what it does", "returns"], &rows)
}

#[test]
fn a_script_without_a_contract_is_found() {
    let loader = "CLAIM = [] \"claim\";";
    let good = "-- Takes.\n-- KEYS: ring\n-- ARGV: now\n-- Returns: nothing.\nreturn 1\n";
    assert_eq!(faults("queue/lua/claim.lua", good, loader), Vec::<String>::new());
    assert_eq!(faults("queue/lua/take.lua", good, loader), ["queue/lua/take.lua is not used"]);
    assert_eq!(
        faults("queue/lua/claim.lua", "-- Takes.\n-- KEYS: ring\n-- ARGV: now\nreturn 1\n", loader),
        ["queue/lua/claim.lua has no line `-- Returns: …`"]
    );
}
