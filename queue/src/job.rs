//! What a kind of job is, and the catalog of all kinds: the one table that registration, enqueueing, schedules, pages and
//! the README are made from.

use std::{
    marker::PhantomData,
    sync::{Arc, LazyLock},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::PgConnection;
use thiserror::Error;

use crate::{
    Controls, JobId, KnownKinds,
    failure::{Failure, Outcome},
    limit::Budget,
    outbox::{Cause, NewJob},
    policy::{Policy, Queue},
    schedule::Schedule,
    schema::{self, Misfit, PayloadSchema},
    signals::Signals,
    trace::TraceContext,
};

/// A kind of job. The struct that implements it is the payload: ids and choices only, never a name, an address or a
/// secret, because payloads are stored and shown to operators.
pub trait Job: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The kind's name: the struct's in snake case, and its file's.
    const KIND: &'static str;
    /// What it does, in one sentence for tables of kinds.
    const SUMMARY: &'static str;
    /// Version of the payload, from 1. A worker takes only jobs whose version it knows, so that old and new workers may run
    /// side by side while a release is rolled out.
    const VERSION: u8 = 1;
    /// What it asks of the engine.
    const POLICY: Policy;
    /// Whom its jobs are for.
    const GROUP: Group;
    /// When it fires by itself.
    const SCHEDULE: Option<Schedule> = None;

    /// What a run may use.
    type Context: Send + Sync + 'static;
    /// What a run reports; the ledger, the log line and the console show it.
    type Report: Serialize + Send;

    /// The budgets that a run will ask: a job with a deadline must begin earlier while they are empty.
    fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }

    /// Lifts a payload of an older version to this one: payloads outlive releases, in the ledger and as dead letters. As it
    /// is, unless a kind says otherwise; fields that were added since have a default.
    ///
    /// # Errors
    /// [`PayloadError::TooOld`] for a version that can no longer be lifted: the job is rejected.
    fn upgrade(version: u8, payload: Value) -> Result<Value, PayloadError> {
        let _ = version;
        Ok(payload)
    }

    /// Does the work, so that doing it twice is harmless.
    fn run(&self, context: &Self::Context, run: &Run) -> impl Future<Output = Outcome<Self::Report>> + Send;

    /// The jobs of one tick of the schedule.
    fn tick(connection: &mut PgConnection) -> impl Future<Output = Result<Vec<Self>, sqlx::Error>> + Send {
        let _ = connection;
        async { Ok(Vec::new()) }
    }
}

/// Whom a job is for: groups of a queue take turns. 1 to 100 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Whom this field of the payload names, usually a seller.
    Field(&'static str),
    /// All jobs of the kind are for the same.
    Fixed(&'static str),
}

impl Group {
    /// The group of the job with this payload; empty, which the door refuses, where the payload does not name one.
    #[must_use]
    pub fn of(self, payload: &Value) -> String {
        match self {
            Self::Fixed(name) => name.to_owned(),
            Self::Field(field) => match &payload[field] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        }
    }
}

/// One run of a job.
#[derive(Debug, Clone)]
pub struct Run {
    /// The job.
    pub id: JobId,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// Token of the claim: a later claim has a higher one.
    pub fence: i64,
    /// When the job must be done, where somebody promised that.
    pub deadline_at: Option<DateTime<Utc>>,
    /// Version of its payload, as it was enqueued.
    pub version: u8,
    /// The span of this run, where the job belongs to a trace.
    pub trace: Option<TraceContext>,
    /// What passes between the run and its worker: whether it is asked to stop, how far it has come.
    pub signals: Signals,
}

/// Why a payload was not accepted.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// No such kind.
    #[error("there is no kind `{kind}`{}; the kinds are {known}", did_you_mean(.close))]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// A kind with a similar name.
        close: Option<&'static str>,
        /// All of them.
        known: String,
    },
    /// It does not parse as the kind's payload.
    #[error("the payload does not fit `{kind}`: {why}")]
    DoesNotFit {
        /// The kind.
        kind: &'static str,
        /// What is wrong and what would be right; never the payload itself.
        why: String,
        /// The same by field, where the schema says it.
        misfits: Vec<Misfit>,
    },
    /// The kind is no longer run.
    #[error("the kind `{kind}` was retired: its jobs are no longer run; the kinds are {known}")]
    Retired {
        /// The kind.
        kind: &'static str,
        /// Those that are run.
        known: String,
    },
    /// It was written by a release so old that nobody knows how to read it.
    #[error(
        "the payload has version {version} of `{kind}`, which can no longer be lifted to the current one; enqueue a new job and discard this one"
    )]
    TooOld {
        /// The kind.
        kind: &'static str,
        /// Its version.
        version: u8,
    },
    /// It was written by a newer release.
    #[error(
        "the payload has version {version} of `{kind}`, and this release knows only {known}; run it with a newer one"
    )]
    TooNew {
        /// The kind.
        kind: &'static str,
        /// Its version.
        version: u8,
        /// The newest that is known.
        known: u8,
    },
}

