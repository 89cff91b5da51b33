//! The picture of a simulation: how old data were and how much of Amazon's plans was used, over the hours. Plain SVG, in the
//! colours of the reader's light or dark scheme.

use std::fmt::Write;

use crate::{
    Options,
    measure::{Measure, Sample},
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const HEIGHT: f64 = 240.0;
const LONGEST_NAME: usize = 22;
const GAP: f64 = 84.0;
const TOP: f64 = 72.0;
/// Colours that differ for most people who do not see them all.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"];

/// A line of a chart: its name, and a point for each sample that has one.
struct Line {
    name: String,
    dashed: bool,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// Draws it.
pub(crate) fn draw(measure: &Measure, options: &Options) -> String {
    let hours = f64::from(options.hours);
    let mut svg = String::new();
    let height = TOP + 3.0 * (HEIGHT + GAP);
    // Writing to a string does not fail.
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\
         <title>{} sellers over {} hours</title>\
         <style>svg{{background:#fff;color:#222}}text{{fill:currentColor}}.grid{{stroke:currentColor;opacity:.15}}\
         @media(prefers-color-scheme:dark){{svg{{background:#15181c;color:#e6e6e6}}}}</style>\
         <text x=\"{LEFT}\" y=\"30\" font-size=\"18\">{} sellers over {} hours (seed {}); hours of the day, UTC</text>",
        options.sellers, options.hours, options.sellers, options.hours, options.seed,
    )
    .unwrap_or_default();
    let quick = ["orders", "inventory"];
    let slow = ["listings", "sales_ranks", "performance", "participations"];
    chart(
        &mut svg,
        TOP,
        "age of orders and stock, minutes (solid: median; dashed: 99th percentile)",
        &ages(measure, &quick, 60.0),
        hours,
    );
    chart(
        &mut svg,
        TOP + HEIGHT + GAP,
        "age of the daily data sets, hours",
        &ages(measure, &slow, 3_600.0),
        hours,
    );
    chart(
        &mut svg,
        TOP + 2.0 * (HEIGHT + GAP),
        "used of all sellers' usage plans, percent",
        &used(measure),
        hours,
    );
    svg.push_str("</svg>\n");
    svg
}

fn ages(measure: &Measure, data_sets: &[&'static str], unit: f64) -> Vec<Line> {
    let line = |place: usize, name: &'static str, dashed: bool| {
        let point = |sample: &Sample| {
            let (p50, p99) = *sample.ages.get(name)?;
            Some((sample.hour, f64::from(if dashed { p99 } else { p50 }) / unit))
        };
        let points = measure.samples.iter().filter_map(point).collect();
        let name = format!("{}{}", name.replace('_', " "), if dashed { " p99" } else { "" });
        Line { name, dashed, colour: COLOURS[place % COLOURS.len()], points }
    };
    let numbered = data_sets.iter().enumerate();
    numbered.flat_map(|(place, name)| [line(place, name, false), line(place, name, true)]).collect()
}

/// The operations whose plans are used most.
fn used(measure: &Measure) -> Vec<Line> {
    let mut most: Vec<(&'static str, f64)> = Vec::new();
    for sample in &measure.samples {
        for (name, used) in &sample.used {
            match most.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = known.max(*used),
                None => most.push((name, *used)),
            }
        }
    }
    most.sort_by(|one, other| other.1.total_cmp(&one.1));
    let line = |(place, (name, _)): (usize, &(&'static str, f64))| {
        let point = |sample: &Sample| (sample.hour, 100.0 * sample.used.get(name).copied().unwrap_or(0.0));
        let points = measure.samples.iter().map(point).collect();
        Line { name: short(name), dashed: false, colour: COLOURS[place], points }
    };
    most.iter().take(COLOURS.len()).enumerate().map(line).collect()
}

/// A name as it fits beside a chart: Amazon's longest is as wide as the chart itself.
fn short(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    format!("{}…", name.chars().take(LONGEST_NAME - 1).collect::<String>())
}

fn chart(svg: &mut String, top: f64, title: &str, lines: &[Line], hours: f64) {
    let highest = lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
    let step = nice(highest / 4.0);
    let ceiling = (highest / step).ceil().max(1.0) * step;
    let (width, bottom) = (WIDTH - LEFT - RIGHT, top + HEIGHT);
    let x = |hour: f64| LEFT + width * hour / hours;
    let y = |value: f64| bottom - HEIGHT * value / ceiling;
    write!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-size=\"14\">{title}</text>", top - 14.0)
        .unwrap_or_default();
    let mut value = 0.0;
    while value <= ceiling + step / 2.0 {
        let at = y(value);
        write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT + width,
            LEFT - 8.0,
            at + 4.0,
            label(value),
        )
        .unwrap_or_default();
        value += step;
    }
    let every = nice(hours / 12.0).max(1.0);
    let mut hour = 0.0;
    while hour <= hours {
        write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{hour}</text>",
            x(hour),
            bottom + 18.0
        )
        .unwrap_or_default();
        hour += every;
    }
    for (place, line) in (0_u8..).zip(lines) {
        let points: Vec<_> =
            line.points.iter().map(|(hour, value)| format!("{:.1},{:.1}", x(*hour), y(*value))).collect();
        let dash = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let legend = top + 8.0 + 18.0 * f64::from(place);
        write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"1.8\"{dash} points=\"{1}\"/>\
             <line x1=\"{2}\" x2=\"{3}\" y1=\"{legend}\" y2=\"{legend}\" stroke=\"{0}\" stroke-width=\"3\"{dash}/>\
             <text x=\"{4}\" y=\"{5}\">{6}</text>",
            line.colour,
            points.join(" "),
            WIDTH - RIGHT + 12.0,
            WIDTH - RIGHT + 30.0,
            WIDTH - RIGHT + 36.0,
            legend + 4.0,
            line.name,
        )
        .unwrap_or_default();
    }
}

/// A round step of about this size.
fn nice(size: f64) -> f64 {
    let size = size.max(1e-3);
    let ten = 10_f64.powf(size.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| ten * factor >= size).unwrap_or(10.0);
    ten * factor
}

fn label(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
