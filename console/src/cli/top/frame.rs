//! What a frame of `amzigo top` says, as lines of text and as JSON. Pure: the screen only cuts and colours it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use queue::{Queue, deadline::Level};
use serde::Serialize;

use super::super::answer;
use crate::{
    ops::{
        controls::Setting,
        counts::EndedCounts,
        overview::{Overview, Problem},
    },
    pages::parts::{quantity, span},
};

/// What was read.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) overview: Overview,
    /// What ended within the last minute.
    pub(super) ended: Vec<EndedCounts>,
}

/// A frame. Moments are UTC.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    now: DateTime<Utc>,
    /// The worst first.
    problems: Vec<String>,
    paused: Vec<String>,
    outbox: i64,
    queues: Vec<QueueLine>,
    running: Vec<JobLine>,
    ended: Vec<JobLine>,
}

#[derive(Debug, Serialize)]
struct QueueLine {
    queue: Queue,
    ready: i64,
    delayed: i64,
    running: i64,
    dead: i64,
    /// `None` while Redis does not answer.
    workers: Option<u64>,
    done_per_minute: i64,
    died_per_minute: i64,
    oldest_ready_since: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct JobLine {
    id: String,
    kind: String,
    group: String,
    state: String,
    /// From 1; of what runs.
    attempt: Option<i32>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl Frame {
    pub(super) fn of(seen: &Seen) -> Self {
        let overview = &seen.overview;
        let workers = |queue| {
            let depths = overview.depths.as_ref()?;
            depths.iter().find(|(of, _)| *of == queue).map(|(_, depth)| depth.workers)
        };
        let ended = |queue| seen.ended.iter().find(|counts| counts.queue == queue);
        Self {
            now: overview.now,
            problems: overview.problems.iter().map(|problem| words(problem, overview.now)).collect(),
            paused: overview
                .controls
                .iter()
                .filter(|control| control.setting == Setting::Paused)
                .map(|control| answer::plain(&control.of()))
                .collect(),
            outbox: overview.outbox.depth,
            queues: overview
                .queues
                .iter()
                .map(|counts| QueueLine {
                    queue: counts.queue,
                    ready: counts.ready,
                    delayed: counts.delayed,
                    running: counts.running,
                    dead: counts.dead,
                    workers: workers(counts.queue),
                    done_per_minute: ended(counts.queue).map_or(0, |ended| ended.done),
                    died_per_minute: ended(counts.queue).map_or(0, |ended| ended.died),
                    oldest_ready_since: counts.oldest_ready_since,
                })
                .collect(),
            running: overview
                .running
                .iter()
                .map(|job| JobLine {
                    id: job.id.to_string(),
                    kind: job.kind.clone(),
                    group: job.group.clone(),
                    state: "running".to_owned(),
                    attempt: Some(job.attempt),
                    started_at: Some(job.since),
                    finished_at: None,
                })
                .collect(),
            ended: overview
                .finished
                .iter()
                .map(|job| JobLine {
                    id: job.id.to_string(),
                    kind: job.kind.clone(),
                    group: job.group.clone(),
                    state: job.state.clone(),
                    attempt: None,
                    started_at: job.started_at,
                    finished_at: Some(job.finished_at),
                })
                .collect(),
        }
    }
}

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Dim,
    Wrong,
    Look,
    Well,
}

/// A line of the screen, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self { tone, text: answer::plain(text) }
    }

    pub(super) fn wrong(text: &str) -> Self {
        Self::new(Tone::Wrong, text)
    }
}

/// The first line of the screen.
pub(super) fn title(every: Duration, paused: bool) -> Line {
    if paused {
        return Line::new(Tone::Look, "amzigo top   PAUSED, p goes on");
    }
    Line::new(Tone::Heading, &format!("amzigo top   every {} s", every.as_secs()))
}