fn did_you_mean(close: &Option<&'static str>) -> String {
    close.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

type Prepare = fn(Value, Cause) -> Result<NewJob, PayloadError>;
type Execute<C> = fn(Arc<C>, Value, Run) -> BoxFuture<'static, Outcome<Value>>;
type BudgetsOf = fn(Value) -> Result<Vec<Budget>, PayloadError>;
type Tick = for<'c> fn(&'c mut PgConnection) -> BoxFuture<'c, Result<Vec<NewJob>, sqlx::Error>>;

/// A kind as a value.
pub struct Kind<C> {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The payload's version: this one and older ones are run.
    pub version: u8,
    /// What it asks of the engine.
    pub policy: Policy,
    /// When it fires by itself.
    pub schedule: Option<Schedule>,
    /// Whom its jobs are for.
    pub group: Group,
    schema: LazyLock<Value>,
    readable: LazyLock<Result<PayloadSchema, String>>,
    prepare: Prepare,
    execute: Execute<C>,
    budgets: BudgetsOf,
    tick: Tick,
    context: PhantomData<fn(&C)>,
}

impl<C: Send + Sync + 'static> Kind<C> {
    /// The kind that `J` is.
    #[must_use]
    pub fn of<J: Job<Context = C>>() -> Self {
        Self {
            name: J::KIND,
            summary: J::SUMMARY,
            version: J::VERSION,
            policy: J::POLICY,
            schedule: J::SCHEDULE,
            group: J::GROUP,
            schema: LazyLock::new(schema::of::<J>),
            readable: LazyLock::new(|| PayloadSchema::read(&schema::of::<J>())),
            prepare: |payload, cause| Ok(NewJob::of(&parse::<J>(payload)?, cause)),
            execute: |context, payload, run| {
                Box::pin(async move {
                    let job = lift::<J>(payload, run.version).map_err(Failure::reject)?;
                    let report = job.run(&context, &run).await?;
                    serde_json::to_value(report).map_err(Failure::reject)
                })
            },
            budgets: |payload| Ok(parse::<J>(payload)?.budgets()),
            tick: |connection| {
                Box::pin(async move {
                    let jobs = J::tick(connection).await?;
                    Ok(jobs.iter().map(|job| NewJob::of(job, Cause::Schedule)).collect())
                })
            },
            context: PhantomData,
        }
    }

    /// What its payload must look like, as JSON Schema (draft 2020-12): a closed object.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The same, as the door checks it; or what it says that nobody checks before the payload is read.
    ///
    /// # Errors
    /// The text says what to do; `amzigo migrate` refuses such a kind.
    pub fn payload_schema(&self) -> Result<&PayloadSchema, &str> {
        self.readable.as_ref().map_err(String::as_str)
    }

    /// Checks a payload from outside and makes a job of it.
    fn prepare(&self, payload: Value, cause: Cause) -> Result<NewJob, PayloadError> {
        let misfits = self.payload_schema().map(|schema| schema.misfits(&payload)).unwrap_or_default();
        if misfits.is_empty() {
            return (self.prepare)(payload, cause);
        }
        let why = misfits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Err(PayloadError::DoesNotFit { kind: self.name, why, misfits })
    }

    /// Runs a job of this kind once. The only caller is the worker.
    pub fn execute(&self, context: Arc<C>, payload: Value, run: Run) -> BoxFuture<'static, Outcome<Value>> {
        (self.execute)(context, payload, run)
    }

    /// The budgets that a run of the job with this payload will ask.
    ///
    /// # Errors
    /// When the payload does not fit.
    pub fn budgets(&self, payload: Value) -> Result<Vec<Budget>, PayloadError> {
        (self.budgets)(payload)
    }

    /// The jobs of one tick of its schedule.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tick(&self, connection: &mut PgConnection) -> Result<Vec<NewJob>, sqlx::Error> {
        (self.tick)(connection).await
    }
}

