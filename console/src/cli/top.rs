//! `amzigo top`: the overview on a terminal, live.
//!
//! It reads what the overview page reads, once every two seconds, and draws the whole screen anew; it changes nothing. Where standard
//! output is no terminal, one frame is printed.

mod frame;
mod screen;

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use chrono::TimeDelta;
use clap::Args;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use queue::Engine;
use runtime::env::{Environment, ProcessEnvironment};
use sqlx::PgPool;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use self::{
    frame::{Frame, Seen},
    screen::Screen,
};
use super::{answer::Answers, database, redis, stop::Stop};
use crate::ops::{counts, overview};

/// Watch everything live: what is wrong first, then queues with their rates, what runs, what ended. Keys: q quits, p pauses, the arrows
/// or j and k scroll.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amzigo top\n  amzigo top --every 10\n  amzigo top --once --json   # one frame, for programs\n\nNO_COLOR=1 leaves colours out."
)]
pub(super) struct Top {
    /// Seconds between two looks, from 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    every: u16,
    /// Print one frame and end; so does --json.
    #[arg(long)]
    once: bool,
}

/// Over how long rates are counted.
const RATES_OVER: TimeDelta = TimeDelta::minutes(1);
/// How wide a frame is where nobody says.
const WIDTH: usize = 120;
/// Longest look; a database that hangs is said, not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Top {
    pub(super) async fn run(self, answers: Answers) -> Result<(), Stop> {
        let pool = database::migrated_pool().await?;
        let engine = redis::engine().await.map_err(redis::from_redis)?;
        if self.once || answers.json || !std::io::stdout().is_terminal() {
            let seen = look(&pool, &engine).await?;
            let plain = |seen: &Seen| {
                let lines = frame::lines(&Frame::of(seen), WIDTH);
                lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n")
            };
            return answers.give(&Frame::of(&seen), |_| plain(&seen));
        }
        let colours = ProcessEnvironment.get("NO_COLOR").is_none();
        watch(pool, engine, Duration::from_secs(u64::from(self.every)), colours).await
    }
}

async fn look(pool: &PgPool, engine: &Engine) -> Result<Seen, anyhow::Error> {
    let looking = async {
        let mut connection = pool.acquire().await?;
        let now = engine.clock().now();
        let overview = overview::read(&mut connection, engine, now).await?;
        let ended = counts::ended_since(&mut connection, now - RATES_OVER).await?;
        Ok::<_, sqlx::Error>(Seen { overview, ended })
    };
    let seen = tokio::time::timeout(PATIENCE, looking).await.context("Postgres did not answer in time")?;
    seen.context("could not read the overview")
}

/// What a key asks for.
enum Wish {
    Quit,
    Pause,
    Scroll(isize),
    Draw,
}

async fn watch(pool: PgPool, engine: Engine, every: Duration, colours: bool) -> Result<(), Stop> {
    let mut screen = Screen::open(colours).context("the terminal cannot be drawn on")?;
    let mut wishes = wishes();
    let mut terminate = signal(SignalKind::terminate()).context("could not listen to signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("could not listen to signals")?;
    let (pause, paused) = watch::channel(false);
    let mut looks = looks(pool, engine, every, paused);
    let mut scrolled = 0_usize;
    let mut last: Result<Seen, String> = Err("looking …".to_owned());
    loop {
        let title = frame::title(every, *pause.borrow());
        scrolled = match &last {
            Ok(seen) => screen.draw(&title, |width| frame::lines(&Frame::of(seen), width), scrolled),
            Err(error) => screen.draw(&title, |_| vec![frame::Line::wrong(error)], scrolled),
        }
        .context("the terminal went away")?;
        tokio::select! {
            Some(seen) = looks.recv() => last = seen,
            wish = wishes.recv() => match wish {
                None | Some(Wish::Quit) => return Ok(()),
                Some(Wish::Pause) => pause.send_modify(|paused| *paused = !*paused),
                Some(Wish::Scroll(by)) => scrolled = scrolled.saturating_add_signed(by),
                Some(Wish::Draw) => {}
            },
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// Looks again and again, unless it is paused, until nobody listens.
fn looks(
    pool: PgPool,
    engine: Engine,
    every: Duration,
    mut paused: watch::Receiver<bool>,
) -> mpsc::Receiver<Result<Seen, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while paused.wait_for(|paused| !paused).await.is_ok() {
            let seen = look(&pool, &engine).await;
            if sender.send(seen.map_err(|error| queue::failure::chain(error.as_ref()))).await.is_err() {
                return;
            }
            tokio::time::sleep(every).await;
        }
    });
    receiver
}

/// Reads keys on a thread of its own; it ends with the program.
fn wishes() -> mpsc::Receiver<Wish> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        // A terminal that cannot be read is gone: the channel closes, and so does the view.
        while let Ok(event) = crossterm::event::read() {
            let Some(wish) = wish(&event) else { continue };
            if sender.blocking_send(wish).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wish(event: &Event) -> Option<Wish> {
    const PAGE: isize = 10;
    match event {
        Event::Resize(..) => Some(Wish::Draw),
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
            KeyCode::Char('p' | ' ') => Some(Wish::Pause),
            KeyCode::Char('j') | KeyCode::Down => Some(Wish::Scroll(1)),
            KeyCode::Char('k') | KeyCode::Up => Some(Wish::Scroll(-1)),
            KeyCode::PageDown => Some(Wish::Scroll(PAGE)),
            KeyCode::PageUp => Some(Wish::Scroll(-PAGE)),
            KeyCode::Home | KeyCode::Char('g') => Some(Wish::Scroll(isize::MIN)),
            _ => None,
        },
        _ => None,
    }
}
