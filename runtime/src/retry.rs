//! Retries inside one process: connections, HTTP, SMTP.
//!
//! The waits come from the `backoff` crate; how often and how long in all is capped here, not there: that crate never
//! checks its own time limit when an answer names the wait (`Retry-After`), and would go on without end. The delays of
//! durable job retries are something else: they survive restarts and live in the queue crate.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};
use tokio::time::Instant;

/// How often and how long to try.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most attempts, the first included.
    pub attempts: u32,
    /// Longest time from the first attempt's start to the last one's.
    pub total: Duration,
    /// The first wait; later ones grow by half, with jitter.
    pub first_wait: Duration,
    /// Longest single wait, also when the other side asks for more.
    pub longest_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 4,
            total: Duration::from_secs(10),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(2),
        }
    }
}

/// What an error means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after the usual wait.
    Again,
    /// The other side named the wait.
    AfterWait(Duration),
    /// No attempt can help.
    Stop,
}

/// Runs `operation` until it succeeds, `decide` says stop, or a limit is reached; then the last error is returned.
///
/// # Errors
/// The last attempt's error.
pub async fn retry<T, E, Fut>(
    limits: Limits,
    decide: impl Fn(&E) -> Decision,
    mut operation: impl FnMut() -> Fut,
) -> Result<T, E>
where
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut waits = waits(limits);
    let mut attempt = 1;
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let wait = match decide(&error) {
            Decision::Stop => return Err(error),
            Decision::AfterWait(wait) => wait.min(limits.longest_wait),
            Decision::Again => waits.next_backoff().unwrap_or(limits.longest_wait),
        };
        if attempt >= limits.attempts || started.elapsed() + wait > limits.total {
            return Err(error);
        }
        attempt += 1;
        tokio::time::sleep(wait).await;
    }
}

fn waits(limits: Limits) -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(limits.first_wait)
        .with_max_interval(limits.longest_wait)
        .with_max_elapsed_time(None)
        .build()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_always_names_a_wait_is_given_up() {
        let calls = Cell::new(0);
        let limits = Limits { attempts: 1_000, total: Duration::from_secs(1), ..Limits::default() };
        let outcome: Result<(), &str> = retry(
            limits,
            |_| Decision::AfterWait(Duration::from_millis(50)),
            || async {
                calls.set(calls.get() + 1);
                Err("429")
            },
        )
        .await;
        assert_eq!(outcome, Err("429"));
        assert_eq!(calls.get(), 21, "one at once, then one each 50 ms for a second");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_capped() {
        let calls = Cell::new(0);
        let outcome: Result<(), &str> = retry(
            Limits::default(),
            |_| Decision::Again,
            || async {
                calls.set(calls.get() + 1);
                Err("down")
            },
        )
        .await;
        assert_eq!(outcome, Err("down"));
        assert_eq!(calls.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn stop_means_stop_and_success_ends_it() {
        let calls = Cell::new(0);
        let stopped: Result<(), &str> = retry(
            Limits::default(),
            |_| Decision::Stop,
            || async {
                calls.set(calls.get() + 1);
                Err("wrong password")
            },
        )
        .await;
        assert_eq!((stopped, calls.get()), (Err("wrong password"), 1));

        let second_time = retry(
            Limits::default(),
            |_| Decision::Again,
            || async {
                calls.set(calls.get() + 1);
                if calls.get() == 3 { Ok("up") } else { Err("down") }
            },
        )
        .await;
        assert_eq!((second_time, calls.get()), (Ok("up"), 3));
    }
}