/// Reads a payload of any version that is known.
fn lift<J: Job>(payload: Value, version: u8) -> Result<J, PayloadError> {
    if version > J::VERSION {
        return Err(PayloadError::TooNew { kind: J::KIND, version, known: J::VERSION });
    }
    parse(if version < J::VERSION { J::upgrade(version, payload)? } else { payload })
}

fn parse<J: Job>(payload: Value) -> Result<J, PayloadError> {
    if !payload.is_object() {
        // Serde would take a list too, field by field.
        let why = "it is not a JSON object".to_owned();
        return Err(PayloadError::DoesNotFit { kind: J::KIND, why, misfits: Vec::new() });
    }
    serde_json::from_value(payload).map_err(|error| PayloadError::DoesNotFit {
        kind: J::KIND,
        // Serde quotes a value of the wrong type, and the value may be anything.
        why: without_quoted_values(&error.to_string()),
        misfits: Vec::new(),
    })
}

/// Serde's message without what it found: `invalid type: string "Ann", expected u32` may hold a person's name, and a number
/// may be a telephone's.
fn without_quoted_values(message: &str) -> String {
    let mut shown = message.to_owned();
    if let (Some(first), Some(last)) = (shown.find('"'), shown.rfind('"'))
        && first < last
    {
        shown.replace_range(first..=last, HIDDEN);
    }
    let quotes_what_it_found = ["unknown field", "unknown variant", "invalid type", "invalid value"];
    if !quotes_what_it_found.iter().any(|start| shown.starts_with(start)) {
        return shown;
    }
    let Some(first) = shown.find('`') else { return shown };
    // What was found may hold anything, also words like these; after the last of them come our own names.
    let after = shown.rfind("`, expected").or_else(|| shown.rfind("`, there are no"));
    let end = after.filter(|mark| *mark > first).map_or(shown.len(), |mark| mark + 1);
    // A field that could be one of ours is most often one of ours, misspelt.
    let found = shown[first..end].trim_matches('`');
    let like_ours = |letter: u8| letter.is_ascii_lowercase() || letter == b'_';
    if !(shown.starts_with("unknown field") && found.len() <= 30 && found.bytes().all(like_ours)) {
        shown.replace_range(first..end, HIDDEN);
    }
    shown
}

const HIDDEN: &str = "(hidden)";

/// A kind that is no longer run. Its name stays in the catalog for as long as the ledger may hold an unfinished job of it:
/// workers take those and cancel them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// What it was called.
    pub name: &'static str,
    /// Where its jobs wait.
    pub queue: Queue,
}

/// How long a job rests that only a newer release can read.
const UNTIL_A_NEWER_WORKER: TimeDelta = TimeDelta::seconds(60);

/// All kinds there are.
pub struct Catalog<C> {
    kinds: Vec<Kind<C>>,
    retired: Vec<Retired>,
}

