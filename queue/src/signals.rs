//! What passes between a run and its worker while it runs: the worker drops it or asks it to stop, the run tells how far it
//! has come. One allocation for each run: small jobs are many.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use crate::progress::Progress;

/// The signals of one run. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicBool,
    asked_to_stop: AtomicBool,
    changed: Notify,
    progress: Mutex<Option<Progress>>,
}

impl Signals {
    /// Whether somebody wants the job cancelled. A long run looks at it between its steps, and ends with
    /// [`Failure::cancel`](crate::Failure::cancel); one that does not is dropped after
    /// [`cancel::GRACE`](crate::cancel::GRACE).
    #[must_use]
    pub fn asked_to_stop(&self) -> bool {
        self.shared.asked_to_stop.load(Ordering::Acquire)
    }

    /// Waits until somebody wants the job cancelled.
    pub async fn until_asked_to_stop(&self) {
        self.until(&self.shared.asked_to_stop).await;
    }

    /// Tells how many pieces are done, of how many if that is known.
    pub fn tell(&self, done: u64, total: Option<u64>) {
        self.set(Progress { done, total, message: None });
    }

    /// The same with a word for people; no personal data.
    pub fn tell_with(&self, done: u64, total: Option<u64>, message: &str) {
        self.set(Progress::with(done, total, message));
    }

    /// Asks the run to stop by itself.
    pub fn ask_to_stop(&self) {
        self.shared.asked_to_stop.store(true, Ordering::Release);
        self.shared.changed.notify_waiters();
    }

    /// Drops the run where it stands. Returns whether it had not been dropped before.
    pub(crate) fn drop_run(&self) -> bool {
        let newly = !self.shared.dropped.swap(true, Ordering::AcqRel);
        self.shared.changed.notify_waiters();
        newly
    }

    /// Whether the run is dropped: the worker stops, or its lease is lost.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.shared.dropped.load(Ordering::Acquire)
    }

    pub(crate) async fn until_dropped(&self) {
        self.until(&self.shared.dropped).await;
    }

    /// What was told since the last time.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, progress: Progress) {
        *self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    async fn until(&self, flag: &AtomicBool) {
        let mut changed = std::pin::pin!(self.shared.changed.notified());
        loop {
            // Listens before it looks, so that no change between the two is missed.
            changed.as_mut().enable();
            if flag.load(Ordering::Acquire) {
                return;
            }
            changed.as_mut().await;
            changed.set(self.shared.changed.notified());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_word_counts_and_only_once() {
        let signals = Signals::default();
        signals.tell(1, Some(10));
        signals.tell_with(2, Some(10), &"é".repeat(400));
        let progress = signals.take_progress().expect("it was told");
        assert_eq!((progress.done, progress.total), (2, Some(10)));
        assert_eq!(progress.message.expect("with a word").len(), 500);
        assert_eq!(signals.take_progress(), None);
    }

    #[tokio::test]
    async fn each_signal_wakes_who_waits_for_it_and_nobody_else() {
        let signals = Signals::default();
        let asked = tokio::spawn({
            let signals = signals.clone();
            async move { signals.until_asked_to_stop().await }
        });
        let dropped = tokio::spawn({
            let signals = signals.clone();
            async move { signals.until_dropped().await }
        });
        tokio::task::yield_now().await;
        signals.ask_to_stop();
        asked.await.expect("it heard");
        assert!(signals.asked_to_stop() && !signals.is_dropped() && !dropped.is_finished());
        assert!(signals.drop_run() && !signals.drop_run());
        dropped.await.expect("it heard");
        signals.until_dropped().await;
    }
}
