//! `deploy/env.example` lists every variable, as declared in the code.

use runtime::env::Variable;

use super::{equal, read, refuse};

/// Who reads what. A variable is declared once, so none stands in two lists.
fn declared() -> [(&'static str, &'static [Variable]); 5] {
    [
        ("Every process.", runtime::env::VARIABLES),
        (
            "Workers, and the console: AMZIGO_KEYS for its authenticator apps, and all where it connects a seller.",
            jobs::config::VARIABLES,
        ),
        ("Workers.", worker::config::VARIABLES),
        ("Schedulers.", scheduler::config::VARIABLES),
        ("The console.", console::config::VARIABLES),
    ]
}

#[test]
fn the_example_lists_every_variable() {
    equal("deploy/env.example", &read("deploy/env.example"), &render());
}

fn render() -> String {
    let mut text = "# Settings of all processes, as a shell or systemd reads them. `#NAME=value` shows a default; the other values are\n\
                    # examples to replace. Holds secrets: let only the processes' user read your copy.\n\
                    # Made from the declarations in the code; a test compares them.\n"
        .to_owned();
    for (reader, variables) in declared() {
        text.push_str(&format!("\n# --- {reader}\n"));
        for variable in variables {
            text.push_str(&format!("\n# {}\n", variable.doc));
            match variable.default {
                Some(default) => text.push_str(&format!("#{}={default}\n", variable.name)),
                None => text.push_str(&format!("{}={}\n", variable.name, quoted(variable.example))),
            }
        }
    }
    text
}

/// A shell would take `?`, `&` and blanks for its own.
fn quoted(value: &str) -> String {
    if value.contains([' ', '&', '?', '*', '|', ';', '<', '>', '$']) {
        format!("'{value}'")
    } else {
        value.to_owned()
    }
}

#[test]
fn a_variable_is_declared_once_and_explained() {
    let mut names = Vec::new();
    let mut complaints = Vec::new();
    for variable in declared().iter().flat_map(|(_, variables)| *variables) {
        if names.contains(&variable.name) {
            complaints.push(format!("{} is declared twice", variable.name));
        }
        names.push(variable.name);
        if !variable.doc.ends_with('.') || variable.example.is_empty() {
            complaints.push(format!("{} needs a sentence and an example", variable.name));
        }
    }
    refuse(&complaints, "Declare it in the crate that reads it, in that crate's VARIABLES.");
}
