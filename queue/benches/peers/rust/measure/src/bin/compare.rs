//! Reads the lines of all systems and rounds, and prints the best of each: JSON lines, a table, and the ratios.
//!
//! `compare` prints all three, `compare --json` leaves the table out. A line of our engine has the system `ours`. Measures
//! that are not compared are passed over; what was left out, and jobs lost or run twice in any round, are kept.

use std::{collections::BTreeMap, io::stdin};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

const OURS: &str = "ours";

/// A measure of the engine's benchmark, its figures, and which way is better.
struct Measure {
    name: &'static str,
    figures: &'static [&'static str],
    more_is_better: bool,
}

const MEASURES: [Measure; 4] = [
    Measure { name: "push_bulk", figures: &["per_s"], more_is_better: true },
    Measure { name: "drain", figures: &["per_s"], more_is_better: true },
    Measure { name: "idle_latency", figures: &["p50_us", "p99_us"], more_is_better: false },
    Measure { name: "redis_bytes_per_waiting_job", figures: &["bytes"], more_is_better: false },
];

/// The columns of the table: heading, measure, figure.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("push bulk/s", "push_bulk", "per_s"),
    ("drain/s", "drain", "per_s"),
    ("idle p50 us", "idle_latency", "p50_us"),
    ("idle p99 us", "idle_latency", "p99_us"),
    ("bytes/job", "redis_bytes_per_waiting_job", "bytes"),
    ("lost", "drain", "lost"),
    ("twice", "drain", "duplicates"),
];

