//! `/live`: the overview again and again, over one stream a page, while somebody looks.
//!
//! However many pages are open, the overview is read once every two seconds, written down once for each span that somebody
//! looks at, and handed to all of them; the sessions of all streams are looked at again in one statement. Nobody looks:
//! nothing is read. A session that has ended loses its streams within a reading. Where the database does not answer, the
//! streams say so and go on.
//!
//! A page that is loaded gets a reading that began after it asked, so that whoever has just changed something sees it; those
//! who ask at the same time share one.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    extract::Query,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{
        Person,
        session::{self, SessionId},
    },
    console::Console,
    ops::{
        history::{self, Span},
        overview::{self, Overview},
    },
    pages::problem::Problem,
};

/// Between the beginnings of two readings.
pub const EVERY: Duration = Duration::from_secs(2);
/// Most streams at once: each costs a connection and a copy of the page every two seconds.
const MOST_STREAMS: usize = 2_000;

/// An overview that has been read and written down.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// When it was read.
    pub(super) now: DateTime<Utc>,
    /// The content of the page, nothing of it for one person alone.
    pub(super) content: Arc<str>,
}

/// The last reading, and what has been written down of it so far.
#[derive(Debug)]
struct Reading {
    began: Instant,
    overview: Overview,
    written: HashMap<Span, Written>,
}

/// What a stream says next.
#[derive(Debug, Clone)]
enum Word {
    /// Nothing has been read since somebody looks.
    Nothing,
    /// The overview.
    Overview(Arc<str>),
    /// It could not be read.
    Trouble,
}

/// Reads for all who look. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    console: Console,
    stop: CancellationToken,
    /// Held while a reading is made, so that those who ask meanwhile share the next.
    last: tokio::sync::Mutex<Option<Reading>>,
    watchers: Mutex<Watchers>,
    words: HashMap<Span, watch::Sender<Word>>,
}

#[derive(Debug, Default)]
struct Watchers {
    next: u64,
    open: HashMap<u64, Watcher>,
    /// Whether somebody reads for them.
    refreshing: bool,
}

#[derive(Debug)]
struct Watcher {
    span: Span,
    session: SessionId,
    ends: CancellationToken,
}

impl Live {
    /// Nobody looks yet. Streams end when `stop` is cancelled.
    pub(super) fn new(console: Console, stop: CancellationToken) -> Self {
        let words = Span::ALL.map(|span| (span, watch::Sender::new(Word::Nothing))).into();
        let (last, watchers) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { console, stop, last, watchers, words }) }
    }

    /// The overview as it is now: read after this was called.
    pub(super) async fn now(&self, span: Span) -> Result<Written, sqlx::Error> {
        self.shared.read(span, Instant::now()).await
    }

    /// A stream of a session; `None` when there are too many.
    fn watch(&self, span: Span, session: SessionId) -> Option<impl Stream<Item = Event> + use<>> {
        let ends = self.shared.stop.child_token();
        let (guard, begin) = {
            let mut watchers = self.shared.watchers();
            if watchers.open.len() >= MOST_STREAMS {
                return None;
            }
            let id = watchers.next;
            watchers.next += 1;
            watchers.open.insert(id, Watcher { span, session, ends: ends.clone() });
            metrics::gauge!("live_pages").set(count(watchers.open.len()));
            let begin = !std::mem::replace(&mut watchers.refreshing, true);
            (Leaves { shared: Arc::clone(&self.shared), id }, begin)
        };
        let mut words = self.shared.words[&span].subscribe();
        words.mark_changed();
        if begin {
            tokio::spawn(Arc::clone(&self.shared).refresh());
        }
        Some(stream::unfold((words, ends, guard), |(mut words, ends, guard)| async move {
            loop {
                let changed = tokio::select! {
                    // Whoever may no longer look gets no further word.
                    biased;
                    () = ends.cancelled() => return None,
                    changed = words.changed() => changed,
                };
                changed.ok()?;
                let word = words.borrow_and_update().clone();
                let event = match word {
                    Word::Nothing => continue,
                    Word::Overview(content) => Event::default().event("overview").data(&*content),
                    Word::Trouble => Event::default().event("trouble").data("Postgres does not answer"),
                };
                return Some((event, (words, ends, guard)));
            }
        }))
    }
}

