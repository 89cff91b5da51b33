//! A trace goes with a job from whoever enqueues it to its runs, and on to what they enqueue.

use std::sync::{Arc, Mutex};

use queue::{
    Group, Job, Outcome, Policy, Run, TraceContext,
    outbox::{Cause, NewJob},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{deployment::job, working::Works};

#[derive(Serialize, Deserialize, JsonSchema)]
struct CountShelves {}

impl Job for CountShelves {
    const KIND: &'static str = "count_shelves";
    const SUMMARY: &'static str = "Counts.";
    const POLICY: Policy = Policy::sync();
    const GROUP: Group = Group::Fixed("a");
    type Context = ();
    type Report = ();

    async fn run(&self, (): &(), _: &Run) -> Outcome<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_run_is_a_child_of_what_enqueued_its_job() {
    let works = Works::new().await;
    let enqueued: TraceContext =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("the standard's example");
    let (traced, plain) = (NewJob { trace: Some(enqueued), ..job("a") }, job("b"));
    let seen: Arc<Mutex<Vec<Run>>> = Arc::default();
    let note = Arc::clone(&seen);
    let worker = works
        .worker(2, move |run| {
            note.lock().expect("nobody panics").push(run);
            async { Ok(json!(1)) }
        })
        .await;
    let jobs = [traced.clone(), plain.clone()];
    works.enqueue(&jobs).await;
    works.until_all(&jobs, "done").await;
    worker.stop().await;

    let runs = seen.lock().expect("nobody panics").clone();
    let of = |id| runs.iter().find(|run| run.id == id).expect("it ran").clone();
    assert_eq!(of(plain.id).trace, None);
    let run = of(traced.id);
    let span = run.trace.expect("it belongs to a trace");
    assert_eq!(span.trace_id(), enqueued.trace_id());
    assert_eq!(span.parent_id(), Some(enqueued.span_id()));
    assert_ne!(span.span_id(), enqueued.span_id());

    let follow_up = NewJob::caused_by(&CountShelves {}, &run);
    assert_eq!((follow_up.trace, follow_up.cause), (Some(span), Cause::Job(traced.id)));
}
