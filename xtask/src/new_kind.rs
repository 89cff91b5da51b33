//! `cargo xtask new-kind`: a kind of job that compiles and does something small, to be turned into the one that is wanted.
//!
//! Writes the kind's file and its runbook, and names the kind where kinds are named. Changes nothing when any of it is there already.
//! The example in `new_kind/` is real code: the tidy tests compile it, and fail on a kind that still says it is the example.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xtask::process::{on_path, succeed};
use xtask::{Error, Result};

use crate::Ended;
use crate::session::{Session, say, say_done};

pub(crate) const HELP: &str = "\
Usage: cargo xtask new-kind NAME

Writes a new kind of job: jobs/src/kinds/NAME.rs in the usual six parts, its lines in jobs/src/kinds.rs and jobs/src/catalog.rs, and
deploy/runbooks/NAME.md. What it writes compiles; says what is left to do. Changes nothing when the kind exists.

NAME says what the kind does, with a verb first, in snake case: sync_inventory, purge_reports.

Examples:
  cargo xtask new-kind sync_inventory";

/// The kind that the example is.
const EXAMPLE: [&str; 2] = ["count_marketplaces", "CountMarketplaces"];
const EXAMPLE_KIND: &str = include_str!("new_kind/example.rs");
const EXAMPLE_RUNBOOK: &str = include_str!("new_kind/runbook.md");
/// As the database allows.
const LONGEST_NAME: usize = 63;

pub(crate) fn misunderstood(arguments: &[String]) -> Option<String> {
    match arguments {
        [name] => Name::parse(name).err(),
        [] => Some("`new-kind` needs a name".to_owned()),
        words => Some(format!("`new-kind` takes one name, got `{}`", words.join(" "))),
    }
}

pub(crate) fn run(session: &Session, arguments: &[String]) -> Ended {
    let name = arguments.first().map(String::as_str).unwrap_or_default();
    let name = Name::parse(name).map_err(Error::Advice)?;
    let files = scaffold(&session.root, &name)?;
    for (path, text) in &files {
        fs::write(path, text).map_err(Error::file("writing", path))?;
    }
    if on_path("rustfmt").is_some() {
        succeed(&mut session.cargo(&["fmt", "--package", "jobs"]), &session.interrupts)?;
    }
    let kind = &name.snake;
    for (path, _) in &files {
        say(&format!("wrote {}", path.strip_prefix(&session.root).unwrap_or(path).display()));
    }
    say_done(&format!("`{kind}` compiles, and counts marketplaces. Now:"));
    eprintln!(
        "  1. jobs/src/kinds/{kind}.rs: say what it does, when, and why repeating is safe; then payload, policy, report and steps\n\
         \x20 2. its tests: does_its_work, twice_is_once, stops_and_resumes, nothing_to_do, and one for each way it may fail\n\
         \x20 3. deploy/runbooks/{kind}.md: what on-call sees, and decides\n\
         \x20 4. README.md: the table of kinds; `cargo xtask check` prints it\n\
         \x20 5. cargo xtask prepare, where its SQL is new"
    );
    Ok(ExitCode::SUCCESS)
}

/// A kind's name in both spellings.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    snake: String,
    camel: String,
}

impl Name {
    /// The name, or why it is none.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let words: Vec<&str> = text.split('_').collect();
        let is_word = |word: &&str| {
            word.starts_with(|first: char| first.is_ascii_lowercase())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if !words.iter().all(is_word) {
            return Err(format!(
                "`{text}` is not in snake case: small letters, digits and single underscores"
            ));
        }
        if words.len() < 2 {
            return Err(format!("`{text}` does not say what is done to what, as sync_inventory does"));
        }
        if text.len() > LONGEST_NAME {
            return Err(format!("`{text}` is longer than {LONGEST_NAME} letters"));
        }
        let camel = words.iter().map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        Ok(Self { snake: text.to_owned(), camel })
    }

    /// A text of the example's, as one of this kind's.
    fn put_into(&self, example: &str) -> String {
        let [snake, camel] = EXAMPLE;
        let text =
            example.replace("<kind>", &self.snake).replace(snake, &self.snake).replace(camel, &self.camel);
        text.replace("use jobs::", "use crate::")
    }
}

/// Every file that the new kind needs, with its new text. Reads only.
fn scaffold(root: &Path, name: &Name) -> Result<Vec<(PathBuf, String)>> {
    let kind = root.join(format!("jobs/src/kinds/{}.rs", name.snake));
    let runbook = root.join(format!("deploy/runbooks/{}.md", name.snake));
    for path in [&kind, &runbook] {
        if path.exists() {
            return Err(Error::Advice(format!("{} is there already: choose another name", path.display())));
        }
    }
    let (modules, catalog) = (root.join("jobs/src/kinds.rs"), root.join("jobs/src/catalog.rs"));
    let read = |path: &Path| fs::read_to_string(path).map_err(Error::file("reading", path));
    let changed = |path: &Path, text: Option<String>| {
        text.ok_or_else(|| {
            Error::Advice(format!(
                "{} does not look as expected: name the kind there by hand",
                path.display()
            ))
        })
    };
    let with_module = changed(&modules, with_module(&read(&modules)?, name))?;
    let with_kind = changed(&catalog, with_kind(&read(&catalog)?, name))?;
    Ok(vec![
        (kind, name.put_into(EXAMPLE_KIND)),
        (runbook, name.put_into(EXAMPLE_RUNBOOK)),
        (modules, with_module),
        (catalog, with_kind),
    ])
}