/// Takes a watcher off the list when its stream is dropped.
struct Leaves {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        let mut watchers = self.shared.watchers();
        watchers.open.remove(&self.id);
        metrics::gauge!("live_pages").set(count(watchers.open.len()));
    }
}

impl Shared {
    fn watchers(&self) -> std::sync::MutexGuard<'_, Watchers> {
        // What is changed under this lock is whole at each step.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads for all who look, until nobody does.
    async fn refresh(self: Arc<Self>) {
        while let Some((mut spans, sessions)) = self.wanted() {
            let began = Instant::now();
            spans.sort_unstable();
            spans.dedup();
            let told = self.tell(&spans, &sessions).await;
            metrics::histogram!("live_refresh_seconds").record(began.elapsed());
            if let Err(error) = told {
                tracing::warn!(%error, "open pages are not fresh: the overview could not be read");
                for span in spans {
                    self.words[&span].send_replace(Word::Trouble);
                }
            }
            if self.stop.run_until_cancelled(tokio::time::sleep_until(began + EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// What is looked at, and in which sessions; `None` when nobody looks: then somebody who comes begins again.
    fn wanted(&self) -> Option<(Vec<Span>, Vec<SessionId>)> {
        let mut watchers = self.watchers();
        watchers.refreshing = !watchers.open.is_empty();
        watchers.refreshing.then(|| watchers.open.values().map(|one| (one.span, one.session)).unzip())
    }

    /// One turn: whose session has ended leaves, and the others hear.
    async fn tell(&self, spans: &[Span], sessions: &[SessionId]) -> Result<(), sqlx::Error> {
        let mut connection = self.console.pool.acquire().await?;
        let good = session::still_good(&mut connection, sessions, self.console.now()).await?;
        drop(connection);
        for watcher in self.watchers().open.values() {
            // One that came meanwhile was looked at when it came.
            if sessions.contains(&watcher.session) && !good.contains(&watcher.session) {
                watcher.ends.cancel();
            }
        }
        let asked = Instant::now();
        for span in spans {
            let written = self.read(*span, asked).await?;
            self.words[span].send_replace(Word::Overview(written.content));
        }
        Ok(())
    }

    /// What a reading says that began no earlier than `asked`.
    async fn read(&self, span: Span, asked: Instant) -> Result<Written, sqlx::Error> {
        let mut last = self.last.lock().await;
        let mut reading = match last.take().filter(|reading| reading.began >= asked) {
            Some(reading) => reading,
            None => {
                let (began, now) = (Instant::now(), self.console.now());
                let mut connection = self.console.pool.acquire().await?;
                let overview = overview::read(&mut connection, &self.console.engine, now).await?;
                Reading { began, overview, written: HashMap::new() }
            }
        };
        let written = match reading.written.get(&span) {
            Some(written) => written.clone(),
            None => {
                let mut connection = self.console.pool.acquire().await?;
                let history = history::read(&mut connection, span, reading.overview.now).await?;
                let content = super::overview::content(&reading.overview, &history).into_string().into();
                let written = Written { now: reading.overview.now, content };
                reading.written.insert(span, written.clone());
                written
            }
        };
        *last = Some(reading);
        Ok(written)
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are some thousand at most")]
const fn count(streams: usize) -> f64 {
    streams as f64
}

/// Which span.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    span: String,
}

impl Asked {
    /// The span of an address; the hour where none is named.
    pub(super) fn span(&self) -> Result<Span, Problem> {
        if self.span.is_empty() { Ok(Span::Hour) } else { self.span.parse().map_err(Problem::Address) }
    }
}

/// The stream. Who does not ask for one gets its first word and the end.
pub(super) async fn stream(
    Extension(live): Extension<Live>,
    person: Person,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(words) = live.watch(asked.span()?, person.session) else { return Err(Problem::Busy) };
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let goes_on = accepts.is_some_and(|types| types.contains("text/event-stream"));
    let words = words.take(if goes_on { usize::MAX } else { 1 });
    Ok(Sse::new(words.map(Ok::<_, Infallible>)).into_response())
}
