//! Migrations are worded, and every table and column says what it is for: pages and the data map are made from that.
//!
//! Reads the SQL line by line as we write it: `create table NAME (`, a column a line, `);`.

use super::{files, refuse};

#[test]
fn migrations_are_called_by_moment_and_words() {
    let complaints: Vec<_> = files("migrations", &["sql"])
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !is_worded(path.trim_start_matches("migrations/")))
        .collect();
    refuse(
        &complaints,
        "A migration is called <year month day hour minute second>_<words>.sql; see migrations/README.md.",
    );
}

fn is_worded(file: &str) -> bool {
    let Some((moment, words)) = file.strip_suffix(".sql").and_then(|stem| stem.split_once('_')) else {
        return false;
    };
    moment.len() == 14
        && moment.bytes().all(|byte| byte.is_ascii_digit())
        && words.split('_').all(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase()))
}

#[test]
fn every_table_and_column_has_a_comment() {
    let all: String = files("migrations", &["sql"]).into_iter().map(|(_, text)| text + "\n").collect();
    refuse(
        &uncommented(&all),
        "Add `comment on table …` or `comment on column …`: what it holds, with its unit.",
    );
}

/// Tables and columns that no `comment on` names.
fn uncommented(sql: &str) -> Vec<String> {
    let mut wanted = Vec::new();
    let mut table = None;
    for line in sql.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match (table, words.as_slice()) {
            (_, ["create", "table", name, ..]) => {
                wanted.push(format!("table {name}"));
                table = Some(*name);
            }
            (_, ["alter", "table", altered, "add", "column", name, ..]) => {
                wanted.push(format!("column {altered}.{name}"));
            }
            (Some(_), [end, ..]) if end.starts_with(')') => table = None,
            (Some(name), [column, _, ..]) if is_column(line, column) => {
                wanted.push(format!("column {name}.{column}"));
            }
            _ => {}
        }
    }
    wanted.retain(|thing| !sql.contains(&format!("comment on {thing} is '")));
    wanted
}

/// Columns are indented by one step; what continues one or constrains the table is none.
fn is_column(line: &str, first_word: &str) -> bool {
    let indent = line.len() - line.trim_start().len();
    indent == 4 && !["constraint", "primary", "foreign", "unique", "check"].contains(&first_word)
}

#[test]
fn a_missing_comment_is_found() {
    let sql = "create table orders (\n    id uuid primary key,\n    state text not null\n        check (state <> ''),\n    primary key (id)\n);\n\
               comment on table orders is 'x';\ncomment on column orders.id is 'x';\nalter table orders add column at timestamptz;\n";
    assert_eq!(uncommented(sql), ["column orders.state", "column orders.at"]);
}

#[test]
fn a_number_is_no_word() {
    assert!(is_worded("20261123100100_schedules.sql"));
    for wrong in ["1_schedules.sql", "20261123100100.sql", "20261123100100_2.sql", "20261123100100_x.sql"] {
        assert!(!is_worded(wrong), "{wrong}");
    }
}