impl<C: Send + Sync + 'static> Catalog<C> {
    /// A catalog of these kinds.
    ///
    /// # Panics
    /// When two have the same name: a program must not start with that.
    #[must_use]
    pub fn new(kinds: Vec<Kind<C>>) -> Self {
        for (n, kind) in kinds.iter().enumerate() {
            assert!(
                !kinds[..n].iter().any(|other| other.name == kind.name),
                "two kinds are called {}",
                kind.name
            );
        }
        Self { kinds, retired: Vec::new() }
    }

    /// The same, with kinds that are no longer run.
    ///
    /// # Panics
    /// When one of them still is: a program must not start with that.
    #[must_use]
    pub fn with_retired(mut self, retired: Vec<Retired>) -> Self {
        for kind in &retired {
            assert!(self.get(kind.name).is_none(), "{} is retired and yet in the catalog", kind.name);
        }
        self.retired = retired;
        self
    }

    /// The retired kind with this name.
    #[must_use]
    pub fn retired(&self, name: &str) -> Option<&Retired> {
        self.retired.iter().find(|kind| kind.name == name)
    }

    /// All kinds that are no longer run.
    pub fn iter_retired(&self) -> impl Iterator<Item = &Retired> {
        self.retired.iter()
    }

    /// The kind with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Kind<C>> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// The kind that runs a job of this name and payload version; or how its run ends without one. What only a newer release
    /// can read rests uncounted until a worker of one takes it: after a roll-back the job outlives its release.
    ///
    /// # Errors
    /// A cancellation for a retired kind, a snooze for a newer version, a rejection for a kind that nobody knows.
    pub fn kind_to_run(&self, name: &str, version: u8, now: DateTime<Utc>) -> Result<&Kind<C>, Failure> {
        match self.get(name) {
            Some(kind) if version > kind.version => Err(Failure::snooze(
                now + UNTIL_A_NEWER_WORKER,
                format!("a worker that knows version {version} of its payload"),
            )),
            Some(kind) => Ok(kind),
            None if self.retired(name).is_some() => Err(Failure::cancel("the kind was retired")),
            None => Err(Failure::reject(self.unknown(name))),
        }
    }

    /// The policy of a kind; for one that this release does not know, any: none of its runs gets far.
    #[must_use]
    pub fn policy(&self, name: &str) -> Policy {
        self.get(name).map_or(const { Policy::sync() }, |kind| kind.policy)
    }

    /// All kinds, in the order of the catalog.
    pub fn iter(&self) -> impl Iterator<Item = &Kind<C>> {
        self.kinds.iter()
    }

    /// Checks a payload from outside and makes a job of it.
    ///
    /// # Errors
    /// When there is no such kind, it is retired, or the payload does not fit it.
    pub fn prepare(&self, kind: &str, payload: Value, cause: Cause) -> Result<NewJob, PayloadError> {
        match self.get(kind) {
            Some(known) => known.prepare(payload, cause),
            None => Err(self.unknown(kind)),
        }
    }

    /// The kinds and payload versions that a worker with this catalog takes: those of retired kinds too, to end them.
    #[must_use]
    pub fn known(&self) -> KnownKinds {
        let retired = self.retired.iter().map(|kind| (kind.name, KnownKinds::ANY_VERSION));
        KnownKinds::of(self.kinds.iter().map(|kind| (kind.name, kind.version)).chain(retired))
    }

    /// Whether a worker with this catalog takes jobs of a kind and payload version.
    #[must_use]
    pub fn runs(&self, kind: &str, version: u8) -> bool {
        self.retired(kind).is_some() || self.get(kind).is_some_and(|known| version <= known.version)
    }

    /// What the policies of its kinds ask of a queue.
    #[must_use]
    pub fn controls(&self, queue: Queue) -> Controls {
        Controls::of_policies(queue, self.kinds.iter().map(|kind| (kind.name, &kind.policy)))
    }

    /// The error that says which kinds there are.
    #[must_use]
    pub fn unknown(&self, kind: &str) -> PayloadError {
        let known: Vec<_> = self.kinds.iter().map(|kind| kind.name).collect();
        if let Some(retired) = self.retired(kind) {
            return PayloadError::Retired { kind: retired.name, known: known.join(", ") };
        }
        PayloadError::UnknownKind {
            kind: kind.chars().take(100).collect(),
            close: known
                .iter()
                .copied()
                .filter(|name| distance(name, kind) <= 3)
                .min_by_key(|name| distance(name, kind)),
            known: known.join(", "),
        }
    }
}