/// All lines of a frame.
pub(super) fn lines(frame: &Frame, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut say = |tone, text: &str| lines.push(Line::new(tone, text));
    say(Tone::Dim, &frame.now.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    say(Tone::Plain, "");
    if frame.problems.is_empty() {
        say(Tone::Well, "✓ Nothing is wrong.");
    }
    for problem in &frame.problems {
        say(Tone::Wrong, &format!("✗ {problem}"));
    }
    for paused in &frame.paused {
        say(Tone::Look, &format!("‖ Paused: {paused}"));
    }
    say(Tone::Plain, "");
    let head = format!(
        "{:<8}{:>8}{:>9}{:>9}{:>7}{:>9}{:>10}{:>10}  {}",
        "QUEUE", "ready", "delayed", "running", "dead", "workers", "done/min", "died/min", "oldest ready"
    );
    say(Tone::Heading, &head);
    for queue in &frame.queues {
        let workers = queue.workers.map_or_else(|| "?".to_owned(), |workers| workers.to_string());
        let oldest =
            queue.oldest_ready_since.map(|since| span(frame.now - since)).unwrap_or_else(|| "-".to_owned());
        let idle = queue.ready + queue.delayed + queue.running + queue.dead + queue.done_per_minute == 0;
        let tone = match queue {
            queue if queue.dead > 0 => Tone::Look,
            _ if idle => Tone::Dim,
            _ => Tone::Plain,
        };
        say(
            tone,
            &format!(
                "{:<8}{:>8}{:>9}{:>9}{:>7}{workers:>9}{:>10}{:>10}  {oldest}",
                queue.queue.name(),
                queue.ready,
                queue.delayed,
                queue.running,
                queue.dead,
                queue.done_per_minute,
                queue.died_per_minute
            ),
        );
    }
    say(Tone::Plain, "");
    say(Tone::Plain, &format!("outbox  {}", quantity(frame.outbox, "job")));
    say(Tone::Plain, "");
    // Ids and names of groups are as long as they are; what is too narrow for them shows the ends of ids.
    let group = |group: &str| if width < 110 { end_of(group) } else { group.to_owned() };
    say(Tone::Heading, &format!("{:<12}{:<26}{:<9}{:<38}JOB", "RUNNING", "kind", "attempt", "for"));
    if frame.running.is_empty() {
        say(Tone::Dim, "nothing");
    }
    for job in &frame.running {
        let since = job.started_at.map(|at| span(frame.now - at)).unwrap_or_default();
        let attempt = job.attempt.unwrap_or(1);
        let text =
            format!("{since:<12}{:<26}{attempt:<9}{:<38}{}", job.kind, group(&job.group), end_of(&job.id));
        say(if attempt > 1 { Tone::Look } else { Tone::Plain }, &text);
    }
    say(Tone::Plain, "");
    say(Tone::Heading, &format!("{:<12}{:<26}{:<9}{:<38}JOB", "ENDED", "kind", "state", "for"));
    if frame.ended.is_empty() {
        say(Tone::Dim, "nothing");
    }
    for job in &frame.ended {
        let ago = job.finished_at.map(|at| format!("{} ago", span(frame.now - at))).unwrap_or_default();
        let text =
            format!("{ago:<12}{:<26}{:<9}{:<38}{}", job.kind, job.state, group(&job.group), end_of(&job.id));
        say(if job.state == "dead" { Tone::Wrong } else { Tone::Plain }, &text);
    }
    lines
}

/// The last digits of an id tell jobs of the same second apart; other names stay whole.
fn end_of(name: &str) -> String {
    match name.get(28..) {
        Some(end) if name.len() == 36 => format!("…{end}"),
        _ => name.to_owned(),
    }
}

/// A problem in a line, with what to do.
fn words(problem: &Problem, now: DateTime<Utc>) -> String {
    match problem {
        Problem::RedisAway => {
            "Redis does not answer: no job starts, none is lost. `amzigo doctor` says more.".to_owned()
        }
        Problem::NoScheduler => {
            "No scheduler leads: nothing new is relayed, promoted or fired. Start one.".to_owned()
        }
        Problem::NotRelayed { depth, since } => format!(
            "{} in the outbox, the oldest for {}: look at the scheduler's log and at Redis.",
            quantity(*depth, "job"),
            span(now - *since)
        ),
        Problem::Deadlines { level, jobs } => {
            let danger = match level {
                Level::Missed => "missed the deadline",
                Level::CannotFit => "can no longer meet the deadline",
                _ => "must start now to meet the deadline",
            };
            format!("{} {danger}: `amzigo deadlines` names them.", quantity(*jobs, "job"))
        }
        Problem::NoWorker { queue, ready } => {
            format!("No worker is on {queue}, with {} ready: start one.", quantity(*ready, "job"))
        }
        Problem::Waiting { queue, since, partly_paused } => {
            let why = if *partly_paused { "some of it is paused" } else { "its workers are busy or stuck" };
            format!("A job on {queue} has been ready for {}: {why}.", span(now - *since))
        }
        Problem::Dead { letters } => {
            format!("{} to decide about: `amzigo dead list` names them.", quantity(*letters, "dead letter"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let now: DateTime<Utc> = "2026-11-25T03:50:51Z".parse().expect("a moment");
        let job = |state: &str, attempt| JobLine {
            id: "0193cf5e-7e2a-7c11-9a53-0d6c5f4b2a10".to_owned(),
            kind: "sync_orders".to_owned(),
            group: "some\u{1b}[2Jbody".to_owned(),
            state: state.to_owned(),
            attempt,
            started_at: Some(now - chrono::TimeDelta::seconds(75)),
            finished_at: Some(now - chrono::TimeDelta::seconds(5)),
        };
        Frame {
            now,
            problems: vec!["No scheduler leads: start one.".to_owned()],
            paused: vec!["mail".to_owned()],
            outbox: 1,
            queues: vec![QueueLine {
                queue: Queue::Sync,
                ready: 12,
                delayed: 3,
                running: 1,
                dead: 2,
                workers: None,
                done_per_minute: 840,
                died_per_minute: 1,
                oldest_ready_since: Some(now - chrono::TimeDelta::minutes(4)),
            }],
            running: vec![job("running", Some(2))],
            ended: vec![job("dead", None)],
        }
    }

    #[test]
    fn what_is_wrong_stands_first_and_nothing_steers_the_terminal() {
        let lines = lines(&frame(), 80);
        let wrong: Vec<_> =
            lines.iter().filter(|line| line.tone == Tone::Wrong).map(|line| &line.text).collect();
        assert_eq!(lines[2].text, "✗ No scheduler leads: start one.");
        assert_eq!(wrong.len(), 2, "the problem and the dead job: {wrong:?}");
        assert_eq!(lines[3].text, "‖ Paused: mail");
        let queue = lines.iter().find(|line| line.text.starts_with("sync")).expect("the queue is there");
        assert_eq!(
            queue.text.split_whitespace().collect::<Vec<_>>(),
            ["sync", "12", "3", "1", "2", "?", "840", "1", "4", "min"]
        );
        assert!(lines.iter().all(|line| !line.text.contains('\u{1b}')));
        assert!(
            lines.iter().any(|line| line.text.contains("1 min") && line.tone == Tone::Look),
            "a second attempt"
        );
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let lines = lines(&frame(), 120);
        let at = |start: &str, word: &str| {
            let line = &lines.iter().find(|line| line.text.starts_with(start)).expect("it is there").text;
            line.find(word).map(|end| end + word.len())
        };
        assert_eq!(at("QUEUE", "done/min"), at("sync", "840"));
        assert_eq!(at("QUEUE", "delayed"), at("sync", " 3"));
    }
}
