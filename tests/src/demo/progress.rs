//! How far the demo is: one line that is rewritten on a terminal; elsewhere a line every few seconds.

use std::{io::IsTerminal, time::Duration};

use tokio::time::Instant;

use crate::{ledger, system::System};

/// Longest silence where there is no terminal.
const SILENCE: Duration = Duration::from_secs(5);

/// The line.
pub(super) struct Progress {
    terminal: bool,
    console: String,
    shown_at: Option<Instant>,
}

impl Progress {
    pub(super) fn new(console: &str) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), console: console.to_owned(), shown_at: None }
    }

    /// Shows how far it is.
    pub(super) async fn show(&mut self, system: &System, started: Instant) -> anyhow::Result<()> {
        if !self.terminal && self.shown_at.is_some_and(|at| at.elapsed() < SILENCE) {
            return Ok(());
        }
        let (jobs, summary) = (ledger::jobs(&system.pool).await?, system.amazon.summary().await?);
        let [orders, products, days] = rows(system).await?;
        let line = format!(
            "{:>5.1} s   {orders} orders   {products} products   {days} days of sales   reviews {}/{}   jobs {} open, {} done, {} dead   429s {}",
            started.elapsed().as_secs_f64(),
            summary.review_requests_sent,
            summary.review_requests_eligible,
            jobs.unfinished,
            jobs.done,
            jobs.dead,
            summary.throttled,
        );
        if self.terminal {
            eprint!("\r\x1b[2K{line}");
        } else {
            eprintln!("{line}");
        }
        self.shown_at = Some(Instant::now());
        Ok(())
    }

    /// Ends the line, so that others can say something; where the console is stands at its end.
    pub(super) fn end(&mut self) {
        if self.terminal && self.shown_at.take().is_some() {
            eprintln!("   {}", self.console);
        }
    }
}

/// How many rows there are of what people think of first: orders, products, days on which something was sold.
async fn rows(system: &System) -> anyhow::Result<[i64; 3]> {
    let (orders, listings, days) = sqlx::query_as(
        "select (select count(*) from orders), (select count(*) from listings where gone_at is null),
             (select count(*) from order_metrics where asin = '' and order_count > 0)",
    )
    .fetch_one(&system.pool)
    .await?;
    Ok([orders, listings, days])
}
