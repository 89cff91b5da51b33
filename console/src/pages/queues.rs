//! `/queues`: how full each queue is, who works on it, how much comes through, and what is said of it.

use axum::{extract::State, response::Html};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use queue::{controls::Scope, ready::Depth};

use crate::{
    auth::Person,
    console::Console,
    ops::{
        controls::{self, Control},
        counts::{self, COUNTED, QueueCounts},
        history::{self, History, Span},
        overview,
    },
    pages::{
        history::spark,
        layout::{self, Frame, Place},
        parts::{self, query},
        problem::Problem,
        steering,
    },
};

pub(super) async fn page(State(console): State<Console>, person: Person) -> Result<Html<String>, Problem> {
    let mut connection = console.pool.acquire().await?;
    let now = console.now();
    let queues = counts::by_queue(&mut connection).await?;
    let history = history::read(&mut connection, Span::Hour, now).await?;
    let controls = controls::list(&mut connection, None).await?;
    drop(connection);
    let depths = overview::depths(&console.engine).await;
    let cards = queues.iter().map(|counts| {
        let depth = depths.as_ref().and_then(|all| all.iter().find(|(queue, _)| *queue == counts.queue));
        card(counts, depth.map(|(_, depth)| *depth), &history, &controls, &person, now)
    });
    let content = html! {
        h1 { "Queues" }
        p.hint { "Each queue has worker slots of its own. A pause takes nothing more of it; what runs goes on." }
        @for card in cards { (card) }
    };
    let frame = Frame { title: "Queues", place: Place::Queues, now: Some(now), person: Some(&person) };
    Ok(layout::page(&frame, &content))
}

fn card(
    counts: &QueueCounts,
    depth: Option<Depth>,
    history: &History,
    controls: &[Control],
    person: &Person,
    now: DateTime<Utc>,
) -> Markup {
    let queue = counts.queue;
    let said: Vec<_> =
        controls.iter().filter(|one| one.queue == queue && one.scope == Scope::Queue).collect();
    let others = controls.iter().filter(|one| one.queue == queue && one.scope != Scope::Queue).count();
    html! {
        section.queue id={ "queue-" (queue) } {
            div.bar { h2.name { (queue) } (spark(history, queue)) }
            dl.numbers-of {
                @for state in COUNTED {
                    div { dt { (state.name()) } dd {
                        a data-state=(state.name()) href={ "/jobs?" (query(&[("queue", queue.name()), ("state", state.name())])) } { (counts.of(state)) }
                    } }
                }
                div { dt { "oldest ready" } dd {
                    @match counts.oldest_ready_since { Some(since) => (parts::age(since, now.max(since))), None => span.none { "–" } }
                } }
                @match depth {
                    Some(depth) => {
                        div { dt { "workers" } dd { a href="/workers" { (depth.workers) } } }
                        div { dt title="Groups with something ready that may not run now: they are paused or at their limit" { "parked groups" } dd { (depth.parked) } }
                    },
                    None => div { dt { "workers" } dd { "Redis does not answer" } },
                }
                @if others > 0 { div { dt { "said of its kinds and groups" } dd { a href="/kinds" { (others) } } } }
            }
            (steering::said(&said, now))
            (steering::buttons(person, &format!("/queues/{queue}"), &said, " for each group"))
        }
    }
}
