//! Nothing is left behind that was meant for its author only: notes to self, addresses of people, hosts, home folders.

use super::{files, refuse};

/// Written in pieces, so that this file does not find itself.
const NOTES: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("dbg", "!(")];

/// Hosts that code or documents may name: Amazon's, what explains a rule, and what can never be anybody's.
const HOSTS: [&str; 12] = [
    "api.amazon.com",
    "sellingpartnerapi-na.amazon.com",
    "sellingpartnerapi-eu.amazon.com",
    "sellingpartnerapi-fe.amazon.com",
    "developer-docs.amazon.com",
    "sellercentral.amazon.co.uk",
    "sqs.eu-west-1.amazonaws.com",
    // The name of SVG, not a place.
    "www.w3.org",
    "no-color.org",
    "docs.rs",
    "rustsec.org",
    "db.internal",
];
/// Endings that are set aside for examples.
const EXAMPLES: [&str; 4] = [".example", ".invalid", ".test", ".localhost"];

/// Every text of the repository but generated ones.
fn texts() -> Vec<(String, String)> {
    files(".", &["rs", "md", "toml", "sql", "lua", "yaml", "yml", "example", "run", "html", "css", "js"])
}

#[test]
fn no_notes_to_self() {
    let complaints =
        find(|line| NOTES.into_iter().filter(|note| line.contains(note)).map(str::to_owned).collect());
    refuse(&complaints, "Do it now, or write an issue; the code says what is, not what should be.");
}

/// `cargo xtask new-kind` says so in what it writes.
#[test]
fn no_example_is_taken_for_a_kind() {
    let example = concat!("Written by `cargo xtask ", "new-kind`");
    let mut complaints =
        find(|line| line.contains(example).then(|| example.to_owned()).into_iter().collect());
    complaints.retain(|complaint| !complaint.starts_with("xtask/src/new_kind/"));
    refuse(&complaints, "Turn the example into the kind that is wanted, or remove it.");
}

#[test]
fn no_address_of_a_person() {
    let complaints = find(addresses);
    refuse(&complaints, "Use an address that can be nobody's, as someone@mail.example.");
}

#[test]
fn no_unknown_host() {
    let complaints = find(unknown_hosts);
    refuse(
        &complaints,
        "Use example hosts (shop.example), or add a public one to HOSTS in tests/it/tidy/leftovers.rs.",
    );
}

fn find(faults: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    texts()
        .iter()
        .flat_map(|(path, text)| {
            text.lines()
                .enumerate()
                .flat_map(|(n, line)| {
                    faults(line).into_iter().map(move |fault| format!("{path}:{}: {fault}", n + 1))
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn is_example(host: &str) -> bool {
    EXAMPLES.iter().any(|ending| host.ends_with(ending))
}

/// Mail addresses at domains that may be somebody's. `user:password@host` in the URL of a server is none.
fn addresses(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._%+-".contains(c);
    line.match_indices('@')
        .filter_map(|(at, _)| {
            let name = line[..at].rsplit(|c| !is_part(c)).next().unwrap_or_default();
            let before = line[..at - name.len()].chars().next_back();
            let host: &str =
                line[at + 1..].split(|c| !is_part(c)).next().unwrap_or_default().trim_end_matches('.');
            let in_url = matches!(before, Some(':' | '/'));
            let is_domain = host
                .rsplit_once('.')
                .is_some_and(|(_, end)| end.len() > 1 && end.bytes().all(|byte| byte.is_ascii_alphabetic()));
            (!name.is_empty() && is_domain && !in_url && !is_example(host)).then(|| format!("{name}@{host}"))
        })
        .collect()
}

/// Hosts of URLs that are neither known, nor of this machine or its network, nor put together at run time.
fn unknown_hosts(line: &str) -> Vec<String> {
    line.split("://")
        .skip(1)
        .filter_map(|rest| {
            let authority = rest
                .split(['/', '?', '#', '"', '\'', '`', ' ', ')', '>', ',', ';'])
                .next()
                .unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
            let host = host.trim_end_matches('.');
            let near = !host.contains('.') || host.starts_with("127.");
            let written_out = !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
            (written_out && !near && !HOSTS.contains(&host) && !is_example(host)).then(|| host.to_owned())
        })
        .collect()
}

#[test]
fn what_is_left_behind_is_found() {
    // Put together here, so that this file does not find itself.
    let (person, host) = (format!("ann@{}", "mail.com"), ["evil", "io"].join("."));
    let line = format!("ask {person} or see https://{host}/x");
    assert_eq!(addresses(&line), [person]);
    assert_eq!(unknown_hosts(&line), [host]);
    for fine in [
        "postgres://user:password@db.internal:5432/amzigo",
        "http://127.0.0.1:8480/",
        "someone@mail.example",
        "http://{address}/livez",
        "https://api.amazon.com/auth/o2/token",
        "#[tokio::main]",
        "git@host",
    ] {
        assert_eq!((addresses(fine), unknown_hosts(fine)), (vec![], vec![]), "{fine}");
    }
}