/// `kinds.rs` with the module among its own, in their order.
fn with_module(text: &str, name: &Name) -> Option<String> {
    let line = |name: &str| format!("pub mod {name};");
    let mut modules: BTreeSet<String> =
        text.lines().filter(|line| line.starts_with("pub mod ")).map(str::to_owned).collect();
    if modules.is_empty() || !modules.insert(line(&name.snake)) {
        return None;
    }
    let rest: Vec<_> = text.lines().filter(|line| !line.starts_with("pub mod ")).collect();
    let modules: Vec<_> = modules.into_iter().collect();
    Some(format!("{}\n\n{}\n", rest.join("\n").trim_end(), modules.join("\n")))
}

/// `catalog.rs` with the kind imported and listed last. The formatter has the last word on where lines break.
fn with_kind(text: &str, name: &Name) -> Option<String> {
    let text = insert_before(text, "kinds::{", '}', &format!("{}::{}", name.snake, name.camel))?;
    insert_before(&text, "Catalog::new(vec![", ']', &format!("Kind::of::<{}>()", name.camel))
}

/// Adds an item to the list between `begin` and the next `end`.
fn insert_before(text: &str, begin: &str, end: char, item: &str) -> Option<String> {
    let start = text.find(begin)? + begin.len();
    let stop = start + text[start..].find(end)?;
    let list = text[start..stop].trim().trim_end_matches(',');
    Some(format!("{}{list}, {item}{}", &text[..start], &text[stop..]))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process;

    use super::*;

    const PARTS: [&str; 4] = [
        "jobs/src/kinds.rs",
        "jobs/src/catalog.rs",
        "jobs/src/kinds/sync_orders.rs",
        "deploy/runbooks/sync_orders.md",
    ];

    /// A copy of what a new kind touches, removed in the end.
    struct Copy(PathBuf);

    impl Copy {
        fn of_the_tree(test: &str) -> Self {
            let copy = env::temp_dir().join(format!("amzigo-new-kind-{test}-{}", process::id()));
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            for part in PARTS {
                let to = copy.join(part);
                fs::create_dir_all(to.parent().expect("a part has a folder"))
                    .expect("the temporary folder is ours");
                fs::copy(root.join(part), to).expect("the part exists");
            }
            Self(copy)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).expect("it is there")
        }
    }

    impl Drop for Copy {
        fn drop(&mut self) {
            if let Err(error) = fs::remove_dir_all(&self.0) {
                eprintln!("{} stays behind: {error}", self.0.display());
            }
        }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn a_new_kind_is_written_and_named_where_kinds_are_named() {
        let copy = Copy::of_the_tree("written");
        for (path, text) in scaffold(&copy.0, &name("purge_reports")).expect("nothing is in the way") {
            fs::write(path, text).expect("the copy is ours");
        }
        let kind = copy.read("jobs/src/kinds/purge_reports.rs");
        for part in [
            "deploy/runbooks/purge_reports.md",
            "pub struct PurgeReports {",
            "const KIND: &'static str = \"purge_reports\";",
            "use crate::{",
        ] {
            assert!(kind.contains(part), "{part} is missing in\n{kind}");
        }
        assert!(!kind.contains("count_marketplaces") && !kind.contains("CountMarketplaces"), "{kind}");
        assert!(copy.read("deploy/runbooks/purge_reports.md").starts_with("# purge_reports\n"));
        let modules = copy.read("jobs/src/kinds.rs");
        assert!(modules.contains("\npub mod purge_reports;\npub mod receive_notifications;\n"), "{modules}");
        let catalog = copy.read("jobs/src/catalog.rs");
        assert!(catalog.contains("purge_reports::PurgeReports}"), "{catalog}");
        assert!(catalog.contains(", Kind::of::<PurgeReports>()]"), "{catalog}");
    }

    #[test]
    fn a_kind_that_exists_is_left_alone() {
        let copy = Copy::of_the_tree("exists");
        let error = scaffold(&copy.0, &name("sync_orders")).expect_err("it exists").to_string();
        assert!(
            error.ends_with("jobs/src/kinds/sync_orders.rs is there already: choose another name"),
            "{error}"
        );
    }

    #[test]
    fn a_catalog_that_looks_different_is_left_alone() {
        let copy = Copy::of_the_tree("different");
        fs::write(copy.0.join("jobs/src/catalog.rs"), "//! Something else.\n").expect("the copy is ours");
        let error = scaffold(&copy.0, &name("purge_reports")).expect_err("no list").to_string();
        assert!(error.contains("jobs/src/catalog.rs does not look as expected"), "{error}");
    }

    #[test]
    fn names_say_what_is_done_to_what() {
        assert_eq!(name("sync_fba_stock2").camel, "SyncFbaStock2");
        let long = format!("sync_{}", "x".repeat(LONGEST_NAME));
        for wrong in [
            "",
            "sync",
            "Sync_orders",
            "sync__orders",
            "_sync",
            "sync_",
            "sync-orders",
            "sync_2fast",
            "a/../b",
            &long,
        ] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_name_is_understood() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(misunderstood(&words("purge_reports")), None);
        for wrong in ["", "purge_reports now", "purge"] {
            assert!(misunderstood(&words(wrong)).is_some(), "{wrong:?}");
        }
    }
}
