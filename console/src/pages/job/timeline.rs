//! What happened to a job, in the order in which it did: its birth, waits, runs and errors, what people did, its end.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use queue::State as JobState;

use crate::{
    ops::{jobs::JobRecord, story::Story},
    pages::parts,
};

/// Something that happened.
struct Event<'j> {
    at: DateTime<Utc>,
    what: String,
    /// The state that it led to, where it led to one.
    state: Option<&'j str>,
    /// An error or a reason.
    more: Option<&'j str>,
}

/// The timeline, as a section of the job's page.
pub(super) fn of(job: &JobRecord, story: &Story) -> Markup {
    let events = events(job, story);
    html! {
        section {
            h2 { "What happened" }
            ol.timeline {
                @for (n, event) in events.iter().enumerate() {
                    @if let Some(waited) = n.checked_sub(1).map(|before| event.at - events[before].at) {
                        @if waited.num_seconds() > 0 { li.between { (parts::span(waited)) } }
                    }
                    li {
                        (event.what)
                        @if let Some(state) = event.state { " → " (parts::state(state)) }
                        " · " (parts::moment(event.at))
                        @if let Some(more) = event.more { pre { (more) } }
                    }
                }
                @if job.finished_at.is_none() { li.now { "now: " (parts::state(&job.state)) (waits(job)) } }
            }
            @if job.failures.is_empty() { p.note { "No run has failed." } }
            @if job.snoozes > 0 {
                p.note { "Beside that, " (parts::quantity(i64::from(job.snoozes), "snooze")) ": waits for a budget or another moment, which count nothing." }
            }
        }
    }
}

fn waits(job: &JobRecord) -> Markup {
    html! {
        @if let Some(waits_for) = &job.waits_for { " for " (waits_for) }
        @if job.state == JobState::Delayed.name() { ", until " (parts::moment(job.due_at)) }
    }
}

fn events<'j>(job: &'j JobRecord, story: &'j Story) -> Vec<Event<'j>> {
    let first = if job.due_at > job.created_at && job.started_at.is_none() { "delayed" } else { "ready" };
    let mut events = vec![Event {
        at: job.created_at,
        what: format!("enqueued by {}", job.cause),
        state: Some(first),
        more: None,
    }];
    for (n, run) in job.failures.iter().enumerate() {
        let (what, state) = match run.decision.as_str() {
            "retry" => ("failed, and counted as an attempt", "delayed"),
            "reject" => ("failed for good", "dead"),
            "crash" => ("lost its worker", "ready"),
            _ => ("failed", "delayed"),
        };
        let what = format!("run {} {what}", n + 1);
        events.push(Event { at: run.at, what, state: Some(state), more: Some(&run.error) });
    }
    for act in &story.acts {
        let what = format!("{} did {}", act.actor, act.action);
        events.push(Event { at: act.at, what, state: None, more: Some(&act.reason) });
    }
    if let Some(deadline) = &job.deadline {
        events.extend(deadline.escalations.iter().map(|reached| Event {
            at: reached.at,
            what: format!("its deadline: {}", reached.level),
            state: None,
            more: Some(&reached.why),
        }));
    }
    if let Some(at) = job.started_at {
        events.push(Event { at, what: "its last run began".to_owned(), state: Some("running"), more: None });
    }
    events.sort_by_key(|event| event.at);
    // A job that died says so by its last error already.
    let died = job.state == JobState::Dead.name() && !job.failures.is_empty();
    if let Some(at) = job.finished_at.filter(|_| !died) {
        let more = job.last_error.as_deref().filter(|_| job.state != JobState::Done.name());
        events.push(Event { at, what: "ended".to_owned(), state: Some(&job.state), more });
    }
    events
}
