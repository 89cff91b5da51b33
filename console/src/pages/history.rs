//! What the overview shows of the past: tiles, charts, and a small chart for each queue.

use chrono::TimeDelta;
use maud::{Markup, html};
use queue::{Queue, roll_up::Counts};

use crate::{
    ops::{
        history::{History, Span, ended},
        overview::Overview,
    },
    pages::chart::{Chart, Form, Series, chart, seconds, sparkline},
};

/// The numbers that one looks for first.
pub(super) fn tiles(overview: &Overview, history: &History) -> Markup {
    let total = history.total();
    let state = |of: fn(&crate::ops::counts::QueueCounts) -> i64| overview.queues.iter().map(of).sum::<i64>();
    let tile = |name: &str, value: String, note: String, href: Option<&str>| {
        html! {
            div.tile {
                dt { (name) }
                dd {
                    @if let Some(href) = href { a href=(href) { (value) } } @else { (value) }
                    span.quiet { (note) }
                }
            }
        }
    };
    let percentile = |of: &queue::histogram::Histogram, share| {
        of.percentile(share).map_or_else(|| "–".to_owned(), |took| seconds(took.as_secs_f64()))
    };
    let since = format!("in the last {}", history.span.in_words());
    html! {
        dl.tiles {
            (tile("Running", state(|queue| queue.running).to_string(), "now".to_owned(), Some("/jobs?state=running")))
            (tile("Ready", state(|queue| queue.ready).to_string(), "now".to_owned(), Some("/jobs?state=ready")))
            (tile("Ended", ended(&total).to_string(), since.clone(), None))
            (tile("Failed runs", (total.failed + total.crashed).to_string(), share_failed(&total), None))
            (tile("Wait, p95", percentile(&total.waits, 0.95), since.clone(), None))
            (tile("Run, p95", percentile(&total.runs, 0.95), since, None))
            (tile("Dead letters", state(|queue| queue.dead).to_string(), "to decide about".to_owned(), Some("/jobs?state=dead")))
        }
    }
}

/// How many of all runs failed, in words.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn share_failed(total: &Counts) -> String {
    let failed = total.failed + total.crashed;
    let runs = failed + total.done;
    if runs == 0 {
        return "no run ended".to_owned();
    }
    format!("{:.1} % of all", failed as f64 * 100.0 / runs as f64)
}

/// Which span, and its charts.
pub(super) fn charts(history: &History) -> Markup {
    html! {
        section.charts aria-labelledby="charts" {
            div.bar {
                h2 #charts { "The last " (history.span.in_words()) }
                nav.spans aria-label="Span of the charts" {
                    @for span in Span::ALL {
                        a href={ "/?span=" (span.name()) } aria-current=[(span == history.span).then_some("true")] { (span.name()) }
                    }
                }
            }
            div.four {
                (chart(&rates(history, "throughput", "Jobs ended, a minute", &[
                    ("done", "done", |counts| counts.done),
                    ("cancelled", "cancelled", |counts| counts.cancelled),
                    ("dead", "dead", |counts| counts.dead),
                ], "No job has ended in this time.")))
                (chart(&rates(history, "failures", "Runs failed, a minute", &[
                    ("failed", "delayed", |counts| counts.failed),
                    ("worker lost", "dead", |counts| counts.crashed),
                ], "No run has failed in this time.")))
                (chart(&times(history, "waits", "Wait for a worker", |counts| &counts.waits, "No run has begun in this time.")))
                (chart(&times(history, "runs", "Run time", |counts| &counts.runs, "No job was done in this time.")))
            }
        }
    }
}

type Rate = (&'static str, &'static str, fn(&Counts) -> i64);

fn rates<'c>(
    history: &History,
    id: &'static str,
    title: &'c str,
    series: &[Rate],
    empty: &'c str,
) -> Chart<'c> {
    let each = history.span.stretch().length();
    let series = series.iter().map(|(name, colour, of)| Series {
        name,
        colour,
        values: history.all.iter().map(|counts| Some(a_minute(of(counts), each))).collect(),
    });
    Chart {
        id,
        title,
        unit: " a minute",
        form: Form::Bars,
        series: series.collect(),
        from: history.from,
        each,
        empty,
    }
}

fn times<'c>(
    history: &History,
    id: &'static str,
    title: &'c str,
    of: fn(&Counts) -> &queue::histogram::Histogram,
    empty: &'c str,
) -> Chart<'c> {
    let series = [("p50", "calm", 0.5), ("p95", "running", 0.95), ("p99", "delayed", 0.99)];
    let series = series.into_iter().map(|(name, colour, share)| Series {
        name,
        colour,
        values: history
            .all
            .iter()
            .map(|counts| of(counts).percentile(share).map(|took| took.as_secs_f64()))
            .collect(),
    });
    let each = history.span.stretch().length();
    Chart {
        id,
        title,
        unit: "",
        form: Form::Times,
        series: series.collect(),
        from: history.from,
        each,
        empty,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn a_minute(count: i64, each: TimeDelta) -> f64 {
    count as f64 / (each.num_seconds().max(1) as f64 / 60.0)
}

/// What ended on a queue, in a row of a table.
pub(super) fn spark(history: &History, queue: Queue) -> Markup {
    let Some((_, ended)) = history.queues.iter().find(|(of, _)| *of == queue) else { return html! {} };
    let sum: i64 = ended.iter().sum();
    html! {
        (sparkline(ended, &format!("{sum} jobs ended on {queue} in the last {}", history.span.in_words())))
    }
}