/// How many letters to change, add or drop to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct CountStock {
        seller: u32,
    }

    impl Job for CountStock {
        const KIND: &'static str = "count_stock";
        const SUMMARY: &'static str = "Counts.";
        const POLICY: Policy = Policy::sync().unique();
        const GROUP: Group = Group::Field("seller");
        type Context = ();
        type Report = u32;

        async fn run(&self, (): &(), _: &Run) -> Outcome<u32> {
            Ok(self.seller + 1)
        }
    }

    /// Its payload named the seller `shop` once, and was a list of sellers before.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct CountShelves {
        seller: u32,
    }

    impl Job for CountShelves {
        const KIND: &'static str = "count_shelves";
        const SUMMARY: &'static str = "Counts.";
        const VERSION: u8 = 3;
        const POLICY: Policy = Policy::sync();
        const GROUP: Group = Group::Field("seller");
        type Context = ();
        type Report = u32;

        fn upgrade(version: u8, mut payload: Value) -> Result<Value, PayloadError> {
            match version {
                2 => Ok(json!({ "seller": payload["shop"].take() })),
                _ => Err(PayloadError::TooOld { kind: Self::KIND, version }),
            }
        }

        async fn run(&self, (): &(), _: &Run) -> Outcome<u32> {
            Ok(self.seller)
        }
    }

    fn run_of_version(version: u8) -> Run {
        Run {
            id: JobId::new(),
            attempt: 1,
            fence: 1,
            deadline_at: None,
            version,
            trace: None,
            signals: Signals::default(),
        }
    }

    async fn shelves(version: u8, payload: Value) -> Outcome<Value> {
        Kind::of::<CountShelves>().execute(Arc::new(()), payload, run_of_version(version)).await
    }

    #[tokio::test]
    async fn an_older_payload_is_lifted_and_what_cannot_be_is_rejected() {
        assert_eq!(shelves(3, json!({"seller": 4})).await.expect("the current version"), json!(4));
        assert_eq!(shelves(2, json!({"shop": 5})).await.expect("it is lifted"), json!(5));
        for (version, payload, why) in [
            (1, json!([6]), "version 1 of `count_shelves`, which can no longer be lifted"),
            (2, json!({"shop": "Ann"}), "does not fit `count_shelves`"),
            (4, json!({"seller": 7}), "this release knows only 3"),
        ] {
            let failure = shelves(version, payload).await.expect_err("it cannot run");
            let Failure::Reject { error } = failure else { panic!("not rejected: {failure:?}") };
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_prepared_has_the_current_version() {
        let catalog = Catalog::new(vec![Kind::of::<CountShelves>()]);
        let job = catalog.prepare("count_shelves", json!({"seller": 4}), Cause::Cli).expect("it fits");
        assert_eq!((job.version, job.payload), (3, json!({"seller": 4})));
    }

    #[test]
    fn a_retired_kind_is_refused_by_its_name() {
        let catalog = catalog().with_retired(vec![Retired { name: "count_boxes", queue: Queue::Sync }]);
        let error =
            catalog.prepare("count_boxes", json!({}), Cause::Cli).expect_err("it is retired").to_string();
        assert_eq!(
            error,
            "the kind `count_boxes` was retired: its jobs are no longer run; the kinds are count_stock"
        );
        assert!(catalog.get("count_boxes").is_none());
    }

    #[test]
    fn a_run_without_its_kind_ends_as_the_catalog_says() {
        let catalog = catalog().with_retired(vec![Retired { name: "count_boxes", queue: Queue::Sync }]);
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("a moment");
        let end = |name, version| catalog.kind_to_run(name, version, now).map(|kind| kind.name);
        assert!(matches!(end("count_stock", 1), Ok("count_stock")));
        assert!(
            matches!(end("count_boxes", 1), Err(Failure::Cancel { reason }) if reason == "the kind was retired")
        );
        assert!(matches!(end("count_stock", 2), Err(Failure::Snooze { until, waits_for })
                if until > now && waits_for == "a worker that knows version 2 of its payload"));
        assert!(
            matches!(end("count_stok", 1), Err(Failure::Reject { error }) if error.to_string().contains("did you mean"))
        );
    }

    #[test]
    #[should_panic(expected = "count_stock is retired and yet in the catalog")]
    fn a_kind_that_is_run_is_not_retired() {
        drop(catalog().with_retired(vec![Retired { name: "count_stock", queue: Queue::Sync }]));
    }

    fn catalog() -> Catalog<()> {
        Catalog::new(vec![Kind::of::<CountStock>()])
    }

    #[test]
    fn an_unknown_kind_is_told_what_was_meant() {
        let error =
            catalog().prepare("count_stok", json!({}), Cause::Cli).expect_err("no such kind").to_string();
        assert_eq!(
            error,
            "there is no kind `count_stok`, did you mean `count_stock`?; the kinds are count_stock"
        );
        let error = catalog().prepare("x", json!({}), Cause::Cli).expect_err("no such kind").to_string();
        assert_eq!(error, "there is no kind `x`; the kinds are count_stock");
    }

    #[test]
    fn a_payload_that_does_not_fit_is_told_why_but_not_shown() {
        let error = catalog()
            .prepare("count_stock", json!({"seller": "Ann Canary"}), Cause::Cli)
            .expect_err("not a number")
            .to_string();
        assert!(error.contains("expected u32"), "{error}");
        assert!(!error.contains("Ann"), "{error}");
    }

    #[test]
    fn what_a_payload_holds_is_not_shown_whatever_it_is() {
        for (message, shown) in [
            ("invalid type: string \"Ann\", expected u32", "invalid type: string (hidden), expected u32"),
            (
                "invalid type: integer `447700900123`, expected a string",
                "invalid type: integer (hidden), expected a string",
            ),
            (
                "unknown variant `Ann`, expected `weekly` or `daily`",
                "unknown variant (hidden), expected `weekly` or `daily`",
            ),
            (
                "unknown field `Ann \"Canary\", x`, there are no fields",
                "unknown field (hidden), there are no fields",
            ),
            ("unknown field `Änn", "unknown field (hidden)"),
            ("unknown field `selle`, expected `seller`", "unknown field `selle`, expected `seller`"),
            ("missing field `seller`", "missing field `seller`"),
        ] {
            assert_eq!(without_quoted_values(message), shown);
        }
    }

    #[tokio::test]
    async fn a_kind_runs_from_its_payload() {
        let catalog = catalog();
        let run = run_of_version(1);
        let kind = catalog.get("count_stock").expect("it is in the catalog");
        let report = kind.execute(Arc::new(()), json!({"seller": 4}), run.clone()).await.expect("it runs");
        assert_eq!(report, json!(5));
        let failure = kind.execute(Arc::new(()), json!([]), run).await.expect_err("not a payload");
        assert!(matches!(failure, Failure::Reject { .. }), "{failure:?}");
    }

    #[test]
    #[should_panic(expected = "two kinds are called count_stock")]
    fn two_kinds_of_one_name_do_not_start() {
        drop(Catalog::new(vec![Kind::of::<CountStock>(), Kind::of::<CountStock>()]));
    }
}
