//! Charts as pictures that the server draws: no script, and each one's numbers in words and in a table as well.
//!
//! A picture has no text in it, so that it may be stretched to any width; what its lines mean stands around it.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use crate::pages::parts;

/// Width and height of a picture in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Most rows of the table beside a picture.
const MOST_ROWS: usize = 12;

/// One row of numbers, drawn in a colour of its own.
pub(super) struct Series<'s> {
    /// What it is, as in the legend.
    pub(super) name: &'s str,
    /// Which colour: a class of the style.
    pub(super) colour: &'static str,
    /// A value for each point; `None` where there is nothing to say.
    pub(super) values: Vec<Option<f64>>,
}

/// How a chart is drawn, and what its numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Bars on top of each other, from zero; numbers of things.
    Bars,
    /// Lines on a scale on which each step is ten times as long; seconds.
    Times,
}

/// A chart over a stretch of time.
pub(super) struct Chart<'c> {
    /// Names its elements; no two of a page are the same.
    pub(super) id: &'static str,
    /// What it shows.
    pub(super) title: &'c str,
    /// In what its numbers are, after a number.
    pub(super) unit: &'c str,
    /// How it is drawn.
    pub(super) form: Form,
    /// The lines, or the bars from below.
    pub(super) series: Vec<Series<'c>>,
    /// When its points begin.
    pub(super) from: DateTime<Utc>,
    /// How long each is.
    pub(super) each: TimeDelta,
    /// Said where there is nothing to draw.
    pub(super) empty: &'c str,
}

impl Chart<'_> {
    fn points(&self) -> usize {
        self.series.first().map_or(0, |series| series.values.len())
    }

    fn at(&self, point: usize) -> DateTime<Utc> {
        self.from + self.each * i32::try_from(point).unwrap_or(i32::MAX)
    }

    fn number(&self, value: f64) -> String {
        match self.form {
            Form::Bars => quantity(value),
            Form::Times => seconds(value),
        }
    }

    fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.values.iter().flatten().all(|value| *value <= 0.0))
    }

    /// What is at the bottom and at the top.
    fn bounds(&self) -> (f64, f64) {
        let values = || self.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        match self.form {
            Form::Bars => {
                let sums = (0..self.points())
                    .map(|point| self.series.iter().filter_map(|series| series.values[point]).sum::<f64>());
                (0.0, round_up(sums.fold(0.0, f64::max)))
            }
            Form::Times => {
                let least = values().fold(f64::INFINITY, f64::min).max(0.001);
                let most = values().fold(0.001, f64::max);
                let (below, above) = (least.log10().floor(), most.log10().ceil());
                (10_f64.powf(below), 10_f64.powf(above.max(below + 1.0)))
            }
        }
    }

    /// How high a value stands, from 0 to 1.
    fn height(&self, value: f64, (bottom, top): (f64, f64)) -> f64 {
        let share = match self.form {
            Form::Bars => (value - bottom) / (top - bottom),
            Form::Times => (value.max(bottom).log10() - bottom.log10()) / (top.log10() - bottom.log10()),
        };
        share.clamp(0.0, 1.0)
    }

    /// The value in the middle of the picture.
    fn middle(&self, (bottom, top): (f64, f64)) -> f64 {
        match self.form {
            Form::Bars => f64::midpoint(bottom, top),
            Form::Times => (bottom * top).sqrt(),
        }
    }

    /// The numbers in a sentence.
    fn in_words(&self) -> String {
        let mut words = format!("From {} to {} UTC.", clock(self.from), clock(self.at(self.points())));
        for series in &self.series {
            let known: Vec<f64> = series.values.iter().flatten().copied().collect();
            let Some(last) = last_whole(&series.values) else { continue };
            let most = known.iter().copied().fold(0.0, f64::max);
            let (last, most) = (self.number(last), self.number(most));
            // Writing to a string cannot fail.
            let _ = write!(words, " {}: at last {last}, at most {most}{}.", series.name, self.unit);
        }
        words
    }
}

/// A chart with its legend, its scale and its numbers as a table.
pub(super) fn chart(chart: &Chart<'_>) -> Markup {
    let title = format!("{}-title", chart.id);
    html! {
        figure.chart id=(chart.id) {
            figcaption {
                h3 id=(title) { (chart.title) }
                ul.legend {
                    @for series in &chart.series {
                        li class=(series.colour) {
                            (series.name) " "
                            strong { @if let Some(last) = last_whole(&series.values) { (chart.number(last)) } @else { "–" } }
                        }
                    }
                }
            }
            @if chart.is_empty() {
                p.empty { (chart.empty) }
            } @else {
                (picture(chart, &title))
                details.numbers {
                    summary { "Numbers" }
                    (table(chart))
                }
            }
        }
    }
}