/// The best line of each system and measure.
type Best = BTreeMap<(String, &'static str), Map<String, Value>>;

fn main() -> Result<()> {
    let json_only = std::env::args().any(|argument| argument == "--json");
    let mut best = Best::new();
    let mut left_out = Vec::new();
    for line in stdin().lines() {
        let line = line?;
        let Ok(Value::Object(line)) = serde_json::from_str(&line) else { continue };
        if line.get("name").is_some_and(|name| name == "left_out") {
            left_out.push(Value::Object(line));
        } else {
            keep(&mut best, line).context("a line has no system")?;
        }
    }
    for line in best.values() {
        println!("{}", Value::Object(line.clone()));
    }
    for line in &left_out {
        println!("{line}");
    }
    if !json_only {
        print!("\n{}\n", table(&best));
    }
    for line in ratios(&best) {
        println!("{line}");
    }
    Ok(())
}

fn keep(best: &mut Best, mut line: Map<String, Value>) -> Option<()> {
    let system = line.get("system")?.as_str()?.to_owned();
    let Some(measure) = MEASURES.iter().find(|known| line.get("name").is_some_and(|name| name == known.name))
    else {
        return Some(());
    };
    line.remove("round");
    let key = (system, measure.name);
    let kept = best.remove(&key);
    let rounds = kept.as_ref().map_or(0, |kept| number(kept, "rounds").unwrap_or(0.0) as u64) + 1;
    let worst = |figure: &str| {
        let of = |line: &Map<String, Value>| line.get(figure).and_then(Value::as_u64);
        [kept.as_ref().and_then(of), of(&line)].into_iter().flatten().max()
    };
    let (lost, duplicates) = (worst("lost"), worst("duplicates"));
    let mut winner = match kept {
        Some(kept) if !better(measure, &line, &kept) => kept,
        _ => line,
    };
    winner.insert("rounds".to_owned(), rounds.into());
    // A loss in one round is not made good by another.
    for (figure, count) in [("lost", lost), ("duplicates", duplicates)] {
        if let Some(count) = count {
            winner.insert(figure.to_owned(), count.into());
        }
    }
    best.insert(key, winner);
    Some(())
}

/// Of two figures, as p50 and p99, the last decides: it is the harder one.
fn better(measure: &Measure, line: &Map<String, Value>, than: &Map<String, Value>) -> bool {
    let figure = |line| measure.figures.last().and_then(|figure| number(line, figure));
    match (figure(line), figure(than)) {
        (Some(new), Some(old)) => (new > old) == measure.more_is_better && new != old,
        (new, _) => new.is_some(),
    }
}

fn number(line: &Map<String, Value>, figure: &str) -> Option<f64> {
    line.get(figure)?.as_f64()
}

/// Ours first, the others by how fast they drain.
fn systems(best: &Best) -> Vec<&str> {
    let mut systems: Vec<&str> = best.keys().map(|(system, _)| system.as_str()).collect();
    systems.dedup();
    let drain = |system: &str| {
        best.get(&(system.to_owned(), "drain")).and_then(|line| number(line, "per_s")).unwrap_or(0.0)
    };
    systems.sort_by(|a, b| (*b == OURS).cmp(&(*a == OURS)).then(drain(b).total_cmp(&drain(a))));
    systems
}

fn table(best: &Best) -> String {
    let mut rows = vec![
        std::iter::once("system".to_owned())
            .chain(COLUMNS.iter().map(|column| column.0.to_owned()))
            .collect(),
    ];
    for system in systems(best) {
        let cell = |(_, measure, figure): &(&str, &'static str, &str)| {
            best.get(&(system.to_owned(), *measure)).and_then(|line| line.get(*figure)).map_or_else(
                || "-".to_owned(),
                |value| if value.is_null() { "-".to_owned() } else { value.to_string() },
            )
        };
        rows.push(std::iter::once(system.to_owned()).chain(COLUMNS.iter().map(cell)).collect::<Vec<_>>());
    }
    let widths: Vec<usize> = (0..=COLUMNS.len())
        .map(|column| rows.iter().map(|row: &Vec<String>| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Ours divided by each of the others. Above 1 is better for what is counted per second, below 1 for times and bytes.
fn ratios(best: &Best) -> Vec<Value> {
    if !best.keys().any(|(system, _)| system == OURS) {
        return Vec::new();
    }
    let others = systems(best).into_iter().filter(|system| *system != OURS);
    let line = |system: &str| {
        let mut ratios = json!({ "name": "ratio", "system": system });
        for measure in &MEASURES {
            let of = |system: &str| best.get(&(system.to_owned(), measure.name));
            for figure in measure.figures {
                let of = |system| of(system).and_then(|line| number(line, figure));
                if let (Some(ours), Some(theirs)) = (of(OURS), of(system))
                    && theirs > 0.0
                {
                    let name = match measure.figures.len() {
                        1 => measure.name.to_owned(),
                        _ => format!("{}_{}", measure.name, figure.trim_end_matches("_us")),
                    };
                    ratios[name] = ((ours / theirs * 100.0).round() / 100.0).into();
                }
            }
        }
        ratios
    };
    others.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_of(lines: &[Value]) -> Best {
        let mut best = Best::new();
        for line in lines {
            keep(&mut best, line.as_object().expect("an object").clone()).expect("it has a system");
        }
        best
    }

    #[test]
    fn the_best_round_counts_and_a_loss_stays() {
        let best = best_of(&[
            json!({ "system": "a", "name": "drain", "per_s": null, "lost": 3, "round": 1 }),
            json!({ "system": "a", "name": "drain", "per_s": 20, "lost": 0, "round": 2 }),
            json!({ "system": "a", "name": "drain", "per_s": 10, "lost": 0, "round": 3 }),
            json!({ "system": "a", "name": "longest_script", "ms": 1 }),
        ]);
        let lines: Vec<_> = best.into_values().map(Value::Object).collect();
        assert_eq!(lines, [json!({ "system": "a", "name": "drain", "per_s": 20, "lost": 3, "rounds": 3 })]);
    }

    #[test]
    fn ratios_are_ours_by_theirs() {
        let best = best_of(&[
            json!({ "system": "ours", "name": "drain", "per_s": 100 }),
            json!({ "system": "ours", "name": "idle_latency", "p50_us": 100, "p99_us": 500 }),
            json!({ "system": "a", "name": "drain", "per_s": 8 }),
            json!({ "system": "a", "name": "idle_latency", "p50_us": 200, "p99_us": 250 }),
        ]);
        let right = json!({
            "name": "ratio", "system": "a", "drain": 12.5, "idle_latency_p50": 0.5, "idle_latency_p99": 2.0,
        });
        assert_eq!(ratios(&best), [right]);
    }

    #[test]
    fn the_table_is_aligned() {
        let best = best_of(&[
            json!({ "system": "slow one", "name": "drain", "per_s": 8, "lost": 0, "duplicates": 0 }),
            json!({ "system": "ours", "name": "drain", "per_s": 100 }),
        ]);
        let table = table(&best);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("ours ") && lines[2].starts_with("slow one "), "{table}");
        let ends: Vec<_> = lines[1..].iter().map(|line| line.len()).collect();
        assert_eq!(ends[0], ends[1], "{table}");
    }
}