/// The last value that is known, but for the last point of all: that one still passes.
fn last_whole(values: &[Option<f64>]) -> Option<f64> {
    let (_, whole) = values.split_last()?;
    whole.iter().rev().flatten().next().copied()
}

fn picture(chart: &Chart<'_>, title: &str) -> Markup {
    let bounds = chart.bounds();
    let description = format!("{}-words", chart.id);
    let last = chart.points();
    html! {
        div.plot {
            div.scale aria-hidden="true" {
                span { (chart.number(bounds.1)) } span { (chart.number(chart.middle(bounds))) } span { (chart.number(bounds.0)) }
            }
            svg role="img" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" aria-labelledby=(format!("{title} {description}")) {
                desc id=(description) { (chart.in_words()) }
                path.grid d=(format!("M0 0.5H{WIDTH}M0 {}H{WIDTH}M0 {}H{WIDTH}", HEIGHT / 2.0, HEIGHT - 0.5)) {}
                @match chart.form {
                    Form::Bars => @for (path, colour) in bars(chart, bounds) { path.bars.(colour) d=(path) {} },
                    Form::Times => @for series in &chart.series { path.line.(series.colour) d=(line(chart, series, bounds)) {} },
                }
            }
            div.dates aria-hidden="true" {
                span { (clock(chart.from)) } span { (clock(chart.at(last / 2))) } span { (clock(chart.at(last))) " UTC" }
            }
        }
    }
}

/// A path of rectangles for each series, the first one at the bottom.
fn bars(chart: &Chart<'_>, bounds: (f64, f64)) -> Vec<(String, &'static str)> {
    let width = WIDTH / as_number(chart.points().max(1));
    let mut below = vec![0.0; chart.points()];
    let mut paths = Vec::new();
    for series in &chart.series {
        let mut path = String::new();
        for (point, value) in series.values.iter().enumerate() {
            let value = value.unwrap_or(0.0);
            if value <= 0.0 {
                continue;
            }
            let from = HEIGHT * (1.0 - chart.height(below[point], bounds));
            let to = HEIGHT * (1.0 - chart.height(below[point] + value, bounds));
            let left = width.mul_add(as_number(point), width * 0.1);
            // What is there must be seen, however small.
            let tall = (from - to).max(1.0);
            let _ = write!(path, "M{left:.1} {from:.1}v-{tall:.1}h{:.1}v{tall:.1}z", width * 0.8);
            below[point] += value;
        }
        paths.push((path, series.colour));
    }
    paths
}

/// A path that stops where nothing is known.
fn line(chart: &Chart<'_>, series: &Series<'_>, bounds: (f64, f64)) -> String {
    let width = WIDTH / as_number(chart.points().max(1));
    let mut path = String::new();
    let mut drawing = false;
    for (point, value) in series.values.iter().enumerate() {
        let Some(value) = value else {
            drawing = false;
            continue;
        };
        let x = width * as_number(point);
        let y = HEIGHT * (1.0 - chart.height(*value, bounds));
        // A step as wide as what it stands for: a single one is seen as well.
        let _ = write!(path, "{}{x:.1} {y:.1}h{width:.1}", if drawing { 'L' } else { 'M' });
        drawing = true;
    }
    path
}

/// At most a dozen rows, of the last points; longer charts leave points out.
fn table(chart: &Chart<'_>) -> Markup {
    let step = chart.points().div_ceil(MOST_ROWS).max(1);
    html! {
        div.scroll tabindex="0" role="region" aria-label={ (chart.title) ", numbers" } {
            table {
                thead { tr { th scope="col" { "from, UTC" } @for series in &chart.series { th.number scope="col" { (series.name) } } } }
                tbody {
                    @for first in (0..chart.points()).step_by(step).collect::<Vec<_>>().into_iter().rev() {
                        tr {
                            th scope="row" { (clock(chart.at(first))) }
                            @for series in &chart.series {
                                @let some = &series.values[first..(first + step).min(series.values.len())];
                                td.number {
                                    @match together(chart.form, some) { Some(value) => (chart.number(value)), None => "–" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Several points as one: numbers on average, times at their longest.
fn together(form: Form, values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    if known.is_empty() {
        return None;
    }
    Some(match form {
        Form::Bars => known.iter().sum::<f64>() / as_number(values.len()),
        Form::Times => known.into_iter().fold(0.0, f64::max),
    })
}

/// A small chart within a row of a table. What it shows is said by `label`.
pub(super) fn sparkline(values: &[i64], label: &str) -> Markup {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let width = 120.0 / as_number(values.len().max(1));
    let mut path = String::new();
    for (point, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        let tall = (value / most * 22.0).max(1.0);
        let _ = write!(path, "M{:.1} 24v-{tall:.1}h{width:.1}v{tall:.1}z", width * as_number(point));
    }
    html! {
        svg.spark role="img" viewBox="0 0 120 24" preserveAspectRatio="none" aria-label=(label) {
            path.grid d="M0 23.5H120" {}
            @if most > 0.0 { path.bars.done d=(path) {} }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a page has some hundred points")]
fn as_number(count: usize) -> f64 {
    count as f64
}

/// The next of 1, 2, 4, 6, 10, 20, …: half of it is a plain number as well.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 10.0].into_iter().map(|step| step * unit).find(|step| *step >= most).unwrap_or(most)
}

/// A number of things, short: 0.4, 37, 1.2k.
fn quantity(value: f64) -> String {
    match value {
        value if value >= 1_000_000.0 => format!("{:.1}M", value / 1_000_000.0),
        value if value >= 10_000.0 => format!("{:.0}k", value / 1_000.0),
        value if value >= 1_000.0 => format!("{:.1}k", value / 1_000.0),
        value if value >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value if value < 0.1 => format!("{value:.2}"),
        value => format!("{value:.1}"),
    }
}

/// A length of time, short.
pub(super) fn seconds(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{:.0} ms", value * 1_000.0),
        value if value < 10.0 && value.fract() != 0.0 => format!("{value:.1} s"),
        value if value < 120.0 => format!("{value:.0} s"),
        #[expect(clippy::cast_possible_truncation, reason = "lengths of time are far below 2^53 ms")]
        value => parts::span(TimeDelta::milliseconds((value * 1_000.0) as i64)),
    }
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%a %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(form: Form, values: Vec<Option<f64>>) -> Chart<'static> {
        Chart {
            id: "example",
            title: "Example",
            unit: " a minute",
            form,
            series: vec![Series { name: "done", colour: "done", values }],
            from: DateTime::from_timestamp(1_790_000_000, 0).expect("a moment"),
            each: TimeDelta::minutes(1),
            empty: "Nothing ended.",
        }
    }

    #[test]
    fn the_highest_bar_reaches_no_higher_than_the_scale() {
        let chart = example(Form::Bars, vec![Some(3.0), Some(37.0), None]);
        assert_eq!(chart.bounds(), (0.0, 40.0));
        let paths = bars(&chart, chart.bounds());
        assert_eq!(
            paths,
            [("M20.0 120.0v-9.0h160.0v9.0zM220.0 120.0v-111.0h160.0v111.0z".to_owned(), "done")]
        );
        assert!(chart.in_words().ends_with("done: at last 37, at most 37 a minute."), "{}", chart.in_words());
    }

    #[test]
    fn a_line_stops_where_nothing_is_known_and_each_tenth_is_as_high() {
        let chart = example(Form::Times, vec![Some(0.01), Some(0.1), None, Some(1.0)]);
        assert_eq!(chart.bounds(), (0.01, 1.0));
        assert_eq!(
            line(&chart, &chart.series[0], chart.bounds()),
            "M0.0 120.0h150.0L150.0 60.0h150.0M450.0 0.0h150.0"
        );
        assert_eq!(seconds(chart.middle(chart.bounds())), "100 ms");
    }

    #[test]
    fn nothing_is_said_in_words() {
        let text = chart(&example(Form::Bars, vec![None, Some(0.0)])).into_string();
        assert!(text.contains("Nothing ended.") && !text.contains("<svg"), "{text}");
        let text = chart(&example(Form::Bars, vec![Some(2.0); 60])).into_string();
        assert!(text.contains("role=\"img\"") && text.contains("<desc"), "{text}");
        assert_eq!(text.matches("<tr>").count(), 1 + MOST_ROWS, "a table that one can read");
    }

    #[test]
    fn numbers_are_short() {
        let told: Vec<_> = [0.04, 0.5, 3.0, 37.0, 1_234.0, 45_678.0, 2_500_000.0].map(quantity).into();
        assert_eq!(told, ["0.04", "0.5", "3", "37", "1.2k", "46k", "2.5M"]);
        let told: Vec<_> = [0.004, 1.0, 2.5, 60.0, 600.0].map(seconds).into();
        assert_eq!(told, ["4 ms", "1 s", "2.5 s", "60 s", "10 min"]);
        assert_eq!([0.0, 0.7, 3.0, 5.0, 10.0, 11.0].map(round_up), [1.0, 1.0, 4.0, 6.0, 10.0, 20.0]);
    }
}
